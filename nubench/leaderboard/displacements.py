"""How the points of a shift lie in the space of the detector's parameters: on one line, or each in a way of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from nubench.containers import Float64
from nubench.results.schema import PointResult

#: How far points may lie beside a line, as a share of its length: cards state rounded parameters.
_TOLERANCE: Final = 0.01


def moved_names(points: Sequence[PointResult]) -> list[str]:
    """Names of the detector parameters that are not the same at all points, sorted."""
    names = sorted({name for point in points for name in point.parameters})
    return [name for name in names if len({point.parameters.get(name) for point in points}) > 1]


def on_one_line(points: Sequence[PointResult]) -> bool:
    """Whether a curve over the strength is a path of the detector: whether its points follow each other on one line.

    True where the displacements from the first point lie on one line through the space of the moved parameters, each
    measured by its own largest displacement, and the order along it is that of the strengths. A text has no place on
    a line. Where no parameter moves, the strength is all that is known, and is believed.

    Args:
        points: at least one, with strengths.

    Raises:
        ValueError: when a point has no strength.
    """
    names = moved_names(points)
    if not names:
        return True
    numbers: list[list[float]] = []
    for point in points:
        values = [point.parameters.get(name) for name in names]
        found = [value for value in values if isinstance(value, float | int)]
        if len(found) < len(values):
            return False
        numbers.append(found)
    along = _along_line(np.array(numbers, float))
    if along is None:
        return False
    strengths = _strengths(points)
    order = np.argsort(strengths, kind="stable")
    steps, grows = np.diff(along[order]), np.diff(strengths[order]) > 0
    # Points of one strength must be one detector.
    stays = bool((np.abs(steps[~grows]) < _TOLERANCE).all())
    return stays and bool((steps[grows] > 0).all() or (steps[grows] < 0).all())


def _along_line(values: Float64) -> Float64 | None:
    """(P,) places of (P, N) points on the line through them and the first, or None where they lie on none."""
    # Scaled before they are subtracted, or the difference of two huge numbers would be none.
    values = values / np.abs(values).max(axis=0)
    displacements = values - values[0]
    largest = np.abs(displacements).max(axis=0)
    displacements /= np.where(largest > 0, largest, 1.0)
    _, sizes, directions = np.linalg.svd(displacements, full_matrices=False)
    if (sizes[1:] > _TOLERANCE * sizes[0]).any():
        return None
    return np.asarray(displacements @ directions[0])


def _strengths(points: Sequence[PointResult]) -> Float64:
    found = [point.strength for point in points if point.strength is not None]
    if len(found) < len(points):
        raise ValueError("every point must have a strength")
    return np.array(found, float)
