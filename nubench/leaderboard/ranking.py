"""Which rows of a board are clearly better than which, and the ranks that follow.

Rows scored on the very same test events are compared event by event, by one bootstrap for all of them. Rows that are
not, or that do not say which events they got right, are compared by their intervals alone.

"Not clearly different" does not carry over from pair to pair: A may be clearly better than B while C, less well known,
is clearly different from neither. So no ranks exist that every tied pair shares and every clear pair does not; ranks
that follow chains of ties would put most of a full board on one. Here a rank is one more than the number of rows that
are clearly better, and a row never ranks before one of a higher mean: a wide interval must not lift a row. The rank
interval says what is left open.

One seed says nothing of the spread between trainings. Such a row is given that of like rows of the board, or a single
lucky training would be known better than three.

Each comparison is made at 95% by itself. Among many rows some will look clearly different by chance.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from pydantic import JsonValue

from nubench.containers import Float64
from nubench.evaluation.statistics import (
    Answers,
    Interval,
    bootstrap_means,
    percentile_interval,
    unpaired_difference,
)
from nubench.leaderboard.rows import RankInterval, Row, borrowed_deviation
from nubench.results.bits import unpack
from nubench.results.files import canonical, experiment
from nubench.results.schema import Result


@dataclass(frozen=True)
class Pair:
    """Two rows of a board.

    Attributes:
        first, second: their labels, in the order of the board.
        difference: mean accuracy over the target points of the first minus that of the second.
        paired: whether they were compared event by event.
    """

    first: str
    second: str
    difference: Interval
    paired: bool


def compare(rows: Sequence[Row]) -> tuple[list[Row], tuple[Pair, ...]]:
    """Give rows of one board their intervals, those of one seed a spread between trainings, and compare all pairs.

    Args:
        rows: labels are unique.

    Returns:
        The rows in the same order, and every pair of them.
    """
    rows = [replace(row, borrowed=borrowed_deviation(row, rows, lambda one: one.target_means)) for row in rows]
    replicates = _replicates(rows)
    known = [_with_interval(row, replicates.get(row.label)) for row in rows]
    groups = {row.label: _test_events(row) for row in known}
    pairs = []
    for one, other in combinations(known, 2):
        paired = groups[one.label] is not None and groups[one.label] == groups[other.label]
        if paired:
            estimate = one.mean.mean - other.mean.mean
            difference = percentile_interval(estimate, replicates[one.label] - replicates[other.label])
        else:
            difference = unpaired_difference(one.interval, other.interval)
        pairs.append(Pair(one.label, other.label, difference, paired))
    return known, tuple(pairs)


def with_ranks(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Row]:
    """Give rows, best mean first, their ranks and rank intervals among each other.

    Args:
        rows: those that are ranked.
        pairs: of these rows; those of others are ignored.
    """
    labels = {row.label for row in rows}
    better, worse = dict.fromkeys(labels, 0), dict.fromkeys(labels, 0)
    for pair in pairs:
        if pair.first in labels and pair.second in labels and not pair.difference.low <= 0 <= pair.difference.high:
            winner, loser = (pair.first, pair.second) if pair.difference.low > 0 else (pair.second, pair.first)
            better[loser] += 1
            worse[winner] += 1
    ranked: list[Row] = []
    for row in rows:
        interval = RankInterval(1 + better[row.label], len(rows) - worse[row.label])
        above = (ranked[-1].rank or 1) if ranked else 1
        ranked.append(replace(row, rank=max(interval.low, above), rank_interval=interval))
    return ranked


def _replicates(rows: Sequence[Row]) -> Mapping[str, Float64]:
    """Resampled means over the target points of each row that says which events were right, by its label."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        events = _test_events(row)
        if events is not None:
            groups[events].append(row)
    found: dict[str, Float64] = {}
    for events, together in groups.items():
        present = _bits(together[0].first, [point.present for point in together[0].first.target_points])
        # Where the source point alone has some of the events, they carry nothing here.
        used = present.any(axis=0)
        answers = [Answers(_trainings(row), _right(row)[..., used], row.borrowed) for row in together]
        means = bootstrap_means(answers, present[:, used], name=events)
        found.update(zip((row.label for row in together), means, strict=True))
    return found


def _with_interval(row: Row, replicates: Float64 | None) -> Row:
    if replicates is None:
        return row
    # Enlarged deviations of the trainings may lead beyond what an accuracy can be.
    return replace(row, bootstrap=percentile_interval(row.mean.mean, np.clip(replicates, 0.0, 1.0)))


def _test_events(row: Row) -> str | None:
    """A digest of the very events that all trainings of a row were scored on; None where that is not known."""
    digests = {_events_of(result) for result in row.results}
    return digests.pop() if len(digests) == 1 else None


def _events_of(result: Result) -> str | None:
    if result.test_events is None:
        return None
    known: dict[str, JsonValue] = {
        "events": result.test_events,
        "files": {file: digest for file, digest in result.dataset.checksums.items() if file.startswith("test/")},
        "present": [point.present for point in result.points],
    }
    return hashlib.sha256(canonical(known).encode()).hexdigest()


def _trainings(row: Row) -> str:
    shared = experiment(row.first) | {"seed": [result.seed for result in row.results]}
    return hashlib.sha256(canonical(shared).encode()).hexdigest()


def _right(row: Row) -> np.typing.NDArray[np.bool_]:
    """(S, P, U) which events each training got right at each target point."""
    return np.stack(
        [_bits(result, [result.scores(point).right for point in result.target_points]) for result in row.results]
    )


def _bits(result: Result, texts: Sequence[str | None]) -> np.typing.NDArray[np.bool_]:
    assert result.test_events is not None, "a row without bits is in no group"
    return np.stack([unpack(text or "", result.test_events) for text in texts])
