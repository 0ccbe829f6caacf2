"""A row of one seed is given the spread between trainings of the other rows of its board."""

from __future__ import annotations

import pytest

from nubench.leaderboard.boards import Board, Row, boards_of
from nubench.leaderboard.shared import notes
from nubench.results.schema import Result
from result_factory import as_version_1, make_result, result_content


def flat(accuracy: float) -> dict[str, float]:
    return dict.fromkeys(("nominal", "throw1", "throw2"), accuracy)


def trainings(name: str, *accuracies: float, backbone: str | None = "tiny") -> list[Result]:
    return [make_result(name, flat(value), seed, backbone=backbone) for seed, value in enumerate(accuracies)]


def board_of(*results: Result) -> Board:
    (board,) = boards_of(results)
    return board


def row_called(board: Board, label: str) -> Row:
    return next(row for row in board.rows if row.label == label)


def width(row: Row) -> float:
    return row.interval.high - row.interval.low


def test_one_lucky_seed_is_no_better_known_than_the_seeds_of_other_rows() -> None:
    lucky = make_result("lucky", flat(0.80))
    others = trainings("three", 0.80, 0.76, 0.78)
    alone, board = board_of(lucky), board_of(lucky, *others)
    # Beside a single training nothing is known of the spread: the interval is that of the events.
    assert width(alone.rows[0]) < 0.04
    one, three = board.rows
    assert (one.label, one.rank, one.rank_interval) == ("lucky", 1, (1, 2))
    assert one.borrowed == pytest.approx(0.02, abs=1e-3)
    assert three.borrowed is None
    assert three.rank_interval == (1, 2)
    expected = ((1.96 * 0.02) ** 2 + (width(alone.rows[0]) / 2) ** 2) ** 0.5
    assert width(one) / 2 == pytest.approx(expected, rel=0.1)
    assert board_of(*others, lucky) == board


def test_the_spread_is_pooled_over_rows_of_several_seeds_and_the_same_kind_of_training() -> None:
    deep = [*trainings("a", 0.60, 0.62), *trainings("b", 0.70, 0.73, 0.76)]
    fits = trainings("fit", 0.5, 0.501, backbone=None)
    one = [make_result("one", flat(0.9)), make_result("one-fit", flat(0.4), backbone=None)]
    board = board_of(*deep, *fits, *one)
    # (0.02^2 / 2 + 2 * 0.03^2) / 3, and 0.001^2 / 2.
    assert row_called(board, "one").borrowed == pytest.approx((0.002 / 3) ** 0.5, rel=0.02)
    assert row_called(board, "one-fit").borrowed == pytest.approx(0.001 / 2**0.5, rel=0.02)
    assert row_called(board_of(*fits, one[0]), "one").borrowed is None


def test_the_spread_between_trainings_widens_differences_too() -> None:
    several = trainings("three", 0.80, 0.70, 0.75)
    pair = [make_result("a", flat(0.80)), make_result("b", flat(0.78))]
    alone, board = board_of(*pair), board_of(*pair, *several)
    assert alone.difference(*alone.rows).low > 0
    difference = board.difference(row_called(board, "a"), row_called(board, "b"))
    assert difference.low < 0 < difference.high
    # Two independent trainings, each with the spread of the third row.
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 2**0.5 * 0.05, rel=0.1)


def test_version_1_rows_of_one_seed_borrow_the_same_spread() -> None:
    contents = [result_content("three", flat(value), seed) for seed, value in enumerate((0.80, 0.76, 0.78))]
    board = board_of(*(Result.model_validate(as_version_1(c)) for c in [*contents, result_content("one", flat(0.8))]))
    row = row_called(board, "one")
    assert row.approximate
    binomial = 0.8 * 0.2 / 3000
    assert width(row) / 2 == pytest.approx(1.96 * (0.02**2 + binomial) ** 0.5, rel=0.02)
    assert row.rank_interval == (1, 2)


def test_the_notes_say_what_rows_of_one_seed_rest_on() -> None:
    several, one = trainings("a", 0.79, 0.8, 0.81), make_result("b")
    found = [" ".join(notes(board_of(*results))) for results in (several, [*several, one], [one])]
    assert ["fewer than 3 seeds are incomplete" in text for text in found] == [False, True, True]
    assert ["is taken from the other rows" in text for text in found] == [False, True, False]
    assert ["hold the test events alone" in text for text in found] == [False, False, True]
    fit = make_result("fit", backbone=None)
    both = " ".join(notes(board_of(*several, one, fit)))
    assert "is taken from the other rows" in both
    assert "hold the test events alone" in both
