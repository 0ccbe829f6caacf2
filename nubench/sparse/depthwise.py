"""Depth-wise submanifold convolution: an output for every voxel, one weight for each channel and place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nubench.sparse import depthwise_numba as kernels
from nubench.sparse.compilation import call, kernels_usable
from nubench.sparse.compilation_triton import in_autocast_type, triton_usable
from nubench.sparse.coordinates import NeighbourMap

_CHUNK_EDGES = 65536  # neighbours gathered at once by the torch form: bounds its memory to this many rows
_PIECES = 8  # partial sums of the weight gradient; fixed, so that the thread count does not matter


def depthwise_convolution(features: Tensor, neighbours: NeighbourMap, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel with its own cube of weights, at the occupied voxels only.

    ``out[i, c] = bias[c] + sum over neighbours j of i of features[j, c] * weight[place of j as seen from i, c]``

    Args:
        features: (N, C).
        neighbours: map of the N voxels, K places.
        weight: (K, C), places counted with x slowest.
        bias: (C,).

    Returns:
        (N, C) features. Forward and backward are deterministic. Under autocast on a GPU the features are half
        precision and the sums single.
    """
    if triton_usable(features):
        from nubench.sparse.depthwise_triton import convolve

        return convolve(in_autocast_type(features), neighbours, weight, bias)
    result: Tensor = _DepthwiseConvolution.apply(features, neighbours, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbours: NeighbourMap, weight: Tensor, bias: Tensor) -> Tensor:
        features = features.contiguous()
        weight = weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.neighbours = neighbours
        if kernels_usable(features):
            out = torch.empty_like(features)
            maps = (neighbours.pointers, neighbours.rows, neighbours.kernel_index)
            call(kernels.forward, features, weight, bias, *maps, out)
            return out
        return _gather(features, neighbours, weight) + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        features, weight = ctx.saved_tensors
        neighbours: NeighbourMap = ctx.neighbours
        gradient = gradients[0].contiguous()
        bias_gradient = gradient.sum(0)
        if not kernels_usable(features):
            features_gradient = _gather(gradient, neighbours, weight.flip(0))
            return features_gradient, None, _weight_gradient(features, gradient, neighbours, len(weight)), bias_gradient
        features_gradient = torch.empty_like(features)
        boundaries = torch.linspace(0, len(features), _PIECES + 1, dtype=torch.float64).long()
        partial = features.new_empty((_PIECES, *weight.shape))
        maps = (neighbours.pointers, neighbours.rows, neighbours.kernel_index)
        call(kernels.backward, gradient, features, weight, *maps, boundaries, features_gradient, partial)
        return features_gradient, None, partial.sum(0), bias_gradient


def _chunks(neighbours: NeighbourMap) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cut the map into whole rows of about ``_CHUNK_EDGES`` entries: rows, entries, row lengths."""
    pointers = neighbours.pointers
    edges = int(pointers[-1])
    wanted = torch.arange(0, edges + _CHUNK_EDGES, _CHUNK_EDGES, device=pointers.device)
    begins = sorted(set(torch.searchsorted(pointers, wanted).clamp_(max=len(pointers) - 1).tolist()))
    ends = pointers[begins].tolist()
    for i in range(len(begins) - 1):
        rows = slice(begins[i], begins[i + 1])
        yield rows, slice(ends[i], ends[i + 1]), pointers[rows.start : rows.stop + 1].diff()


def _gather(features: Tensor, neighbours: NeighbourMap, weight: Tensor) -> Tensor:
    out = torch.empty_like(features)
    for rows, edges, lengths in _chunks(neighbours):
        products = features[neighbours.rows[edges]] * weight[neighbours.kernel_index[edges].long()]
        out[rows] = torch.segment_reduce(products, "sum", lengths=lengths, axis=0, unsafe=True)
    return out


def _weight_gradient(features: Tensor, gradient: Tensor, neighbours: NeighbourMap, places: int) -> Tensor:
    order = torch.argsort(neighbours.kernel_index, stable=True)
    out_row = torch.repeat_interleave(neighbours.pointers.diff(), output_size=len(order))
    total = features.new_zeros((places, features.shape[1]))
    # Sorted by place, a chunk touches few places; chunk sums are added in order, never by atomics.
    for chunk in torch.tensor_split(order, max(1, len(order) // _CHUNK_EDGES)):
        place = neighbours.kernel_index[chunk].long()
        inside = torch.bincount(place, minlength=places)
        products = features[neighbours.rows[chunk]] * gradient[out_row[chunk]]
        total += torch.segment_reduce(products, "sum", lengths=inside, axis=0, unsafe=True)
    return total
