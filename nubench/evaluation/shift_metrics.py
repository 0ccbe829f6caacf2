"""What a method's accuracies at the points of a shift come to, as pure functions.

Methods are ranked by the mean over the target points, with the worst point beside it. The drop from nominal never
ranks: a model that ignores the charge does not drop when the electronics moves, at the accuracy that shapes allow.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise


def mean_accuracy(targets: Sequence[float]) -> float:
    """Return the mean over the target points: what ranks a method.

    Args:
        targets: accuracy at each target point, at least one.

    Raises:
        ValueError: when there is none.

    Example:
        >>> mean_accuracy([0.5, 0.75])
        0.625
    """
    _require(targets, "targets")
    return statistics.fmean(targets)


def worst_accuracy(targets: Sequence[float]) -> float:
    """Return the lowest accuracy of any target point.

    Args:
        targets: accuracy at each target point, at least one.

    Raises:
        ValueError: when there is none.

    Example:
        >>> worst_accuracy([0.5, 0.75])
        0.5
    """
    _require(targets, "targets")
    return min(targets)


def drop_from_source(source: float, targets: Sequence[float]) -> float:
    """Return how much lower the mean over the target points is than the accuracy at the source.

    Args:
        source: accuracy at the point of the training, which is nominal unless the shift offers others.
        targets: accuracy at each target point, at least one.

    Returns:
        Positive where accuracy is lost. Two drops compare at like ``source`` only.

    Raises:
        ValueError: when there is no target point.

    Example:
        >>> drop_from_source(0.75, [0.5, 0.75])
        0.125
    """
    return source - mean_accuracy(targets)


def area_under_accuracy(strengths: Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the mean accuracy along the axis of the shift: the area under accuracy against strength, over its width.

    By trapezoids between neighbouring strengths, the source point among them. Points of the same strength count as one
    with their mean accuracy. The mean over points weighs each point alike; this weighs each stretch of the axis alike.

    Args:
        strengths: of each point, finite, in any order, in the unit of the shift; signed where the shift has two sides.
        accuracies: at each point.

    Returns:
        Between the smallest and the largest of the accuracies.

    Raises:
        ValueError: when the lengths differ, a number is not finite, or fewer than two strengths are different.

    Example:
        >>> area_under_accuracy([0.0, 1.0, 3.0], [1.0, 0.5, 0.5])
        0.5833333333333334
    """
    at_strength: dict[float, list[float]] = defaultdict(list)
    for strength, accuracy in zip(strengths, accuracies, strict=True):
        if not math.isfinite(strength) or not math.isfinite(accuracy):
            raise ValueError(f"strengths and accuracies must be finite; got {accuracy} at strength {strength}")
        at_strength[strength].append(accuracy)
    if len(at_strength) < 2:
        raise ValueError(f"an area needs points of at least 2 different strengths; got {sorted(at_strength)}")
    curve = [(strength, statistics.fmean(found)) for strength, found in sorted(at_strength.items())]
    area = sum((after - before) * (high + low) / 2 for (before, high), (after, low) in pairwise(curve))
    return area / (curve[-1][0] - curve[0][0])


def _require(values: Sequence[float], name: str) -> None:
    if not values:
        raise ValueError(f"{name} must hold at least one accuracy")
