"""Files of a training: the checkpoint that a killed one goes on from, its finished weights, its snapshots."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load, save
from torch import nn

from nubench.errors import DataError, NubenchError
from nubench.storage.checked_json import read_checked, write_checked
from nubench.storage.files import write_atomically

_TRAININGS: Final = "trainings"
_SNAPSHOTS: Final = "snapshots"
_CHECKPOINT_FILE, _WEIGHTS_FILE, _RECORD_FILE = "checkpoint.pt", "weights.safetensors", "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """What a training reports: steps, events and views shown, seconds in the loop, and (views, loss) pairs."""

    steps: int
    events: int
    views: int
    seconds: float
    history: list[tuple[int, float]] = field(default_factory=list)


_RECORD: Final = TypeAdapter(TrainingRecord)
#: Twenty pairs of numbers; more than that is none of ours.
_MOST_RECORD_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class FinishedTraining:
    """What a finished training left: its record, and the weights by their names."""

    record: TrainingRecord
    weights: dict[str, torch.Tensor]


@dataclass
class TrainingState:
    """Where a training stands, beside the weights and the optimiser.

    Attributes:
        step: the next one, from 0.
        seconds: spent so far.
        history: (views, mean loss) pairs so far.
        running: losses since the last of them.
        best: the highest score so far and the weights that reached it, where the training is scored along the way.
        worse: how many times in a row it scored no better.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)
    running: list[torch.Tensor] = field(default_factory=list)
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    worse: int = 0

    def score(self, score: float, network: nn.Module) -> None:
        """Keep the weights of a network if they score better than all before; at equal scores the earlier ones stay."""
        if self.best is not None and score <= self.best[0]:
            self.worse += 1
        else:
            self.best = score, {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            self.worse = 0

    def save(self, directory: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write a checkpoint.

        Raises:
            NubenchError: when the disk is full or cannot be written.
        """
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), **own}
        # Through memory: torch's own writer reports a full disk in words of its own.
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(directory / _CHECKPOINT_FILE, _signature(directory, content.getvalue()) + content.getvalue())

    @staticmethod
    def resume(directory: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> TrainingState:
        """Load the checkpoint of a folder into network and optimiser; without one, start from the beginning.

        Raises:
            DataError: when the checkpoint is damaged, or that of another training; nothing was loaded, and the file is
                removed.
        """
        path = directory / _CHECKPOINT_FILE
        if not path.exists():
            return TrainingState()
        signature, content = (whole := path.read_bytes())[:_SIGNATURE_SIZE], whole[_SIGNATURE_SIZE:]
        if signature != _signature(directory, content):
            path.unlink()
            raise DataError(f"{path} is damaged (its checksum differs) and was removed")
        # weights_only: nothing but tensors and plain containers is ever unpickled.
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        network.load_state_dict(state.pop("network"))
        optimiser.load_state_dict(state.pop("optimiser"))
        state["history"] = [tuple(pair) for pair in state["history"]]
        return TrainingState(**state)


def write_finished(directory: Path, network: nn.Module, record: TrainingRecord) -> None:
    """Write the weights, then the record, whose presence says that both are there; remove the checkpoint.

    Raises:
        NubenchError: when a weight is not finite, or the disk is full or cannot be written.
    """
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise NubenchError(f"step {record.steps} left weights that are not finite; a smaller learning_rate may help")
    content = save(weights)
    write_atomically(directory / _WEIGHTS_FILE, content)
    signed = {"training": _name(directory), "weights": hashlib.sha256(content).hexdigest()}
    write_checked(directory / _RECORD_FILE, {**asdict(record), **signed})
    (directory / _CHECKPOINT_FILE).unlink(missing_ok=True)


def read_finished(directory: Path) -> FinishedTraining | None:
    """Read what a finished training left in a folder; None when it is not finished.

    Raises:
        DataError: when a file is damaged, missing, or of another training.
    """
    file = directory / _RECORD_FILE
    if not file.exists():
        return None
    content = read_checked(file, _MOST_RECORD_BYTES)
    training, digest = content.pop("training", None), content.pop("weights", None)
    if training != _name(directory):
        raise DataError(f"{file} is of the training {training!r}")
    weights_file = directory / _WEIGHTS_FILE
    try:
        weights = weights_file.read_bytes()
        record = _RECORD.validate_python(content)
    except (FileNotFoundError, ValidationError) as error:
        raise DataError(f"{directory} holds no finished training: {error}") from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise DataError(f"{weights_file} is damaged (its checksum differs)")
    return FinishedTraining(record, load(weights))


def _name(directory: Path) -> str:
    """What names a training, wherever the cache is: its files must not stand in for those of another one."""
    parts = directory.resolve().parts
    below = len(parts) - parts[::-1].index(_TRAININGS) if _TRAININGS in parts else len(parts) - 1
    return "/".join(parts[below:])


_SIGNATURE_SIZE: Final = hashlib.sha256().digest_size


def _signature(directory: Path, content: bytes) -> bytes:
    return hashlib.sha256(_name(directory).encode() + b"\0" + content).digest()


def snapshot_folder(directory: Path, views: int) -> Path:
    """The folder of the snapshot of a training after a number of views."""
    return directory / _SNAPSHOTS / f"{views:012d}"


def snapshot_folders(directory: Path) -> list[Path]:
    """The snapshots of a training, in the order of the training.

    Each is a folder like that of a finished training: given as ``context.snapshot``, :func:`nubench.training.train`
    loads it. Its name is the number of views shown so far.
    """
    return sorted(path.parent for path in (directory / _SNAPSHOTS).glob(f"*/{_RECORD_FILE}"))
