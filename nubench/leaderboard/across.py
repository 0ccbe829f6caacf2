"""Methods over several boards: which training survives on more than one detector?

Two numbers, which fail in different ways, stand side by side. The mean rank asks only who beats whom, so no board
weighs more because its accuracies lie further apart; it cannot say by how much. The normalised score says by how much;
it hangs on the best ranked row of each board, so it changes for all when a better one is added.

Boards of one detector are averaged first and detectors then, so that a detector with many shifts counts as one.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from nubench.leaderboard.boards import Board
from nubench.leaderboard.ranking import with_ranks
from nubench.leaderboard.rows import Row


@dataclass(frozen=True)
class Standing:
    """One method over several boards.

    Attributes:
        method: its name, with the distribution in front where two bring a method of that name.
        name: its name alone.
        rows: its row on each board, in the order of the boards; None where it has none. Where several variants of a
            method stand on a board, the complete one with the best accuracy on the source's validation events.
        mean_rank: mean over the detectors of its mean rank over their boards, among the methods that stand on every
            board; None for a method that misses one.
        normalised_score: the same mean of :func:`normalised_score`; None where ``mean_rank`` is, or when nothing on
            some board beats chance.
        missing: folders of the boards where it has no row.
    """

    method: str
    name: str
    rows: tuple[Row | None, ...]
    mean_rank: float | None
    normalised_score: float | None
    missing: tuple[PurePosixPath, ...]

    @property
    def complete(self) -> bool:
        """Whether it stands on every board with as many seeds as the profile asks for."""
        return all(row is not None and row.complete for row in self.rows)


def standings(boards: Iterable[Board]) -> tuple[Standing, ...]:
    """Compare the ranked methods of several boards, the best mean rank first.

    Only methods with a row on every board are compared, and their ranks are counted among each other: a method that
    stands on the easy boards alone gains nothing by it. The others follow, those that miss fewest boards first.

    Args:
        boards: any; it is for the caller to choose boards of one profile and one kind of backbone.

    Raises:
        ValueError: when a board stands twice among them.

    Example:
        >>> standings([])
        ()
    """
    boards = tuple(boards)
    folders = [board.folder for board in boards]
    if len(set(folders)) < len(folders):
        raise ValueError(f"boards must be different; got {[str(folder) for folder in folders]}")
    rows = [_row_of_each_method(board) for board in boards]
    methods = sorted({method for found in rows for method in found})
    names = [method.name for method in methods]
    everywhere = [method for method in methods if all(method in found for found in rows)]
    ranks = [_ranks(board, [found[method] for method in everywhere]) for board, found in zip(boards, rows, strict=True)]
    scores = [
        _scores(board, [found[method] for method in everywhere]) for board, found in zip(boards, rows, strict=True)
    ]
    detectors = [board.example.dataset.detector for board in boards]
    found = []
    for method in methods:
        on_boards = tuple(of_board.get(method) for of_board in rows)
        compared = method in everywhere
        place = everywhere.index(method) if compared else 0
        found.append(
            Standing(
                method=method.name if names.count(method.name) == 1 else f"{method.distribution}:{method.name}",
                name=method.name,
                rows=on_boards,
                mean_rank=_over_detectors(detectors, [rank[place] for rank in ranks]) if compared else None,
                normalised_score=_over_detectors(detectors, [score[place] for score in scores]) if compared else None,
                missing=tuple(folder for folder, row in zip(folders, on_boards, strict=True) if row is None),
            )
        )
    return tuple(sorted(found, key=_order))


def normalised_score(accuracy: float, chance: float, best: float) -> float | None:
    """Return where an accuracy lies between chance, 0, and the best ranked row of the board, 1.

    Args:
        accuracy: of the method, mean over the target points.
        chance: what always answering the most frequent class gives.
        best: the largest accuracy of the ranked rows.

    Returns:
        At most 1, negative below chance; None when not even the best is above chance, so that there is no scale.

    Example:
        >>> normalised_score(0.5, chance=0.25, best=0.75)
        0.5
    """
    return (accuracy - chance) / (best - chance) if best > chance else None


def chance_accuracy(row: Row) -> float:
    """Return the accuracy of always answering the most frequent class, mean over the target points."""
    result = row.first
    shares = (
        max(map(sum, result.scores(point).confusion)) / sum(map(sum, result.scores(point).confusion))
        for point in result.target_points
    )
    return statistics.fmean(shares)


class _Method(NamedTuple):
    name: str
    distribution: str


def _row_of_each_method(board: Board) -> Mapping[_Method, Row]:
    """The row of each ranked method; of several variants the one that may be chosen without target labels."""
    variants: dict[_Method, list[Row]] = defaultdict(list)
    for row in board.rows:
        if row.rank is not None:
            variants[_Method(row.first.method.name, row.first.method.distribution)].append(row)
    return {
        method: max(rows, key=lambda row: (row.complete, row.validation or 0.0)) for method, rows in variants.items()
    }


def _ranks(board: Board, rows: Sequence[Row]) -> list[int]:
    """Ranks among these rows alone, by the rule of the board."""
    labels = {row.label for row in rows}
    by_mean = [row for row in board.rows if row.label in labels]
    ranks = {row.label: row.rank or 1 for row in with_ranks(by_mean, board.pairs)}
    return [ranks[row.label] for row in rows]


def _scores(board: Board, rows: Sequence[Row]) -> list[float | None]:
    if not rows:
        return []
    # Of the whole board, or the scale would hang on which methods happen to stand on the other boards.
    best = max(row.mean.mean for row in board.rows if row.rank is not None)
    chance = chance_accuracy(rows[0])
    return [normalised_score(row.mean.mean, chance, best) for row in rows]


def _over_detectors(detectors: Sequence[str], values: Sequence[float | None]) -> float | None:
    by_detector: dict[str, list[float]] = defaultdict(list)
    for detector, value in zip(detectors, values, strict=True):
        if value is None:
            return None
        by_detector[detector].append(value)
    return statistics.fmean(statistics.fmean(found) for found in by_detector.values())


def _order(standing: Standing) -> tuple[float, float, int, str]:
    rank = float("inf") if standing.mean_rank is None else standing.mean_rank
    score = 0.0 if standing.normalised_score is None else standing.normalised_score
    return rank, -score, len(standing.missing), standing.method
