"""The processes that share a training: how they meet, and what they must agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import torch
import torch.distributed as dist
from torch import nn

from nubench.errors import NubenchError
from nubench.shares import Seat

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

#: The longest that one process waits for another, which may be reading a large sample, or writing a checkpoint.
PATIENCE: Final = timedelta(minutes=30)
_LONGEST_REASON: Final = 200
HOST: Final = "127.0.0.1"


def meeting_place() -> TCPStore:
    """Open the port at which processes meet; they can as long as somebody keeps what is returned."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in every build of torch

    # With port 0 the system chooses one that is free.
    return TCPStore(HOST, 0, is_master=True, wait_for_workers=False)


@contextmanager
def joined(seat: Seat | None, device: torch.device) -> Iterator[torch.device]:
    """Meet the other processes of a training, and part at its end; a training of one process has no seat.

    Args:
        seat: of this process, or None.
        device: where the training runs; with a seat, its own GPU is meant.

    Yields:
        the device of this process.
    """
    if seat is None:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", seat.number)
        torch.cuda.set_device(device)
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in every build of torch

    with all_reached():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=TCPStore(HOST, seat.port, is_master=False, timeout=PATIENCE),
            rank=seat.number,
            world_size=seat.processes,
            timeout=PATIENCE,
        )
    yield device
    # Not after an error: NCCL would wait for processes that are gone, and this one is about to end.
    dist.destroy_process_group()


@contextmanager
def all_reached() -> Iterator[None]:
    """What is said to all processes in this context must reach them.

    Raises:
        NubenchError: when one is gone; it, or whoever started it, says why.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0][:_LONGEST_REASON]
        raise NubenchError(f"the processes that share this training have lost each other: {reason}") from error


class Processes:
    """The processes of torch's process group, where there is one; otherwise this one alone.

    Attributes:
        number: of this process, from 0.
        count: how many there are.
    """

    def __init__(self) -> None:
        shared = dist.is_available() and dist.is_initialized()
        self.number = dist.get_rank() if shared else 0
        self.count = dist.get_world_size() if shared else 1
        # Numbers of the processor go through gloo: through NCCL they would wait for the GPU at every step.
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if self.count > 1 else None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.number == 0

    def any(self, answer: bool) -> bool:
        """Whether the answer of any process is yes; each asks, and each gets the same answer."""
        if self.count == 1:
            return answer
        asked = torch.tensor(int(answer))
        with all_reached():
            dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._group)
        return bool(asked)

    def of_first(self, number: float) -> float:
        """What the first process says."""
        if self.count == 1:
            return number
        told = torch.tensor(number, dtype=torch.float64)
        with all_reached():
            dist.broadcast(told, 0, group=self._group)
        return float(told)

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.any(False)

    def take_state(self, network: nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.count > 1:
            with all_reached():
                for tensor in network.state_dict().values():
                    dist.broadcast(tensor.detach(), 0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over the processes in the place of each gradient; nobody's gradient counts as zero."""
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        present = torch.tensor([float(parameter.grad is not None) for parameter in trained], device=trained[0].device)
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        # One message in the place of hundreds.
        flat = torch.cat([*(gradient.reshape(-1) for gradient in found), present])
        with all_reached():
            dist.all_reduce(flat)
        flat /= self.count
        pieces = torch.split(flat, [*(gradient.numel() for gradient in found), len(present)])
        for parameter, there, piece in zip(trained, pieces[-1].tolist(), pieces, strict=False):
            parameter.grad = piece.view_as(parameter).to(parameter.dtype) if there else None
