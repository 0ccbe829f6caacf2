"""Global response normalisation of ConvNeXt V2 (Woo et al. 2023, arXiv 2301.00808), on the voxels of each event."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nubench.sparse import normalisation_numba as kernels
from nubench.sparse.compilation import call, kernels_usable
from nubench.sparse.compilation_triton import triton_usable

EPSILON = 1e-6


def global_response_normalisation(features: Tensor, offsets: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Let channels compete within each event.

    ``G[c] = root of the event's sum of features[:, c]^2``, ``out = features * (1 + gamma G / (mean(G) + 1e-6)) + beta``

    Args:
        features: (N, C).
        offsets: (B + 1,) rows of the events, none empty.
        gamma, beta: (C,); the identity when both are zero.

    Returns:
        (N, C).
    """
    if triton_usable(features):
        from nubench.sparse.response_triton import respond

        return respond(features, None, offsets, gamma, beta, EPSILON)
    function = _CompiledNormalisation if kernels_usable(features) else _TorchNormalisation
    result: Tensor = function.apply(features, offsets, gamma, beta)  # type: ignore[no-untyped-call]
    return result


class _CompiledNormalisation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        features = features.contiguous()
        norm = features.new_empty((len(offsets) - 1, features.shape[1]))
        out = torch.empty_like(features)
        call(kernels.forward, features, offsets, gamma, beta, EPSILON, norm, out)
        ctx.save_for_backward(features, offsets, gamma, norm)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        features, offsets, gamma, norm = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        features_gradient = torch.empty_like(features)
        by_event = torch.empty((2, *norm.shape), dtype=norm.dtype)
        call(kernels.backward, gradient, features, offsets, gamma, EPSILON, norm, features_gradient, *by_event)
        gamma_gradient, beta_gradient = by_event.sum(1)
        return features_gradient, None, gamma_gradient, beta_gradient


class _TorchNormalisation(torch.autograd.Function):
    """The same by segmented sums, whose order is fixed on every device (indexed additions on a GPU are not)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        lengths = offsets.diff()
        event = torch.repeat_interleave(lengths, output_size=len(features))
        norm = torch.segment_reduce(features.square(), "sum", lengths=lengths, axis=0, unsafe=True).sqrt_()
        factor = 1 + gamma * norm / (norm.mean(1, keepdim=True) + EPSILON)
        ctx.save_for_backward(features, lengths, event, gamma, norm, factor)
        return torch.addcmul(beta, features, factor[event])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        features, lengths, event, gamma, norm, factor = ctx.saved_tensors
        gradient = gradients[0]
        products = torch.segment_reduce(gradient * features, "sum", lengths=lengths, axis=0, unsafe=True)
        inverse = 1 / (norm.mean(1, keepdim=True) + EPSILON)
        common = (gamma * products * norm).mean(1, keepdim=True) * inverse.square()
        through_norm = torch.where(norm > 0, (gamma * products * inverse - common) / norm, 0)
        features_gradient = gradient * factor[event] + features * through_norm[event]
        return features_gradient, None, (products * norm * inverse).sum(0), gradient.sum(0)
