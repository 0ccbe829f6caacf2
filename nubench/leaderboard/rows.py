"""One row of a leaderboard: a method with one set of settings, over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nubench.evaluation.shift_metrics import area_under_accuracy, drop_from_source, mean_accuracy
from nubench.evaluation.statistics import Interval, interval_from_seeds, pooled_deviation
from nubench.leaderboard.displacements import on_one_line
from nubench.results.schema import Result


class Spread(NamedTuple):
    """A mean over seeds and its standard deviation, None for one seed."""

    mean: float
    deviation: float | None


class RankInterval(NamedTuple):
    """The places that a row may truly have: ``low`` is the better one."""

    low: int
    high: int


@dataclass(frozen=True)
class Row:
    """One method with one set of settings, over its seeds.

    Attributes:
        label: its name, with what tells it from its variants on the same board.
        results: S >= 1, in the order of the seeds.
        rank: one more than the number of rows that are clearly better, and never before a row of a higher mean; None
            for a row that is not ranked.
        rank_interval: from one more than the number of rows that are clearly better, to the number of ranked rows less
            those that are clearly worse; None for a row that is not ranked.
        complete: false when it has fewer seeds than the profile asks for.
        bootstrap: 95% interval of the mean over the target points, resampled over events and seeds; None when the
            results do not say which events were right.
        borrowed: standard deviation between trainings of the mean over the target points, for a row of one seed; see
            :func:`borrowed_deviation`.
    """

    label: str
    results: tuple[Result, ...]
    rank: int | None = None
    rank_interval: RankInterval | None = None
    complete: bool = True
    bootstrap: Interval | None = None
    borrowed: float | None = None

    @property
    def first(self) -> Result:
        """The result of the first seed, for what all seeds share."""
        return self.results[0]

    def accuracies(self, point: str) -> tuple[float, ...]:
        """(S,) accuracies at one point, by the read-out that ranks the method."""
        return tuple(
            result.scores(found).accuracy for result in self.results for found in result.points if found.point == point
        )

    @property
    def target_means(self) -> tuple[float, ...]:
        """(S,) mean accuracies over the target points."""
        return tuple(mean_accuracy(_at_targets(result)) for result in self.results)

    @property
    def mean(self) -> Spread:
        """Mean over the target points: what ranks the row."""
        return spread(self.target_means)

    @property
    def interval(self) -> Interval:
        """95% interval of the mean over the target points: :attr:`bootstrap`, or where there is none a normal one.

        The normal one takes the events of the smallest target point, not the sum, since the events are the same at
        every point.
        """
        if self.bootstrap is not None:
            return self.bootstrap
        events = min(point.events for point in self.first.target_points)
        return interval_from_seeds(self.target_means, events, self.borrowed)

    @property
    def approximate(self) -> bool:
        """Whether :attr:`interval` is the normal approximation, for want of which events were right."""
        return self.bootstrap is None

    @property
    def worst(self) -> tuple[float, str]:
        """The lowest accuracy, mean over seeds, of all target points, and that point."""
        return min((self.at(point.point).mean, point.point) for point in self.first.target_points)

    @property
    def change(self) -> Spread:
        """Mean over the target points minus the source, seed by seed; its negative is the drop."""
        at_source = self.accuracies(self.first.shift.source)
        pairs = zip(self.results, at_source, strict=True)
        return spread([-drop_from_source(source, _at_targets(result)) for result, source in pairs])

    @property
    def area(self) -> Spread | None:
        """Area under accuracy against strength over all points, divided by the width of the axis.

        None when the results record no strengths, the points have one strength only, or they do not follow each other
        on one line: there is no path of the detector then that an area could be taken along.
        """
        strengths = [point.strength for point in self.first.points]
        known = [strength for strength in strengths if strength is not None]
        if len(known) < len(strengths) or len(set(known)) < 2 or not on_one_line(self.first.points):
            return None
        return spread(
            [
                area_under_accuracy(known, [result.scores(point).accuracy for point in result.points])
                for result in self.results
            ]
        )

    @property
    def validation(self) -> float | None:
        """Accuracy on the source's validation events, mean over seeds; None where a seed lacks it."""
        found = [getattr(result.validation, result.method.ranked_by) for result in self.results]
        return None if None in found else statistics.fmean(found)

    def at(self, point: str) -> Spread:
        """Accuracy at one point over the seeds."""
        return spread(self.accuracies(point))


def borrowed_deviation(row: Row, rows: Iterable[Row], values: Callable[[Row], Sequence[float]]) -> float | None:
    """Return the standard deviation between trainings that a row of one seed is given: that of like rows, pooled.

    Like is a row of several seeds that has a backbone where ``row`` has one, and none where it has none: a network
    that is trained anew varies more than a fit of a few features.

    Args:
        rows: of the board.
        values: (S,) what is known of each training of a row.

    Returns:
        None for a row of several seeds, which has a spread of its own, and where no row is like it.
    """
    if len(row.results) > 1:
        return None
    has_backbone = row.first.backbone is not None
    return pooled_deviation(values(other) for other in rows if (other.first.backbone is not None) == has_backbone)


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation.

    Example:
        >>> spread([0.5, 0.75])
        Spread(mean=0.625, deviation=0.1767766952966369)
    """
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _at_targets(result: Result) -> list[float]:
    return [result.scores(point).accuracy for point in result.target_points]
