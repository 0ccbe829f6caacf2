"""How well an accuracy is known: intervals over test events and over seeds (trainings).

Both vary: another test sample and another training would each have given another number. The bootstrap resamples the
two independently (Owen, "The pigeonhole bootstrap", arXiv 0712.1111). A resampled event is drawn at all points of the
shift and for all methods at once, since they are scored on the same events: what makes an event hard for two methods
cancels in their difference. Trainings of different methods have nothing in common and are resampled each by themselves.

S trainings drawn from S vary by (S - 1) / S of their variance only. The deviation of the drawn trainings from all of
them is therefore enlarged by sqrt(S / (S - 1)) (Rao and Wu, JASA 83 (1988) 231). With fewer than about five seeds the
interval is still too narrow, as the spread of the trainings is itself poorly known.

One training says nothing of that spread. It can be given the spread of like methods, pooled over them; without it, the
interval of one training holds the events only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from nubench.containers import Bool, Float32, Float64, Int64
from nubench.evaluation.drawing import Stream

#: Quantiles of the 95% interval.
LEVELS: Final = (0.025, 0.975)

#: Half width of the 95% interval of a normal distribution, in standard deviations.
NORMAL_95: Final = 1.959964

#: Resamplings: the ends of an interval are then known to about 4% of its width.
REPLICATES: Final = 2000

#: Resamplings held in memory at once.
_BLOCK: Final = 250


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, ``low <= high``."""

    estimate: float
    low: float
    high: float

    def __neg__(self) -> Interval:
        """Return the interval of the negative quantity.

        Example:
            >>> -Interval(0.1, 0.0, 0.3)
            Interval(estimate=-0.1, low=-0.3, high=0.0)
        """
        return Interval(-self.estimate, 0.0 - self.high, 0.0 - self.low)


@dataclass(frozen=True, eq=False)
class Answers:
    """Which of U test events the trainings of one method got right at P points.

    Attributes:
        name: decides the random numbers that resample its trainings.
        right: (S, P, U), a subset of ``present``.
        deviation: standard deviation between trainings of the mean over the points, known from elsewhere; None to take
            it from the trainings themselves, of which one alone has none.

    Raises:
        ValueError: when ``right`` is not (S >= 1, P >= 1, U >= 1), or a deviation is negative, not finite or given with
            more than one training.
    """

    name: str
    right: Bool
    deviation: float | None = None

    def __post_init__(self) -> None:
        if self.right.ndim != 3 or self.right.size == 0:
            raise ValueError(f"right must be (S >= 1, P >= 1, U >= 1); got shape {self.right.shape}")
        if self.deviation is not None and not (len(self.right) == 1 and 0 <= self.deviation < math.inf):
            raise ValueError(
                f"deviation must be a finite number from 0 on, for one training; got {self.deviation!r} for "
                f"{len(self.right)}"
            )


def bootstrap_means(
    methods: Sequence[Answers], present: Bool, *, name: str, replicates: int = REPLICATES
) -> tuple[Float64, ...]:
    """Resample events and trainings: the mean over the points of the accuracy at each, for every method.

    All methods see the same resampled events, so replicates may be subtracted. The random numbers follow from ``name``
    and the names of the methods alone: another method beside it changes nothing about one.

    Args:
        methods: scored on the same events.
        present: (P, U) which events have enough hits at each point; each point needs one.
        name: decides the random numbers that resample the events.
        replicates: number B of resamplings.

    Returns:
        (B,) for each method. Working memory is that of 250 resamplings, whatever B is.

    Raises:
        ValueError: when the shapes do not fit, a point has no event, or an event is right that is not present.

    Example:
        >>> right = np.tile(np.arange(400) < 300, (3, 1, 1))
        >>> (means,) = bootstrap_means([Answers("a", right)], np.ones((1, 400), bool), name="doctest")
        >>> interval = percentile_interval(float(right.mean()), means)
        >>> interval.estimate, 0.70 < interval.low < 0.72, 0.78 < interval.high < 0.80
        (0.75, True, True)
    """
    for method in methods:
        _check(method, present)
    if not present.any(axis=1).all():
        raise ValueError("every point must have at least one event")
    means: list[list[Float64]] = [[] for _ in methods]
    draws = [Stream(f"trainings {method.name}") for method in methods]
    for times in _resampled_events(name, present.shape[1], replicates):
        for method, draw, found in zip(methods, draws, means, strict=True):
            found.append(_resampled_trainings(_accuracies(method.right, present, times), draw))
    return tuple(
        np.concatenate(found) + _between_trainings(method, replicates)
        for method, found in zip(methods, means, strict=True)
    )


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups of values: the root of their variances' mean, weighed by S - 1.

    Args:
        groups: (S,) values each; those of one value say nothing and are left out.

    Returns:
        None when no group has two values.

    Example:
        >>> pooled_deviation([[0.5, 0.7], [0.1, 0.2, 0.3], [0.9]]), pooled_deviation([[0.9]])
        (0.11547005383792514, None)
    """
    several = [values for values in groups if len(values) > 1]
    if not several:
        return None
    squares = sum(float(np.var(values)) * len(values) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))


def percentile_interval(estimate: float, replicates: Float64) -> Interval:
    """Return the 95% percentile interval, widened to hold the estimate where the replicates leave it out.

    Args:
        estimate: from the sample itself.
        replicates: (B >= 1,) the same from resampled data.

    Source:
        Efron, Annals of Statistics 7 (1979) 1.
    """
    low, high = np.quantile(replicates, LEVELS)
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def interval_from_seeds(accuracies: Sequence[float], events: int, deviation: float | None = None) -> Interval:
    """Approximate the interval of a mean accuracy when only the accuracy of each seed was kept.

    Normal approximation; the variance is that of the seeds over their number plus the binomial one of the
    events, p (1 - p) / E.

    Args:
        accuracies: (S >= 1) accuracy of each seed.
        events: number E of different test events behind each.
        deviation: between trainings, for a single seed; see :class:`Answers`.

    Example:
        >>> interval = interval_from_seeds([0.8, 0.8], events=1600)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.7804, 0.8196)
    """
    mean = float(np.mean(accuracies))
    several = len(accuracies) > 1
    over_seeds = float(np.var(accuracies, ddof=1)) / len(accuracies) if several else (deviation or 0.0) ** 2
    half = NORMAL_95 * (over_seeds + mean * (1 - mean) / events) ** 0.5
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def unpaired_difference(first: Interval, second: Interval) -> Interval:
    """Return the interval of the first quantity minus the second, from intervals of each by itself.

    Exact for independent normal quantities. For methods scored on the same events it is too wide, since what makes an
    event hard for both does not cancel.

    Source:
        Zou and Donner, Statistics in Medicine 27 (2008) 1693 (MOVER).

    Example:
        >>> unpaired_difference(Interval(0.75, 0.625, 0.875), Interval(0.5, 0.5, 0.5))
        Interval(estimate=0.25, low=0.125, high=0.375)
    """
    estimate = first.estimate - second.estimate
    below = ((first.estimate - first.low) ** 2 + (second.high - second.estimate) ** 2) ** 0.5
    above = ((first.high - first.estimate) ** 2 + (second.estimate - second.low) ** 2) ** 0.5
    return Interval(estimate, estimate - below, estimate + above)


def _check(method: Answers, present: Bool) -> None:
    if method.right.shape[1:] != present.shape:
        raise ValueError(
            f"all methods must be scored on the same {present.shape[0]} points and {present.shape[1]} events; "
            f"{method.name!r} has {method.right.shape[1]} points and {method.right.shape[2]} events"
        )
    if (method.right & ~present).any():
        raise ValueError(f"{method.name!r} is right about an event that is not present at that point")


def _resampled_events(name: str, events: int, replicates: int) -> Iterator[Float32]:
    """Yield blocks (at most _BLOCK, U): how often each event is drawn. Whole numbers, so that sums are exact."""
    stream = Stream(f"events {name}")
    for start in range(0, replicates, _BLOCK):
        yield _times(stream.below(events, (min(_BLOCK, replicates - start), events)), events)


def _times(chosen: Int64, limit: int) -> Float32:
    rows = np.arange(len(chosen))[:, None] * limit
    return np.bincount((chosen + rows).ravel(), minlength=len(chosen) * limit).astype(np.float32).reshape(-1, limit)


def _accuracies(right: Bool, present: Bool, times: Float32) -> Float64:
    """(B, S) mean over the points of the accuracy of each training on resampled events."""
    seeds, points, events = right.shape
    correct = (times @ right.reshape(-1, events).T.astype(np.float32)).reshape(-1, seeds, points)
    counts = (times @ present.T.astype(np.float32))[:, None, :]
    # A point of few events may be drawn without any; it then keeps the accuracy that it has.
    shares = np.broadcast_to(right.sum(axis=2) / present.sum(axis=1), correct.shape).copy()
    np.divide(correct, counts, out=shares, where=counts > 0, dtype=np.float64)
    return np.asarray(shares.mean(axis=2))


def _between_trainings(method: Answers, replicates: int) -> Float64:
    """(B,) what other trainings would have added to the only one: normal numbers, 0 where no deviation is given."""
    if not method.deviation:
        return np.zeros(replicates)
    limit = 2**31
    draws = Stream(f"between trainings {method.name}").below(limit, (replicates,))
    normal = NormalDist(0.0, method.deviation)
    return np.array([normal.inv_cdf((draw + 0.5) / limit) for draw in draws.tolist()])


def _resampled_trainings(accuracies: Float64, draw: Stream) -> Float64:
    """(B,) means over trainings drawn anew in each replicate, their deviation enlarged to an unbiased variance."""
    replicates, seeds = accuracies.shape
    of_all: Float64 = accuracies.mean(axis=1)
    if seeds == 1:
        return of_all
    times = _times(draw.below(seeds, (replicates, seeds)), seeds)
    of_drawn = np.average(accuracies, axis=1, weights=times)
    return np.asarray(of_all + (of_drawn - of_all) * float(np.sqrt(seeds / (seeds - 1))))
