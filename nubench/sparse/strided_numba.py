"""Compiled kernels of the strided convolution: the stem's, for few input channels, and the sum over children."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.floating]
Index = npt.NDArray[np.integer]


@compiled
def stem_forward(
    features: Array, weight: Array, bias: Array, pointers: Index, children: Index, places: Index, out: Array
) -> None:
    """Sum children times the weights of their places; no matrix product is worth it for few input channels.

    Args:
        features: (N, C) of the children.
        weight: (K, C, D).
        bias: (D,).
        pointers, children, places: the stride map, (M + 1,), (N,), (N,).
        out: out (M, D).
    """
    inputs, outputs = weight.shape[1], weight.shape[2]
    for row in parallel_range(len(out)):
        for channel in range(outputs):
            out[row, channel] = bias[channel]
        for j in range(pointers[row], pointers[row + 1]):
            for source in range(inputs):
                value = features[children[j], source]
                for channel in range(outputs):
                    out[row, channel] += value * weight[places[j], source, channel]


@compiled
def stem_backward(
    gradient: Array,
    features: Array,
    weight: Array,
    pointers: Index,
    children: Index,
    places: Index,
    boundaries: Index,
    features_gradient: Array,
    partial: Array,
) -> None:
    """Gradients of :func:`stem_forward`; those of the weights in fixed pieces, to be summed in order.

    Args:
        gradient: (M, D), with respect to the output.
        features, weight, pointers, children, places: as there.
        boundaries: (P + 1,) output rows of the pieces.
        features_gradient: out (N, C), or (0, C) when it is not wanted.
        partial: out (P, K, C, D).
    """
    inputs, outputs = weight.shape[1], weight.shape[2]
    wanted = len(features_gradient) > 0
    for piece in parallel_range(len(boundaries) - 1):
        sums = partial[piece]
        sums[:] = 0
        for row in range(boundaries[piece], boundaries[piece + 1]):
            for j in range(pointers[row], pointers[row + 1]):
                for source in range(inputs):
                    value = features[children[j], source]
                    for channel in range(outputs):
                        sums[places[j], source, channel] += value * gradient[row, channel]
                    if wanted:
                        total = gradient[row, 0] * weight[places[j], source, 0]
                        for channel in range(1, outputs):
                            total += gradient[row, channel] * weight[places[j], source, channel]
                        features_gradient[children[j], source] = total


@compiled
def sum_children(products: Array, position: Index, bias: Array, pointers: Index, out: Array) -> None:
    """Add up the children's products.

    Args:
        products: (N, D), in any order.
        position: (N,) row of each child's product.
        bias: (D,).
        pointers: (M + 1,), children of each output row.
        out: out (M, D).
    """
    channels = products.shape[1]
    for row in parallel_range(len(out)):
        for channel in range(channels):
            out[row, channel] = bias[channel]
        for j in range(pointers[row], pointers[row + 1]):
            source = position[j]
            for channel in range(channels):
                out[row, channel] += products[source, channel]
