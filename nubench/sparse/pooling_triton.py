"""GPU kernels of the pooling by event: a program owns some channels of an event."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from nubench.sparse.compilation_triton import accumulator, kernel, launch, tiles

_WARPS = 4  # there are few events, so each program takes much of one at a time


def maximum(features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest value of each channel in each event, and the first row that has it; a NaN is the largest.

    Args:
        features: (N, C), contiguous.
        offsets: (B + 1,) int64 rows of the events, none empty.

    Returns:
        (B, C) of the features' type, and (B, C) int64 rows.
    """
    channels = features.shape[1]
    out = features.new_empty((len(offsets) - 1, channels))
    winner = torch.empty(out.shape, dtype=torch.int64, device=out.device)
    launch(_maximum, len(out), tiles(channels, _WARPS), features, offsets, out, winner, channels=channels)
    return out, winner


def total(features: Tensor, offsets: Tensor) -> Tensor:
    """Add up (N, C) features by event: (B, C), in single precision (double for doubles); differentiable."""
    result: Tensor = _Total.apply(features, offsets)  # type: ignore[no-untyped-call]
    return result


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(offsets)
        ctx.rows, ctx.dtype = len(features), features.dtype
        channels = features.shape[1]
        out = features.new_empty((len(offsets) - 1, channels), dtype=accumulator(features))
        launch(_sums, len(out), tiles(channels, _WARPS), features.contiguous(), offsets, out, channels=channels)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (offsets,) = ctx.saved_tensors
        gradient = gradients[0].to(ctx.dtype)
        return torch.repeat_interleave(gradient, offsets.diff(), 0, output_size=ctx.rows), None


@kernel
def _maximum(
    features: tl.tensor,
    offsets: tl.tensor,
    out: tl.tensor,
    winner: tl.tensor,
    channels: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    kind: tl.constexpr = tl.float64 if features.dtype.element_ty == tl.float64 else tl.float32
    # Each line of the tile keeps its own best; then the lines compete.
    best = tl.full((tile_rows, tile_channels), float("-inf"), kind)
    best_row = tl.full((tile_rows, tile_channels), 0, tl.int64) + end
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        value = tl.load(features + row[:, None] * channels + channel[None, :], mask=inside, other=0).to(kind)
        better = (value > best) | (best_row == end) | ((value != value) & (best == best))
        better = better & inside
        best = tl.where(better, value, best)
        best_row = tl.where(better, row[:, None], best_row)
    # A NaN compares with nothing: lines that hold one go before all others, as if they held more than infinity.
    missing = best != best
    any_missing = tl.max(missing.to(tl.int32), 0)
    number = tl.where(missing, float("-inf"), best)
    largest = tl.max(number, 0)
    wins = tl.where(any_missing[None, :] > 0, missing, number == largest[None, :])
    row_of = tl.min(tl.where(wins, best_row, end), 0)
    result = tl.where(any_missing > 0, float("nan"), largest)
    tl.store(out + event * channels + channel, result.to(out.dtype.element_ty), mask=channel < channels)
    tl.store(winner + event * channels + channel, row_of, mask=channel < channels)


@kernel
def _sums(
    features: tl.tensor,
    offsets: tl.tensor,
    out: tl.tensor,
    channels: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    sums = tl.zeros((tile_rows, tile_channels), out.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        value = tl.load(features + row[:, None] * channels + channel[None, :], mask=inside, other=0)
        sums += value.to(out.dtype.element_ty)
    tl.store(out + event * channels + channel, tl.sum(sums, 0), mask=channel < channels)
