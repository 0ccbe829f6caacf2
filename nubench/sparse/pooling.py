"""Pooling over the voxels of each event. Pools by row ranges, never by scattering, so the result is deterministic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nubench.errors import unknown_name
from nubench.sparse import pooling_numba as kernels
from nubench.sparse.compilation import call, kernels_usable
from nubench.sparse.compilation_triton import triton_usable

POOLINGS = ("max", "mean", "sum")


def pool(features: Tensor, offsets: Tensor, kind: str = "max") -> Tensor:
    """Reduce the voxels of each event to one row.

    Args:
        features: (N, C).
        offsets: (B + 1,) rows of the events, none empty.
        kind: ``max`` (the first of equal voxels gets the gradient), ``mean`` or ``sum``.

    Returns:
        (B, C).

    Raises:
        UsageError: when the kind is unknown.
    """
    if kind not in POOLINGS:
        raise unknown_name("pooling", kind, POOLINGS)
    if kind == "max":
        result: Tensor = _MaximumPool.apply(features, offsets)  # type: ignore[no-untyped-call]
        return result
    if triton_usable(features):
        from nubench.sparse.pooling_triton import total

        sums = total(features, offsets)
        return (sums / offsets.diff()[:, None] if kind == "mean" else sums).to(features.dtype)
    return torch.segment_reduce(features, kind, lengths=offsets.diff(), axis=0, unsafe=True)


class _MaximumPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Tensor) -> Tensor:
        features = features.contiguous()
        if triton_usable(features):
            from nubench.sparse.pooling_triton import maximum

            out, winner = maximum(features, offsets)
        elif kernels_usable(features):
            out = features.new_empty((len(offsets) - 1, features.shape[1]))
            winner = torch.empty(out.shape, dtype=torch.int64)
            call(kernels.maximum, features, offsets, out, winner)
        else:
            out, winner = _maximum(features, offsets)
        ctx.save_for_backward(winner)
        ctx.rows = len(features)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (winner,) = ctx.saved_tensors
        gradient = gradients[0]
        # Rows of different events never meet, so every element is written at most once.
        return gradient.new_zeros((ctx.rows, gradient.shape[1])).scatter_(0, winner, gradient), None


def _maximum(features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    lengths = offsets.diff()
    out = torch.segment_reduce(features, "max", lengths=lengths, axis=0, unsafe=True)
    event = torch.repeat_interleave(lengths, output_size=len(features))
    rows = torch.arange(len(features), device=features.device)[:, None]
    candidates = torch.where(features == out[event], rows, len(features))
    winner = torch.segment_reduce(candidates.double(), "min", lengths=lengths, axis=0, unsafe=True).long()
    return out, winner.clamp_(max=len(features) - 1)
