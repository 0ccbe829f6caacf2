"""Strided convolution with kernel = stride: every fine voxel is in one coarse voxel, so no neighbours are searched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nubench.sparse import strided_numba as kernels
from nubench.sparse.compilation import call, kernels_usable
from nubench.sparse.compilation_triton import in_autocast_type
from nubench.sparse.coordinates import StrideMap
from nubench.sparse.products import FEWEST_ROWS, multiply_rows

_FEW_CHANNELS = 4  # up to here, reading the input once in a plain loop beats gathering it for matrix products
_PIECES = 8  # partial sums of the weight gradient; fixed, so that the thread count does not matter


def strided_convolution(features: Tensor, strides: StrideMap, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with a kernel as wide as the stride, at the occupied voxels only.

    ``out[m, d] = bias[d] + sum over children j of m and channels c of features[j, c] * weight[place of j, c, d]``

    Args:
        features: (N, C) at the fine level.
        strides: map of the N fine onto M coarse voxels, K places.
        weight: (K, C, D), places counted with x slowest.
        bias: (D,).

    Returns:
        (M, D) features at the coarse level. Forward and backward are deterministic. Under autocast on a GPU they are
        half precision; a few input channels, such as the charge itself, are still read in full.
    """
    if features.device.type != "cpu":
        return _whole_cells(features, strides, weight, bias)
    few = features.shape[1] <= _FEW_CHANNELS and kernels_usable(features)
    function = _StemConvolution if few else _GroupedConvolution
    result: Tensor = function.apply(features, strides, weight, bias)  # type: ignore[no-untyped-call]
    return result


def _whole_cells(features: Tensor, strides: StrideMap, weight: Tensor, bias: Tensor) -> Tensor:
    """One matrix product over whole cells, empty places being zero.

    Most of its operations are on zeros. A GPU does them faster than it starts a product for each place, and it need
    not be asked how many voxels stand at each.
    """
    places, inputs, outputs = weight.shape
    few = inputs <= _FEW_CHANNELS
    if not few:
        features = in_autocast_type(features)
    cells = features.new_zeros((len(strides.pointers) - 1) * places, inputs).index_copy(0, strides.slots, features)
    cells, flat_weight = cells.view(-1, places * inputs), weight.reshape(places * inputs, outputs)
    with torch.autocast(features.device.type, enabled=not few and torch.is_autocast_enabled(features.device.type)):
        out = torch.addmm(bias, cells, flat_weight)
    return in_autocast_type(out)


class _StemConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, strides: StrideMap, weight: Tensor, bias: Tensor) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.strides = strides
        out = features.new_empty((len(strides.pointers) - 1, weight.shape[2]))
        maps = (strides.pointers, strides.children, strides.kernel_index)
        call(kernels.stem_forward, features, weight, bias, *maps, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor]:
        features, weight = ctx.saved_tensors
        strides: StrideMap = ctx.strides
        gradient = gradients[0].contiguous()
        wanted = ctx.needs_input_grad[0]
        features_gradient = torch.empty_like(features) if wanted else features.new_empty((0, features.shape[1]))
        boundaries = torch.linspace(0, len(gradient), _PIECES + 1, dtype=torch.float64).long()
        partial = features.new_empty((_PIECES, *weight.shape))
        maps = (strides.pointers, strides.children, strides.kernel_index)
        call(kernels.stem_backward, gradient, features, weight, *maps, boundaries, features_gradient, partial)
        return features_gradient if wanted else None, None, partial.sum(0), gradient.sum(0)


class _GroupedConvolution(torch.autograd.Function):
    """One matrix product a place, over the children at that place; then each parent adds its children up."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strides: StrideMap, weight: Tensor, bias: Tensor) -> Tensor:
        order, position, sizes = strides.by_place
        gathered = features.index_select(0, strides.children[order])
        products = features.new_empty((len(gathered), weight.shape[2]))
        for place, (rows, out_rows) in enumerate(zip(*_split(sizes, gathered, products), strict=True)):
            if len(rows) >= FEWEST_ROWS:
                torch.mm(rows, weight[place], out=out_rows)
            else:
                out_rows.copy_(multiply_rows(rows, weight[place]))
        ctx.save_for_backward(gathered, weight)
        ctx.strides = strides
        if not kernels_usable(features):
            sums = torch.segment_reduce(
                products.index_select(0, position), "sum", lengths=strides.pointers.diff(), axis=0, unsafe=True
            )
            return sums + bias
        out = features.new_empty((len(strides.pointers) - 1, weight.shape[2]))
        call(kernels.sum_children, products, position, bias, strides.pointers, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        gathered, weight = ctx.saved_tensors
        strides: StrideMap = ctx.strides
        order, _, sizes = strides.by_place
        gradient = gradients[0]
        products = gradient.index_select(0, strides.parent[order])
        weight_gradient = torch.empty_like(weight)
        gathered_gradient = torch.empty_like(gathered)
        pieces = zip(*_split(sizes, gathered, products, gathered_gradient), strict=True)
        for place, (rows, product_rows, out_rows) in enumerate(pieces):
            torch.mm(rows.t(), product_rows, out=weight_gradient[place])
            torch.mm(product_rows, weight[place].t(), out=out_rows)
        # Every fine voxel is one child: a permutation, so nothing is added up.
        features_gradient = torch.empty_like(gathered).index_copy_(0, strides.children[order], gathered_gradient)
        return features_gradient, None, weight_gradient, gradient.sum(0)


def _split(sizes: list[int], *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [torch.split_with_sizes(tensor, sizes) for tensor in tensors]
