"""What may be compared, and how it is ranked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.errors import DataError
from nubench.leaderboard.boards import Board, Row, boards_of
from nubench.leaderboard.shared import notes
from nubench.results.schema import Result
from result_factory import as_version_1, make_result, result_content, with_bits


def changed(change: Callable[[dict[str, Any]], None], name: str = "simclr") -> Result:
    content = result_content(name)
    change(content)
    return Result.model_validate(content)


def flat(accuracy: float) -> dict[str, float]:
    return {"nominal": accuracy, "throw1": accuracy, "throw2": accuracy}


def falling(nominal: float, *targets: float) -> dict[str, float]:
    return {"nominal": nominal} | {f"throw{number}": value for number, value in enumerate(targets, 1)}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["dataset"].update(name="other"),
        lambda c: c["dataset"].update(version="2"),
        lambda c: c["dataset"].update(detector="cubes"),
        lambda c: c["dataset"].update(recipe="f" * 64),
        lambda c: c["dataset"].update(classes=["electron", "photon", "pion"]),
        lambda c: c["shift"].update(name="other"),
        lambda c: c["points"][1]["parameters"].update(gain=1.5),
        lambda c: c["profile"].update(name="paper"),
        lambda c: c["profile"]["settings"].update(views=1),
        lambda c: c["backbone"].update(preset="small"),
    ],
)
def test_what_differs_never_shares_a_board(change: Callable[[dict[str, Any]], None]) -> None:
    boards = boards_of([make_result(), changed(change)])
    assert [len(board.rows) for board in boards] == [1, 1]
    assert boards[0].folder != boards[1].folder
    # Neither board lies in the other's folder, or a reader would take one for a part of the other.
    assert not boards[0].folder.is_relative_to(boards[1].folder)
    assert not boards[1].folder.is_relative_to(boards[0].folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["profile"]["settings"].update(seeds=5, title="words"),
        lambda c: c.update(engine="minkowski"),
        lambda c: c["environment"].update(device="cuda"),
        lambda c: c["backbone"].update(parameters=1),
    ],
)
def test_what_may_differ_shares_a_board(change: Callable[[dict[str, Any]], None]) -> None:
    (board,) = boards_of([make_result(), changed(change)])
    assert len(board.rows) == 2


def test_a_result_of_fewer_seeds_does_not_complete_the_others() -> None:
    def of_one_seed(content: dict[str, Any]) -> None:
        content["profile"]["settings"]["seeds"] = 1

    (board,) = boards_of([make_result("below", flat(0.4)), changed(of_one_seed, "above")])
    assert board.rows[0].label == "above"
    assert board.seeds == 3
    assert not any(row.complete for row in board.rows)


def test_what_was_seen_of_the_target_parts_rows() -> None:
    def sees(content: dict[str, Any]) -> None:
        content["method"]["target_access"] = "unlabelled"
        content["seed"] = 1

    (board,) = boards_of([make_result("a"), changed(sees, "a")])
    assert sorted(row.label for row in board.rows) == ["a (target events none)", "a (target events unlabelled)"]


def test_the_order_of_the_results_does_not_matter() -> None:
    results = [
        make_result(name, flat(accuracy), seed, backbone=backbone, config={"size": size})
        for (name, accuracy), seed, backbone, size in itertools.product(
            [("a", 0.5), ("b", 0.6)], range(2), ["tiny", None], [1, 2]
        )
        if (backbone is None) == (name == "b")
    ]
    expected = boards_of(results)
    assert boards_of(reversed(results)) == expected


def test_folders_are_split_only_where_needed() -> None:
    (only,) = boards_of([make_result()])
    assert str(only.folder) == "lartpc/throws/smoke"
    two = boards_of([make_result(), make_result(backbone="small")])
    assert [str(board.folder) for board in two] == ["lartpc/throws/smoke/small", "lartpc/throws/smoke/tiny"]


def test_methods_without_a_backbone_stand_on_the_board_of_every_backbone() -> None:
    features = make_result("summary-features", backbone=None)
    boards = boards_of([make_result(), make_result(backbone="small"), features])
    assert [board.backbone for board in boards] == ["small", "tiny"]
    assert all({row.label for row in board.rows} == {"supcon", "summary-features"} for board in boards)
    (alone,) = boards_of([features])
    assert alone.backbone == "none"


def test_ranked_by_the_mean_over_the_targets_and_never_by_the_change() -> None:
    blind = make_result("blind", flat(0.4))
    robust = make_result("robust", falling(0.8, 0.79, 0.79))
    fragile = make_result("fragile", falling(0.95, 0.9, 0.85))
    (board,) = boards_of([blind, robust, fragile])
    assert [(row.label, row.rank) for row in board.rows] == [("fragile", 1), ("robust", 2), ("blind", 3)]
    assert board.rows[2].change.mean == pytest.approx(0.0)
    assert board.rows[0].change.mean < board.rows[1].change.mean < 0


def test_nominal_does_not_count() -> None:
    (board,) = boards_of([make_result("a", falling(1.0, 0.5, 0.5)), make_result("b", falling(0.5, 0.7, 0.7))])
    assert [row.label for row in board.rows] == ["b", "a"]
    assert board.rows[0].mean.mean == pytest.approx(0.7, abs=1e-3)


def test_ties_share_a_rank_and_the_better_worst_point_stands_first() -> None:
    even = make_result("even", falling(0.9, 0.7, 0.7))
    uneven = make_result("a-uneven", falling(0.9, 0.8, 0.6))
    below = make_result("below", falling(0.9, 0.5, 0.5))
    (board,) = boards_of([below, uneven, even])
    assert [(row.label, row.rank) for row in board.rows] == [("even", 1), ("a-uneven", 1), ("below", 3)]
    assert board.rows[1].worst == (pytest.approx(0.6, abs=1e-3), "throw2")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(1, 3)), min_size=1, max_size=6))
def test_ranks_never_fall_down_the_table_and_start_at_one(methods: list[tuple[float, int]]) -> None:
    results = [
        make_result(f"m{number}", flat(min(accuracy + 0.02 * seed, 1)), seed, events=300)
        for number, (accuracy, seeds) in enumerate(methods)
        for seed in range(seeds)
    ]
    (board,) = boards_of(results)
    ranks = [row.rank or 0 for row in board.rows]
    assert ranks == sorted(ranks)
    assert ranks[0] == 1
    means = [row.mean.mean for row in board.rows]
    assert means == sorted(means, reverse=True)
    for row in board.rows:
        assert row.rank_interval is not None
        assert 1 <= row.rank_interval.low <= (row.rank or 0) <= row.rank_interval.high <= len(board.rows)
        assert row.interval.low <= row.mean.mean <= row.interval.high


def test_rows_that_are_not_ranked_stand_last_and_push_nobody_down() -> None:
    oracle = make_result("target-oracle", flat(0.99), ranked=False)
    (board,) = boards_of([oracle, make_result("a", flat(0.5))])
    assert [(row.label, row.rank) for row in board.rows] == [("a", 1), ("target-oracle", None)]


def test_variants_are_never_averaged_and_say_what_tells_them_apart() -> None:
    results = [
        make_result(seed=0, config={"temperature": 0.1, "size": 1}),
        make_result(seed=1, config={"temperature": 0.1, "size": 1.0}),
        make_result(seed=0, config={"temperature": 0.2, "size": 1}),
        make_result(seed=0, config={"temperature": 0.2, "size": 1}, version="2"),
    ]
    (board,) = boards_of(results)
    assert {row.label: len(row.results) for row in board.rows} == {
        "supcon (version 1, temperature=0.1)": 2,
        "supcon (version 1, temperature=0.2)": 1,
        "supcon (version 2, temperature=0.2)": 1,
    }


def test_labels_are_unique_where_long_settings_look_alike() -> None:
    results = [make_result(config={"text": "x" * 100 + end}) for end in "ab"]
    (board,) = boards_of(results)
    labels = [row.label for row in board.rows]
    assert len(set(labels)) == 2
    assert all(len(label) < 60 for label in labels)


def test_the_same_seed_twice_is_refused() -> None:
    with pytest.raises(DataError, match="same settings and seed 0"):
        boards_of([make_result(), make_result(accuracies=falling(0.9, 0.1, 0.1))])


def test_the_profile_says_how_many_seeds_are_complete() -> None:
    (board,) = boards_of([make_result(seed=seed) for seed in range(2)])
    assert board.seeds == 3
    unstated = [
        changed(lambda c, s=seed, n=name: (c["profile"]["settings"].pop("seeds"), c.update(seed=s)), name)
        for name, seeds in (("a", 4), ("b", 1))
        for seed in range(seeds)
    ]
    (board,) = boards_of(unstated)
    assert board.seeds == 4


def test_no_results_make_no_boards() -> None:
    assert boards_of([]) == ()


def board_of(*results: Result) -> Board:
    (board,) = boards_of(results)
    return board


def row_called(board: Board, label: str) -> Row:
    return next(row for row in board.rows if row.label == label)


def seeds_of(name: str, *targets: float, seeds: int = 3, **options: Any) -> list[Result]:
    """Trainings whose accuracies spread by two points over three seeds."""
    spreads = [0.01 * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    return [
        make_result(name, falling(0.9, *(target + spreads[seed] for target in targets)), seed, **options)
        for seed in range(seeds)
    ]


def alike(name: str, accuracy: float) -> list[Result]:
    """Three trainings of one accuracy."""
    return [make_result(name, flat(accuracy), seed) for seed in range(3)]


def test_methods_alike_share_a_rank_and_clearly_different_ones_do_not() -> None:
    board = board_of(*seeds_of("a", 0.80, 0.80), *seeds_of("b", 0.795, 0.80), *seeds_of("c", 0.6, 0.6))
    assert [(row.label, row.rank, row.rank_interval) for row in board.rows] == [
        ("a", 1, (1, 2)),
        ("b", 1, (1, 2)),
        ("c", 3, (3, 3)),
    ]
    tie, clear = (board.difference(row_called(board, "a"), row_called(board, label)) for label in "bc")
    assert tie.low < 0 < tie.high
    assert clear.low > 0
    assert clear.estimate == pytest.approx(0.2, abs=1e-3)


def test_a_difference_turns_with_the_rows_and_needs_two_of_the_board() -> None:
    board = board_of(*seeds_of("a", 0.8, 0.8), *seeds_of("b", 0.7, 0.7))
    first, second = board.rows
    assert board.difference(second, first) == -board.difference(first, second)
    assert board.paired(second, first)
    assert [(pair.first, pair.second) for pair in board.pairs] == [("a", "b")]
    with pytest.raises(ValueError, match="'a' and 'a' are not two rows of the board lartpc/throws/smoke"):
        board.difference(first, first)


def test_the_same_events_are_compared_in_pairs_and_other_events_by_intervals_alone() -> None:
    alike = [make_result("a", flat(0.80)), make_result("b", flat(0.785))]
    elsewhere = result_content("b", flat(0.785))
    elsewhere["dataset"]["checksums"]["test/throw1"] = "f" * 64
    paired = board_of(*alike)
    unpaired = board_of(alike[0], Result.model_validate(elsewhere))
    same, other = (board.difference(*board.rows) for board in (paired, unpaired))
    assert same.estimate == other.estimate
    assert same.low > 0 > other.low
    assert [board.paired(*board.rows) for board in (paired, unpaired)] == [True, False]
    assert [row.rank for row in paired.rows] == [1, 2]
    assert [row.rank for row in unpaired.rows] == [1, 1]
    assert [any("very same test events" in note for note in notes(board)) for board in (paired, unpaired)] == [
        False,
        True,
    ]


def test_seeds_that_saw_other_events_leave_no_bootstrap() -> None:
    changed_events = result_content("a", flat(0.8), 1)
    changed_events["dataset"]["checksums"]["test/throw1"] = "f" * 64
    board = board_of(make_result("a", flat(0.8)), Result.model_validate(changed_events), *seeds_of("b", 0.7, 0.7))
    assert [(row.label, row.approximate) for row in board.rows] == [("a", True), ("b", False)]
    assert not board.paired(*board.rows)


def test_files_of_other_splits_do_not_part_the_events() -> None:
    content = result_content("b", flat(0.7))
    content["dataset"]["checksums"]["adapt/throw1"] = "e" * 64
    board = board_of(make_result("a", flat(0.8)), Result.model_validate(content))
    assert board.paired(*board.rows)


def test_not_clearly_different_does_not_carry_over() -> None:
    # a is clearly better than b; c lies between and is too poorly known to be told from either.
    wide = [make_result("c", flat(0.79 + spread), seed) for seed, spread in enumerate((-0.03, 0.0, 0.03))]
    board = board_of(*alike("a", 0.80), *wide, *alike("b", 0.78))
    assert [(row.label, row.rank, row.rank_interval) for row in board.rows] == [
        ("a", 1, (1, 2)),
        ("c", 1, (1, 3)),
        ("b", 2, (2, 3)),
    ]


def test_a_poorly_known_row_is_not_lifted_above_a_higher_mean() -> None:
    wide = [make_result("c", flat(0.77 + spread), seed) for seed, spread in enumerate((-0.04, 0.0, 0.04))]
    board = board_of(*alike("a", 0.80), *wide, *alike("b", 0.78))
    assert [(row.label, row.rank, row.rank_interval) for row in board.rows] == [
        ("a", 1, (1, 2)),
        ("b", 2, (2, 3)),
        ("c", 2, (1, 3)),
    ]


def test_rows_that_are_not_ranked_are_compared_and_take_no_rank() -> None:
    oracle = make_result("target-oracle", flat(0.99), ranked=False)
    board = board_of(oracle, make_result("a", flat(0.5)))
    first, apart = board.rows
    assert board.difference(apart, first).low > 0
    assert (first.rank, first.rank_interval) == (1, (1, 1))
    assert apart.rank_interval is None
    assert not apart.approximate


def test_another_row_changes_no_interval() -> None:
    some = [*seeds_of("a", 0.8, 0.8), *seeds_of("b", 0.7, 0.7)]
    alone, beside = board_of(*some), board_of(*some, *seeds_of("c", 0.75, 0.75))
    for label in "ab":
        assert row_called(alone, label).interval == row_called(beside, label).interval
    assert alone.difference(*alone.rows) == beside.difference(row_called(beside, "a"), row_called(beside, "b"))


def test_version_1_is_approximated_and_has_a_board_of_its_own() -> None:
    old = [Result.model_validate(as_version_1(result_content(name, flat(0.8)))) for name in "ab"]
    board = board_of(*old)
    assert all(row.approximate and row.bootstrap is None for row in board.rows)
    assert not board.paired(*board.rows)
    assert board.rows[0].area is None
    difference, interval = board.difference(*board.rows), board.rows[0].interval
    assert difference.high == pytest.approx(2**0.5 * (interval.high - interval.estimate))
    both = boards_of([*old, make_result()])
    assert [len(found.rows) for found in both] in ([1, 2], [2, 1])


def test_an_event_that_a_point_lacks_counts_nowhere() -> None:
    content = result_content("a", flat(0.8))
    whole = board_of(Result.model_validate(with_bits(content)))
    assert whole.rows[0].bootstrap is not None
    assert whole.rows[0].interval.estimate == pytest.approx(whole.rows[0].mean.mean)


def test_a_row_with_fewer_seeds_than_the_profile_asks_for_is_marked() -> None:
    board = board_of(*seeds_of("a", 0.8, 0.8), *seeds_of("b", 0.7, 0.7, seeds=2))
    assert [(row.label, row.complete) for row in board.rows] == [("a", True), ("b", False)]


def test_the_area_is_taken_over_strengths_with_the_source() -> None:
    row = board_of(*seeds_of("a", 0.8, 0.6)).rows[0]
    assert row.area is not None
    # Strengths 0, 1, 2 with 0.9, 0.8, 0.6 in the middle seed.
    assert row.area.mean == pytest.approx((0.85 + 0.7) / 2, abs=1e-3)
    assert row.area.deviation is not None


def test_points_of_one_strength_have_no_area() -> None:
    content = result_content("a", flat(0.8))
    for point in content["points"]:
        point["strength"] = 1.0
    assert board_of(Result.model_validate(content)).rows[0].area is None


def test_baselines_that_are_not_on_a_board_are_named() -> None:
    shape = make_result("summary-features-shape-only", flat(0.68), backbone=None)
    assert board_of(shape).missing_baselines == ("summary-features-minimum-subtracted",)
    subtracted = make_result("summary-features-minimum-subtracted", flat(0.74), backbone=None)
    assert board_of(shape, subtracted).missing_baselines == ()


def test_a_row_of_another_budget_says_so() -> None:
    (board,) = boards_of(
        [make_result("supcon", config={"views": 160_000}), make_result("mine", config={"views": 8_000}, seed=1)]
    )
    assert sorted(row.label for row in board.rows) == ["mine (views=8000)", "supcon"]
