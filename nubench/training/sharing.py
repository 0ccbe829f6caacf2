"""A batch shared out to several processes, without a word to the method.

Every process makes the same batch and calls the same loss. Of what the loss hands to a backbone, each process computes
its share of the events; the embeddings are then gathered from all, and the rest of the loss sees the whole batch on
every process. So negatives of contrastive losses, distances between domains and statistics of a head's batch are those
of the whole batch, in methods that know nothing of it.

The loss L is then computed N times. Going back through the gathering, a share of the events gets the sum of N equal
gradients; the mean over the processes of the gradients of the weights,

    (1/N) sum_n dL/dw [through the events of n] * N = dL/dw,

is what one process has. For weights behind the gathering it is the mean of N equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nubench.errors import PluginError
from nubench.shares import EventShare, at_share, current_share, equal_shares
from nubench.sparse.batch import SparseBatch
from nubench.training.processes import Processes, all_reached


@contextmanager
def shared_out(network: nn.Module, processes: Processes) -> Iterator[None]:
    """Within the context, calls of the backbones in a network are shared out to the processes.

    A backbone is a module with an ``embedding_size`` that is called with a :class:`SparseBatch`, see
    :class:`nubench.backbone_designs.BackboneDesign`. Batches of fewer events than processes are computed by all.

    Args:
        network: all modules of the training.
        processes: those that share it; with one, nothing changes.

    Raises:
        PluginError: when a backbone has layers that need all events of a batch.
    """
    if processes.count == 1:
        yield
        return
    backbones = [module for module in network.modules() if hasattr(module, "embedding_size")]
    for backbone in backbones:
        _check(backbone)
    calls: list[tuple[nn.Module, list[EventShare], AbstractContextManager[None]]] = []

    # Functions and not methods: a copy of a backbone that a loss makes must not copy the training.
    def take_share(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        batch = inputs[0] if inputs else None
        if not isinstance(batch, SparseBatch) or batch.size < processes.count or current_share() is not None:
            return None
        shares = equal_shares(batch.size, processes.count)
        own = shares[processes.number]
        calls.append((module, shares, at_share(own)))
        calls[-1][-1].__enter__()
        return (events_of(batch, own), *inputs[1:])

    def gather(module: nn.Module, inputs: tuple[Any, ...], rows: Any) -> torch.Tensor | None:
        if not calls or calls[-1][0] is not module:
            return None
        _, shares, context = calls.pop()
        context.__exit__(None, None, None)
        return gathered(rows, shares, processes.number)

    hooks = [backbone.register_forward_pre_hook(take_share) for backbone in backbones]
    hooks += [backbone.register_forward_hook(gather) for backbone in backbones]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        # Of a call that raised.
        while calls:
            calls.pop()[-1].__exit__(None, None, None)


def events_of(batch: SparseBatch, share: EventShare) -> SparseBatch:
    """The events of a share, counted from 0."""
    first, stop = batch.offsets[[share.first, share.stop]].tolist()
    rows = slice(first, stop)
    return SparseBatch(
        batch.coords[rows], batch.event[rows] - share.first, batch.features[rows], share.stop - share.first
    )


def gathered(rows: Any, shares: Sequence[EventShare], number: int) -> torch.Tensor:
    """Put the rows of all processes behind one another, with their gradients.

    Args:
        rows: (b, D), one for each event of this process.
        shares: of all processes.
        number: of this process.

    Returns:
        (B, D).

    Raises:
        PluginError: when there is not one row an event.
    """
    sizes = [share.stop - share.first for share in shares]
    if not isinstance(rows, torch.Tensor) or rows.ndim != 2 or len(rows) != sizes[number]:
        shape = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
        raise PluginError(f"the backbone made {shape} of {sizes[number]} events; expected one row of numbers an event")
    # Sums of gradients keep more digits than bfloat16 has.
    exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
    of_all: torch.Tensor = _Gather.apply(exact, shares, number)  # type: ignore[no-untyped-call]
    return of_all.to(rows.dtype)


class _Gather(torch.autograd.Function):
    """Rows of all processes, as Fabric's ``all_gather(sync_grads=True)``, which wants equally many of each."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, shares: Sequence[EventShare], number: int) -> torch.Tensor:
        ctx.share = shares[number]
        sizes = [share.stop - share.first for share in shares]
        padded = nn.functional.pad(rows, (0, 0, 0, max(sizes) - len(rows)))
        of_all = [torch.empty_like(padded) for _ in sizes]
        with all_reached():
            dist.all_gather(of_all, padded)
        return torch.cat([part[:size] for part, size in zip(of_all, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        with all_reached():
            dist.all_reduce(total)
        return total[ctx.share.first : ctx.share.stop], None, None


def _check(backbone: nn.Module) -> None:
    for name, layer in backbone.named_modules():
        if isinstance(layer, _BatchNorm):
            raise PluginError(
                f"{name} of the backbone is a {type(layer).__name__}, which needs all events of a batch in one "
                "process; such a backbone trains on one device"
            )
