"""Compiled kernels of the depth-wise submanifold convolution: each thread owns output rows, nothing is scattered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.floating]
Index = npt.NDArray[np.integer]


@compiled
def forward(
    features: Array, weight: Array, bias: Array, pointers: Index, rows: Index, places: Index, out: Array
) -> None:
    """Sum the neighbours' features times the weight of their place.

    Args:
        features: (N, C).
        weight: (K, C).
        bias: (C,).
        pointers, rows, places: the neighbour map, (N + 1,), (E,), (E,).
        out: out (N, C).
    """
    channels = features.shape[1]
    for row in parallel_range(len(features)):
        for channel in range(channels):
            out[row, channel] = bias[channel]
        for edge in range(pointers[row], pointers[row + 1]):
            neighbour = rows[edge]
            place = places[edge]
            for channel in range(channels):
                out[row, channel] += features[neighbour, channel] * weight[place, channel]


@compiled
def backward(
    gradient: Array,
    features: Array,
    weight: Array,
    pointers: Index,
    rows: Index,
    places: Index,
    boundaries: Index,
    features_gradient: Array,
    partial: Array,
) -> None:
    """Gradients to the features and, in fixed pieces to be summed in order, to the weights.

    A neighbour at place k sees the row at place K - 1 - k, so the forward's map with the mirrored kernel gathers
    both gradients. The pieces do not depend on the number of threads, nor does the result.

    Args:
        gradient: (N, C), with respect to the output.
        features, weight, pointers, rows, places: as in :func:`forward`.
        boundaries: (P + 1,) rows of the pieces.
        features_gradient: out (N, C).
        partial: out (P, K, C).
    """
    channels = features.shape[1]
    last = len(weight) - 1
    for piece in parallel_range(len(boundaries) - 1):
        sums = partial[piece]
        sums[:] = 0
        for row in range(boundaries[piece], boundaries[piece + 1]):
            for channel in range(channels):
                features_gradient[row, channel] = 0
            for edge in range(pointers[row], pointers[row + 1]):
                neighbour = rows[edge]
                place = last - places[edge]
                for channel in range(channels):
                    value = gradient[neighbour, channel]
                    features_gradient[row, channel] += value * weight[place, channel]
                    sums[place, channel] += value * features[row, channel]
