"""Methods over several boards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nubench.leaderboard.across import Standing, chance_accuracy, normalised_score, standings
from nubench.leaderboard.boards import Board, boards_of
from nubench.results.schema import Result
from result_factory import result_content

THIRD = pytest.approx(1 / 3, abs=1e-3)


def board(accuracies: Mapping[str, float], detector: str = "lartpc", shift: str = "throws", **options: Any) -> Board:
    """A board of one training for each method, its accuracy the same everywhere."""
    results = []
    for name, accuracy in accuracies.items():
        flat = dict.fromkeys(("nominal", "throw1", "throw2"), accuracy)
        content = result_content(name, flat, shift=shift, **options)
        content["dataset"]["detector"] = detector
        content["profile"]["settings"]["seeds"] = 1
        results.append(Result.model_validate(content))
    (found,) = boards_of(results)
    return found


def by_name(found: tuple[Standing, ...]) -> dict[str, Standing]:
    return {standing.method: standing for standing in found}


def test_the_mean_rank_asks_only_who_beats_whom_and_the_score_says_by_how_much() -> None:
    found = standings(
        [board({"a": 0.9, "b": 0.6, "c": 0.5}), board({"a": 0.7, "b": 0.8, "c": 0.5}, "scintillator", "crosstalk")]
    )
    assert [standing.method for standing in found] == ["a", "b", "c"]
    assert [standing.mean_rank for standing in found] == [1.5, 1.5, 3.0]
    chance, scores = 1 / 3, by_name(found)
    assert scores["a"].normalised_score == pytest.approx((1 + (0.7 - chance) / (0.8 - chance)) / 2, abs=1e-3)
    assert scores["b"].normalised_score == pytest.approx(((0.6 - chance) / (0.9 - chance) + 1) / 2, abs=1e-3)
    assert all(standing.missing == () and standing.complete for standing in found)


def test_equal_mean_ranks_are_ordered_by_the_score() -> None:
    found = standings([board({"a": 0.9, "b": 0.8}), board({"a": 0.5, "b": 0.8}, "scintillator")])
    assert [(standing.method, standing.mean_rank) for standing in found] == [("b", 1.5), ("a", 1.5)]


def test_methods_that_share_a_rank_share_it_here() -> None:
    found = standings([board({"a": 0.801, "b": 0.8, "c": 0.5})])
    assert [(standing.method, standing.mean_rank) for standing in found] == [("a", 1.0), ("b", 1.0), ("c", 3.0)]


def test_a_wide_interval_lifts_no_row_here_either() -> None:
    """The second is not clearly better than the wide row, and has a row that is clearly better than it."""
    trainings = {"first": (0.80, 0.80, 0.80), "second": (0.74, 0.74, 0.74), "wide": (0.60, 0.72, 0.84)}
    results = []
    for name, accuracies in trainings.items():
        for seed, accuracy in enumerate(accuracies):
            flat = dict.fromkeys(("nominal", "throw1", "throw2"), accuracy)
            results.append(Result.model_validate(result_content(name, flat, seed=seed)))
    (found,) = boards_of(results)
    assert [(row.label, row.rank) for row in found.rows] == [("first", 1), ("second", 2), ("wide", 2)]
    assert {standing.method: standing.mean_rank for standing in standings([found])} == {
        row.label: row.rank for row in found.rows
    }


def test_only_methods_on_every_board_are_compared() -> None:
    easy, hard = board({"a": 0.9, "best-here": 0.95, "b": 0.8}), board({"a": 0.6, "b": 0.5}, "scintillator")
    found = by_name(standings([easy, hard]))
    assert found["a"].mean_rank == 1.0
    # The best of the easy board is another method, and 1 there all the same.
    easiest = (0.9 - 1 / 3) / (0.95 - 1 / 3)
    assert found["a"].normalised_score == pytest.approx((easiest + 1) / 2, abs=1e-3)
    absent = found["best-here"]
    assert (absent.mean_rank, absent.normalised_score, absent.complete) == (None, None, False)
    assert [str(folder) for folder in absent.missing] == ["scintillator/throws/smoke"]
    assert absent.rows[0] is not None
    assert absent.rows[1] is None
    assert [standing.method for standing in standings([easy, hard])] == ["a", "b", "best-here"]


def test_a_detector_with_many_shifts_counts_once() -> None:
    first = [board({"a": 0.9, "b": 0.5}, shift=shift) for shift in ("throws", "field", "noise")]
    found = by_name(standings([*first, board({"a": 0.5, "b": 0.9}, "scintillator")]))
    assert found["a"].mean_rank == found["b"].mean_rank == 1.5


def test_a_row_that_is_not_ranked_does_not_set_the_scale() -> None:
    oracle = Result.model_validate(result_content("target-oracle", ranked=False))
    below = {"nominal": 0.6, "throw1": 0.6, "throw2": 0.6}
    (found,) = standings(boards_of([oracle, Result.model_validate(result_content("a", below))]))
    assert found.normalised_score == 1.0


def test_rows_that_are_not_ranked_have_no_standing() -> None:
    oracle = result_content("target-oracle", ranked=False)
    results = [Result.model_validate(oracle), Result.model_validate(result_content("a"))]
    assert [standing.method for standing in standings(boards_of(results))] == ["a"]


def test_of_several_variants_the_one_is_taken_that_does_best_on_the_source() -> None:
    contents = [result_content("a", config={"size": size}) for size in (1, 2, 3)]
    for content, validation in zip(contents, (0.7, 0.9, 0.8), strict=True):
        content["validation"] = {"head": None, "probe": validation}
    # The best on the targets is another one, which nobody may know.
    contents[2]["points"] = result_content("a", dict.fromkeys(("nominal", "throw1", "throw2"), 0.95))["points"]
    (found,) = standings(boards_of([Result.model_validate(content) for content in contents]))
    assert found.rows[0] is not None
    assert found.rows[0].label == "a (size=2)"


def test_methods_of_one_name_from_two_packages_are_two() -> None:
    contents = [result_content("a"), result_content("a")]
    contents[1]["method"]["distribution"] = "other"
    found = standings(boards_of([Result.model_validate(content) for content in contents]))
    assert {standing.method for standing in found} == {"nubench:a", "other:a"}


def test_chance_is_the_most_frequent_class() -> None:
    assert chance_accuracy(board({"a": 0.8}).rows[0]) == THIRD
    assert normalised_score(0.1, chance=0.2, best=0.7) == pytest.approx(-0.2)


def test_nothing_above_chance_leaves_no_score() -> None:
    assert normalised_score(0.2, chance=0.2, best=0.2) is None
    (found,) = standings([board({"a": 0.2})])
    assert (found.mean_rank, found.normalised_score) == (1.0, None)


def test_a_board_twice_is_refused() -> None:
    one = board({"a": 0.8})
    with pytest.raises(ValueError, match="boards must be different"):
        standings([one, one])
    assert standings([]) == ()
