"""Contrastive losses on pairs of views, as pure functions.

All take (2B, D) projections in which rows ``i`` and ``i + B`` are the two views of event ``i``, compare every view with
every other by the cosine ``s`` of their angle, and return the mean over the 2B views as anchors. Whatever comes in,
the arithmetic is float32 or float64: exponentials of ``s / t`` do not survive half precision.

Memory grows with B^2: the (2B, 2B) matrix of similarities and a few more of its size. Of more than ``anchors_at_once``
views only so many rows of the matrix are in memory at a time, and computed again for the gradient; loss and gradient
stay the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

Variant = Literal["in", "out"]

ANCHORS_AT_ONCE: Final = 8192
"""Rows of the matrix of similarities in memory; with as many columns one float32 matrix is 256 MiB."""


def nt_xent(projected: Tensor, temperature: float, anchors_at_once: int = ANCHORS_AT_ONCE) -> Tensor:
    """NT-Xent, the loss of SimCLR (eq. 1 of arXiv:2002.05709 and of arXiv:2502.07724)::

        L_i = - log  ( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )      j the other view of the event of i

    Args:
        projected: (2B, D), see above. Any norm, also zero.
        temperature: t.
        anchors_at_once: the most rows of the matrix of similarities in memory.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ValueError: when the views are not pairs.
    """

    def of_anchors(unit: Tensor, first: int, last: int) -> Tensor:
        logits, itself, partner = _compare(unit, first, last, temperature)
        every = torch.logsumexp(logits.masked_fill(itself, -torch.inf), dim=1)
        return every - logits.gather(1, partner)[:, 0]

    return _mean_over_anchors(of_anchors, projected, anchors_at_once)


def supervised_contrastive(
    projected: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float = 1.0,
    variant: Variant = "in",
    anchors_at_once: int = ANCHORS_AT_ONCE,
) -> Tensor:
    """Supervised contrastive loss with the sum over the same class inside or outside of the logarithm::

        in:   L_i = - log  ( sum_{j != i} w_ij exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )

        out:  L_i = - sum_{j != i} w_ij log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )  /  sum_{j != i} w_ij

        w_ij = 1      where j is the other view of the same event
               alpha  where j is a view of another event of the same class
               0      elsewhere

    ``in`` is eq. 2 of arXiv:2502.07724; at alpha 1 it is L_in of Khosla et al. (arXiv:2004.11362) but for the logarithm
    of the number of same-class views, which has no gradient. ``out`` is their L_out at alpha 1. At alpha 0, or where
    no two events are of one class, both are :func:`nt_xent`.

    Args:
        projected: (2B, D), see above. Any norm, also zero.
        labels: (2B,) int64.
        temperature: t.
        alpha: weight of same-class pairs, 0 to 1.
        variant: ``"in"`` or ``"out"``.
        anchors_at_once: the most rows of the matrix of similarities in memory.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ValueError: when the views are not pairs, or there is not one label for each.
    """
    if labels.shape != projected.shape[:1]:
        raise ValueError(f"labels must be one for each of {len(projected)} views; got shape {tuple(labels.shape)}")

    def of_anchors(unit: Tensor, first: int, last: int) -> Tensor:
        logits, itself, partner = _compare(unit, first, last, temperature)
        weight = alpha * (labels[first:last, None] == labels).to(logits.dtype)
        weight = weight.scatter(1, partner, 1.0).masked_fill(itself, 0.0)
        every = torch.logsumexp(logits.masked_fill(itself, -torch.inf), dim=1)
        if variant == "out":
            return every - (weight * logits).sum(1) / weight.sum(1)
        # log(0) = -inf drops a pair from the numerator; the pair of views keeps it from being empty.
        return every - torch.logsumexp(logits + weight.log(), dim=1)

    return _mean_over_anchors(of_anchors, projected, anchors_at_once)


def _mean_over_anchors(
    of_anchors: Callable[[Tensor, int, int], Tensor], projected: Tensor, anchors_at_once: int
) -> Tensor:
    """The mean over all views of what ``of_anchors`` gives for unit vectors and a range of them as anchors."""
    views = len(projected)
    if projected.ndim != 2 or views < 2 or views % 2:
        raise ValueError(f"projected must be (2B, D), two views of each of B events; got {tuple(projected.shape)}")
    # Autocast would compute the similarities in half precision whatever the type of the projections.
    with torch.autocast(projected.device.type, enabled=False):
        unit = normalize(projected if projected.dtype == torch.float64 else projected.float(), dim=1)
        if views <= anchors_at_once:
            return of_anchors(unit, 0, views).mean()
        slices = [
            checkpoint(of_anchors, unit, first, min(first + anchors_at_once, views), use_reentrant=False)
            for first in range(0, views, anchors_at_once)
        ]
        return torch.cat(slices).mean()


def _compare(unit: Tensor, first: int, last: int, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compare anchors with all views.

    Returns:
        The similarities over the temperature (A, 2B), where a view is the anchor itself (A, 2B), and the column of
        the other view of the anchor's event (A, 1).
    """
    views = len(unit)
    every = torch.arange(views, device=unit.device)
    anchors = every[first:last, None]
    return unit[first:last] @ unit.T / temperature, anchors == every, (anchors + views // 2) % views
