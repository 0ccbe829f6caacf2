"""The same event at two shift points, voxel by voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from nubench.containers import Float32, Int32
from nubench.display.views import Hits

#: Colours end at this percentile of the absolute change.
_COLOUR_PERCENTILE: Final = 98


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes in an event from one shift point to another.

    Attributes:
        coords: (C, 3) int32 voxels with a hit at both points.
        change: (C,) float32 charge at the second point minus charge at the first.
        appeared: hits at the second point whose voxel has none at the first.
        vanished: hits at the first point whose voxel has none at the second.
    """

    coords: Int32
    change: Float32
    appeared: Hits
    vanished: Hits

    def change_range(self) -> float:
        """Absolute change at both ends of the colours, at least one unit; the colours are centred at 0."""
        return max(float(np.percentile(np.abs(self.change), _COLOUR_PERCENTILE)), 1.0) if len(self.change) else 1.0


def compare_events(before: Hits, after: Hits) -> Difference:
    """Match the hits of one event at two shift points by their voxel.

    Args:
        before: its hits at the first point, nominal as a rule.
        after: its hits at the second point.

    Returns:
        The change of every voxel that both have, in order of the voxel, and the hits that only one of them has, in
        their own order.

    Example:
        >>> before = Hits(np.array([[0, 0, 0], [1, 0, 0]], np.int32), np.array([80, 90], np.float32))
        >>> after = Hits(np.array([[1, 0, 0], [2, 0, 0]], np.int32), np.array([95, 81], np.float32))
        >>> difference = compare_events(before, after)
        >>> difference.change.tolist(), difference.appeared.coords.tolist(), difference.vanished.coords.tolist()
        ([5.0], [[2, 0, 0]], [[0, 0, 0]])
    """
    _, voxels = np.unique(np.concatenate([before.coords, after.coords]), axis=0, return_inverse=True)
    first, second = np.split(voxels.ravel(), [len(before)])
    _, in_first, in_second = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return Difference(
        coords=before.coords[in_first],
        change=after.charge[in_second] - before.charge[in_first],
        appeared=after.select(~np.isin(second, first)),
        vanished=before.select(~np.isin(first, second)),
    )
