"""GPU kernels of bias, GELU and global response normalisation: a program owns some channels of an event.

Features may be half precision; what is added up over an event, and every gradient of a parameter, is in single
precision (double for doubles). GELU is the exact one, through the error function, and is worked out again rather
than kept.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from nubench.sparse.compilation_triton import accumulator, kernel, launch, tiles

_WARPS = 4  # there are few events, so each program takes much of one at a time


def respond(
    features: Tensor, bias: Tensor | None, offsets: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> Tensor:
    """Normalise the response of each event: of ``gelu(features + bias)``, or of the features where bias is None.

    Args:
        features: (N, C).
        bias: (C,) or None.
        offsets: (B + 1,) int64 rows of the events, none empty.
        gamma, beta: (C,).
        epsilon: added to the mean norm.

    Returns:
        (N, C) of the features' type.
    """
    result: Tensor = _Response.apply(features, bias, offsets, gamma, beta, epsilon)  # type: ignore[no-untyped-call]
    return result


class _Response(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        bias: Tensor | None,
        offsets: Tensor,
        gamma: Tensor,
        beta: Tensor,
        epsilon: float,
    ) -> Tensor:
        features, kind = features.contiguous(), accumulator(features)
        tile = tiles(features.shape[1], _WARPS)
        constants = {"channels": features.shape[1], "active": bias is not None}
        # Without a bias the kernels read none, but want something in its place.
        shift = (gamma if bias is None else bias).to(kind)
        norm = features.new_empty((len(offsets) - 1, features.shape[1]), dtype=kind)
        launch(_norms, len(norm), tile, features, shift, offsets, norm, **constants)
        factor = 1 + gamma.to(kind) * norm / (norm.mean(1, keepdim=True) + epsilon)
        out = torch.empty_like(features)
        launch(_scale, len(norm), tile, features, shift, offsets, factor, beta.to(kind), out, **constants)
        ctx.save_for_backward(features, shift, offsets, gamma, norm)
        ctx.epsilon, ctx.tile, ctx.constants = epsilon, tile, constants
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The formulae are in :func:`nubench.sparse.normalisation_numba.backward`."""
        features, shift, offsets, gamma, norm = ctx.saved_tensors
        gradient, tile, weight = gradients[0].contiguous(), ctx.tile, gamma.to(norm.dtype)
        products, total, features_total = norm.new_empty((3, *norm.shape))
        launch(_products, len(norm), tile, gradient, features, shift, offsets, products, total, **ctx.constants)
        inverse = 1 / (norm.mean(1, keepdim=True) + ctx.epsilon)
        common = (weight * products * norm).mean(1, keepdim=True) * inverse.square()
        factor = 1 + weight * norm * inverse
        # A channel that is zero everywhere has no direction to grow in.
        through_norm = torch.where(norm > 0, (weight * products * inverse - common) / norm, 0)
        out = torch.empty_like(features)
        rows = (gradient, features, shift, offsets, factor, through_norm)
        launch(_change, len(norm), tile, *rows, out, features_total, **ctx.constants)
        to_bias = features_total.sum(0).to(gamma.dtype) if ctx.constants["active"] else None
        to_gamma = (products * norm * inverse).sum(0).to(gamma.dtype)
        return out, to_bias, None, to_gamma, total.sum(0).to(gamma.dtype), None


@kernel
def _norms(
    features: tl.tensor,
    bias: tl.tensor,
    offsets: tl.tensor,
    norm: tl.tensor,
    channels: tl.constexpr,
    active: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    shift = tl.load(bias + channel, mask=channel < channels, other=0)
    total = tl.zeros((tile_rows, tile_channels), norm.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        value = tl.load(features + row[:, None] * channels + channel[None, :], mask=inside, other=0)
        value = value.to(norm.dtype.element_ty)
        if active:
            value += shift[None, :]
            value *= 0.5 + 0.5 * tl.erf(value * 0.7071067811865476)
        total += tl.where(inside, value * value, 0)
    tl.store(norm + event * channels + channel, tl.sqrt(tl.sum(total, 0)), mask=channel < channels)


@kernel
def _scale(
    features: tl.tensor,
    bias: tl.tensor,
    offsets: tl.tensor,
    factor: tl.tensor,
    beta: tl.tensor,
    out: tl.tensor,
    channels: tl.constexpr,
    active: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    shift = tl.load(bias + channel, mask=channel < channels, other=0)
    scale = tl.load(factor + event * channels + channel, mask=channel < channels, other=0)
    constant = tl.load(beta + channel, mask=channel < channels, other=0)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        place = row[:, None] * channels + channel[None, :]
        value = tl.load(features + place, mask=inside, other=0).to(factor.dtype.element_ty)
        if active:
            value += shift[None, :]
            value *= 0.5 + 0.5 * tl.erf(value * 0.7071067811865476)
        value = value * scale[None, :] + constant[None, :]
        tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


@kernel
def _products(
    gradient: tl.tensor,
    features: tl.tensor,
    bias: tl.tensor,
    offsets: tl.tensor,
    products: tl.tensor,
    total: tl.tensor,
    channels: tl.constexpr,
    active: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    shift = tl.load(bias + channel, mask=channel < channels, other=0)
    product_sum = tl.zeros((tile_rows, tile_channels), products.dtype.element_ty)
    gradient_sum = tl.zeros((tile_rows, tile_channels), products.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        place = row[:, None] * channels + channel[None, :]
        value = tl.load(features + place, mask=inside, other=0).to(products.dtype.element_ty)
        change = tl.load(gradient + place, mask=inside, other=0).to(products.dtype.element_ty)
        if active:
            value += shift[None, :]
            value *= 0.5 + 0.5 * tl.erf(value * 0.7071067811865476)
        product_sum += value * change
        gradient_sum += change
    tl.store(products + event * channels + channel, tl.sum(product_sum, 0), mask=channel < channels)
    tl.store(total + event * channels + channel, tl.sum(gradient_sum, 0), mask=channel < channels)


@kernel
def _change(
    gradient: tl.tensor,
    features: tl.tensor,
    bias: tl.tensor,
    offsets: tl.tensor,
    factor: tl.tensor,
    through_norm: tl.tensor,
    out: tl.tensor,
    out_total: tl.tensor,
    channels: tl.constexpr,
    active: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_channels: tl.constexpr,
) -> None:
    event = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    begin = tl.load(offsets + event)
    end = tl.load(offsets + event + 1)
    shift = tl.load(bias + channel, mask=channel < channels, other=0)
    direct = tl.load(factor + event * channels + channel, mask=channel < channels, other=0)
    indirect = tl.load(through_norm + event * channels + channel, mask=channel < channels, other=0)
    total = tl.zeros((tile_rows, tile_channels), out_total.dtype.element_ty)
    for first in range(begin, end, tile_rows):
        row = first + tl.arange(0, tile_rows)
        inside = (row < end)[:, None] & (channel < channels)[None, :]
        place = row[:, None] * channels + channel[None, :]
        value = tl.load(features + place, mask=inside, other=0).to(out_total.dtype.element_ty)
        change = tl.load(gradient + place, mask=inside, other=0).to(out_total.dtype.element_ty) * direct[None, :]
        if active:
            value += shift[None, :]
            cumulative = 0.5 + 0.5 * tl.erf(value * 0.7071067811865476)
            density = 0.3989422804014327 * tl.exp(-0.5 * value * value)
            change += value * cumulative * indirect[None, :]
            change *= cumulative + value * density
        else:
            change += value * indirect[None, :]
        total += tl.where(inside, change, 0)
        tl.store(out + place, change.to(out.dtype.element_ty), mask=inside)
    tl.store(out_total + event * channels + channel, tl.sum(total, 0), mask=channel < channels)
