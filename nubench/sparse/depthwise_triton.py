"""GPU kernels of the depth-wise submanifold convolution: a program owns a row's output, nothing is scattered.

Features may be half precision; weights, sums and the gradients of the weights are in single precision (double for
doubles).
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from nubench.sparse.compilation_triton import accumulator, kernel, launch, tiles
from nubench.sparse.coordinates import NeighbourMap

_WARPS = 1  # a row has a few tens of neighbours: many small programs hide each other's waiting


def convolve(features: Tensor, neighbours: NeighbourMap, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (N, C) features with (K, C) weights and add the (C,) bias: (N, C) of the features' type."""
    result: Tensor = _Convolution.apply(features, neighbours, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbours: NeighbourMap, weight: Tensor, bias: Tensor) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.neighbours = neighbours
        return _gather(features, weight, bias, neighbours, mirrored=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        features, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        # A neighbour at place k sees the row at place K - 1 - k: the same map with the kernel mirrored gathers it.
        to_features = _gather(gradient, weight, None, ctx.neighbours, mirrored=True)
        to_weight = _weight_gradient(features, gradient, ctx.neighbours)
        return to_features, None, to_weight.to(weight.dtype), gradient.sum(0, dtype=weight.dtype)


def _gather(features: Tensor, weight: Tensor, bias: Tensor | None, neighbours: NeighbourMap, mirrored: bool) -> Tensor:
    weight = weight.to(accumulator(features))
    constants = {"channels": features.shape[1], "last_place": len(weight) - 1, "mirrored": mirrored}
    out = torch.empty_like(features)
    launch(
        _sum_neighbours,
        len(features),
        tiles(features.shape[1], _WARPS),
        features,
        weight,
        weight if bias is None else bias,
        neighbours.pointers,
        neighbours.rows,
        neighbours.kernel_index,
        out,
        **constants,
        with_bias=bias is not None,
    )
    return out


def _weight_gradient(features: Tensor, gradient: Tensor, neighbours: NeighbourMap) -> Tensor:
    """Add up the chunks of each place with one kernel, then the chunks' sums with another: (K, C)."""
    edges, channels = neighbours.by_place, features.shape[1]
    tile = tiles(channels, _WARPS)
    partial = features.new_empty((len(edges.chunk_place), channels), dtype=accumulator(features))
    maps = (edges.rows, edges.out_rows, edges.pointers, edges.chunk_place, edges.chunk_pointers)
    launch(_sum_chunks, len(partial), tile, features, gradient, *maps, partial, chunk=edges.chunk, channels=channels)
    out = partial.new_empty((len(edges.pointers) - 1, channels))
    launch(_add_chunks, len(out), tile, partial, edges.chunk_pointers, out, channels=channels)
    return out


@kernel
def _sum_neighbours(
    features: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    pointers: tl.tensor,
    rows: tl.tensor,
    places: tl.tensor,
    out: tl.tensor,
    channels: tl.constexpr,
    last_place: tl.constexpr,
    mirrored: tl.constexpr,
    with_bias: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(pointers + row)
    end = tl.load(pointers + row + 1)
    total = tl.zeros((tile_rows, tile_channels), weight.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        edge = first + tl.arange(0, tile_rows)
        neighbour = tl.load(rows + edge, mask=edge < end, other=0).to(tl.int64)
        place = tl.load(places + edge, mask=edge < end, other=0).to(tl.int64)
        if mirrored:
            place = last_place - place
        inside = (edge < end)[:, None] & (channel < channels)[None, :]
        value = tl.load(features + neighbour[:, None] * channels + channel[None, :], mask=inside, other=0)
        factor = tl.load(weight + place[:, None] * channels + channel[None, :], mask=inside, other=0)
        total += value.to(weight.dtype.element_ty) * factor
    result = tl.sum(total, 0)
    if with_bias:
        result += tl.load(bias + channel, mask=channel < channels, other=0)
    tl.store(out + row * channels + channel, result.to(out.dtype.element_ty), mask=channel < channels)


@kernel
def _sum_chunks(
    features: tl.tensor,
    gradient: tl.tensor,
    rows: tl.tensor,
    out_rows: tl.tensor,
    pointers: tl.tensor,
    chunk_place: tl.tensor,
    chunk_pointers: tl.tensor,
    partial: tl.tensor,
    chunk: tl.constexpr,
    channels: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    number = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    place = tl.load(chunk_place + number)
    begin = tl.load(pointers + place) + (number - tl.load(chunk_pointers + place)) * chunk
    end = tl.minimum(begin + chunk, tl.load(pointers + place + 1))
    total = tl.zeros((tile_rows, tile_channels), partial.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        edge = first + tl.arange(0, tile_rows)
        source = tl.load(rows + edge, mask=edge < end, other=0).to(tl.int64)
        target = tl.load(out_rows + edge, mask=edge < end, other=0).to(tl.int64)
        inside = (edge < end)[:, None] & (channel < channels)[None, :]
        value = tl.load(features + source[:, None] * channels + channel[None, :], mask=inside, other=0)
        change = tl.load(gradient + target[:, None] * channels + channel[None, :], mask=inside, other=0)
        total += value.to(partial.dtype.element_ty) * change.to(partial.dtype.element_ty)
    tl.store(partial + number * channels + channel, tl.sum(total, 0), mask=channel < channels)


@kernel
def _add_chunks(
    partial: tl.tensor,
    chunk_pointers: tl.tensor,
    out: tl.tensor,
    channels: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(chunk_pointers + place)
    end = tl.load(chunk_pointers + place + 1)
    total = tl.zeros((tile_rows, tile_channels), out.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        total += tl.load(partial + row[:, None] * channels + channel[None, :], mask=inside, other=0)
    tl.store(out + place * channels + channel, tl.sum(total, 0), mask=channel < channels)
