"""How well an accuracy is known: intervals over test events and over seeds (trainings).

Both vary: another test sample and another training would each have given another number. The bootstrap
resamples the two independently (Owen, "The pigeonhole bootstrap", arXiv 0712.1111), which errs towards wide
intervals when there are many seeds. With fewer than about five seeds the spread of the trainings itself is
poorly known and the interval is too narrow; with one it holds the events only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nubench.containers import Float64

#: Quantiles of the 95% interval.
LEVELS: Final = (0.025, 0.975)

#: Half width of the 95% interval of a normal distribution, in standard deviations.
NORMAL_95: Final = 1.959964

_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, ``low <= high``."""

    estimate: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Say whether the two share a value."""
        return self.low <= other.high and other.low <= self.high


def accuracy_interval(correct: npt.NDArray[np.bool_], *, seed: int, replicates: int = 1000) -> Interval:
    """Bootstrap the accuracy over events and seeds.

    Args:
        correct: (S, E) whether training s was right about event e.
        seed: of the random resampling.
        replicates: number of resamplings.

    Raises:
        ValueError: when ``correct`` is not (S >= 1, E >= 1).

    Example:
        >>> correct = np.tile([True, True, True, False], (3, 250))
        >>> interval = accuracy_interval(correct, seed=0)
        >>> interval.estimate, 0.71 < interval.low < 0.73, 0.77 < interval.high < 0.79
        (0.75, True, True)
    """
    _check(correct)
    rng = np.random.default_rng(seed)
    return _interval(float(correct.mean()), _resample((correct,), rng, replicates)[0])


def paired_difference(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], *, seed: int, replicates: int = 1000
) -> Interval:
    """Bootstrap the accuracy of one method minus that of another on the same events.

    Both see the same resampled events, so what makes an event hard for both cancels; their trainings are
    resampled independently, as seeds of different methods have nothing in common.

    Args:
        first: (S1, E) whether training s of the first method was right about event e.
        second: (S2, E) the same for the second.
        seed: of the random resampling.
        replicates: number of resamplings.

    Raises:
        ValueError: when the shapes do not fit.
    """
    _check(first)
    _check(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both methods must be scored on the same events; got {first.shape[1]} and {second.shape[1]}")
    means = _resample((first, second), np.random.default_rng(seed), replicates)
    return _interval(float(first.mean() - second.mean()), means[0] - means[1])


def interval_from_seeds(accuracies: Sequence[float], events: int) -> Interval:
    """Approximate the interval of a mean accuracy when only the accuracy of each seed was kept.

    Normal approximation; the variance is that of the seeds over their number plus the binomial one of the
    events, p (1 - p) / E.

    Args:
        accuracies: (S >= 1) accuracy of each seed.
        events: number E of different test events behind each.

    Example:
        >>> interval = interval_from_seeds([0.8, 0.8], events=1600)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.7804, 0.8196)
    """
    mean = float(np.mean(accuracies))
    over_seeds = float(np.var(accuracies, ddof=1)) / len(accuracies) if len(accuracies) > 1 else 0.0
    half = NORMAL_95 * (over_seeds + mean * (1 - mean) / events) ** 0.5
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def _check(correct: npt.NDArray[np.bool_]) -> None:
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"correct must be (S >= 1, E >= 1); got shape {correct.shape}")


def _interval(estimate: float, means: Float64) -> Interval:
    low, high = np.quantile(means, LEVELS)
    return Interval(estimate, float(low), float(high))


def _resample(methods: Sequence[npt.NDArray[np.bool_]], rng: np.random.Generator, replicates: int) -> Float64:
    """Return (methods, replicates) accuracies; blocks of replicates bound the memory."""
    events = methods[0].shape[1]
    blocks = []
    for start in range(0, replicates, _BLOCK):
        size = min(_BLOCK, replicates - start)
        chosen = rng.integers(events, size=(size, events))
        block = []
        for correct in methods:
            seeds = len(correct)
            times = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
            share = (times @ correct.astype(np.float32)) / seeds
            block.append(np.take_along_axis(share, chosen, axis=1).mean(axis=1, dtype=np.float64))
        blocks.append(block)
    return np.concatenate(blocks, axis=1)
