"""Compiled kernel of the per-event maximum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.floating]
Index = npt.NDArray[np.integer]


@compiled
def maximum(features: Array, offsets: Index, out: Array, winner: Index) -> None:
    """Find the largest value of each channel in each event, and the first row that has it.

    Args:
        features: (N, C).
        offsets: (B + 1,) rows of the events, none empty.
        out: out (B, C).
        winner: out (B, C) int64.
    """
    for event in parallel_range(len(offsets) - 1):
        start = offsets[event]
        for channel in range(features.shape[1]):
            out[event, channel] = features[start, channel]
            winner[event, channel] = start
        for row in range(start + 1, offsets[event + 1]):
            for channel in range(features.shape[1]):
                value = features[row, channel]
                # A NaN wins and stays, as in torch.
                if value > out[event, channel] or value != value:
                    out[event, channel] = value
                    winner[event, channel] = row
