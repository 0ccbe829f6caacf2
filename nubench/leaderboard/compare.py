"""Two methods side by side: their difference on every board that both stand on, over the targets and at each point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nubench.containers import Bool
from nubench.errors import UsageError, unknown_name
from nubench.evaluation.statistics import (
    Answers,
    Interval,
    bootstrap_means,
    interval_from_seeds,
    percentile_interval,
    unpaired_difference,
)
from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.rows import borrowed_deviation
from nubench.results.bits import unpack


@dataclass(frozen=True)
class Comparison:
    """Two rows of one board.

    Attributes:
        over_targets: mean accuracy over the target points of the first minus that of the second.
        at_points: the same at every point, in the order of the board.
        paired: whether they are compared event by event; otherwise by their intervals alone.
    """

    board: Board
    first: Row
    second: Row
    over_targets: Interval
    at_points: tuple[Interval, ...]
    paired: bool


def compare_methods(boards: Iterable[Board], names: Sequence[str]) -> tuple[Comparison, ...]:
    """Compare every two of some methods on every board that has both; variants of a method are compared each.

    Args:
        boards: where to look.
        names: of methods, at least two; the first of two is the one that the second is subtracted from.

    Raises:
        UsageError: when a method stands nowhere, is named twice, or no board has two of them.
    """
    boards = tuple(boards)
    stands = {name: [b for b in boards if _rows(b, name)] for name in names}
    known = {row.first.method.name for board in boards for row in board.rows}
    for name in names:
        if not stands[name]:
            raise unknown_name("method", name, known)
    if len(set(names)) < max(len(names), 2):
        raise UsageError(f"compare needs two different methods; got {', '.join(names)}")
    found = tuple(
        compare_rows(board, first, second)
        for board in boards
        for one, other in combinations(names, 2)
        for first in _rows(board, one)
        for second in _rows(board, other)
    )
    if not found:
        places = "; ".join(f"{name} on {', '.join(str(b.folder) for b in stands[name])}" for name in names)
        raise UsageError(f"no board has two of these methods: {places}")
    return found


def compare_rows(board: Board, first: Row, second: Row) -> Comparison:
    """Compare two rows of a board over the targets and at every point.

    Raises:
        ValueError: when the two are not two different rows of the board.
    """
    paired = board.paired(first, second)
    at_point = _paired_at if paired else _unpaired_at
    return Comparison(
        board,
        first,
        second,
        board.difference(first, second),
        tuple(at_point(board, first, second, place) for place in range(len(board.points))),
        paired,
    )


def _rows(board: Board, name: str) -> list[Row]:
    return [row for row in board.rows if row.first.method.name == name]


def _paired_at(board: Board, first: Row, second: Row, place: int) -> Interval:
    point = first.first.points[place]
    present = _bits(first, point.present)[None]
    answers = [
        Answers(f"{row.label} at {point.point}", _right_at(row, place), _borrowed_at(board, row, point.point))
        for row in (first, second)
    ]
    one, other = bootstrap_means(answers, present, name=f"compare {first.first.dataset.recipe} {point.point}")
    return percentile_interval(first.at(point.point).mean - second.at(point.point).mean, one - other)


def _right_at(row: Row, place: int) -> Bool:
    """(S, 1, U) which events each training got right at one point."""
    return np.stack([_bits(row, result.scores(result.points[place]).right) for result in row.results])[:, None]


def _bits(row: Row, text: str | None) -> Bool:
    assert text is not None, "rows that are paired say which events were right"
    assert row.first.test_events is not None, "such results say how many events there are"
    return unpack(text, row.first.test_events)


def _unpaired_at(board: Board, first: Row, second: Row, place: int) -> Interval:
    point = board.points[place]
    one, other = (
        interval_from_seeds(row.accuracies(point), row.first.points[place].events, _borrowed_at(board, row, point))
        for row in (first, second)
    )
    return unpaired_difference(one, other)


def _borrowed_at(board: Board, row: Row, point: str) -> float | None:
    return borrowed_deviation(row, board.rows, lambda one: one.accuracies(point))
