"""How many devices share a training, and whether torchrun has something to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nubench.errors import UsageError


def known_devices(devices: int, device: str, *, sealed: bool = True) -> int:
    """Return the number of devices that are to share each training.

    Args:
        devices: how many.
        device: ``"cpu"``, where each is a process, or ``"cuda"``.
        sealed: whether trainings have processes of their own.

    Raises:
        UsageError: when there are fewer, or the training is to run in the process of the evaluation.
    """
    if devices < 1:
        raise UsageError(f"devices={devices} is not accepted: a whole number from 1 on")
    if devices > 1 and not sealed:
        raise UsageError("--no-sealed trains in the process of the evaluation, which is one; use --devices 1")
    if devices > 1 and device == "cuda":
        import torch

        if devices > torch.cuda.device_count():
            raise UsageError(
                f"--devices {devices} is more than the {torch.cuda.device_count()} GPUs that are visible here"
            )
    return devices


@dataclass(frozen=True)
class Torchrun:
    """What ``torchrun`` tells a process that it has started.

    Attributes:
        rank: number of this process, from 0.
        processes: how many it has started.
    """

    rank: int
    processes: int

    @staticmethod
    def found(environment: Mapping[str, str]) -> Torchrun | None:
        """Read the environment variables of a process; None where ``torchrun`` did not start it.

        Raises:
            UsageError: when it has started processes on other machines as well.
        """
        if "TORCHELASTIC_RUN_ID" not in environment:
            return None
        rank, processes, here = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        if here != processes:
            raise UsageError(
                f"torchrun started {processes} processes, {here} of them here; the devices that share a training are "
                "those of one machine: use --nnodes 1"
            )
        return Torchrun(rank, processes)
