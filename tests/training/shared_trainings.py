"""Trainings that one process runs, or several together, and what each leaves behind; see test_several_devices.py.

A module of its own: the processes that share a training import it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import nn
from torch.multiprocessing.spawn import spawn

from nubench.backbone import build_backbone
from nubench.errors import UsageError
from nubench.interrupts import Interrupted, listening
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.progress import SilentProgress
from nubench.shares import Seat
from nubench.training import NetworkModel, Step, train
from nubench.training.processes import joined, meeting_place
from nubench_plugins.classifier import Classifier
from nubench_plugins.dann import Dann
from nubench_plugins.simclr import SimCLR
from nubench_plugins.supcon import SupCon

STEPS: Final = 3
_CPU: Final = torch.device("cpu")

Tensors = dict[str, torch.Tensor]


class Stranger(Method):
    """A method that nobody knows: statistics of the batch in its head, a copy of its network, and early stopping."""

    name = "stranger"
    title = "batch normalisation, and a teacher"
    ranked_by = "head"
    Config = TrainingConfig

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Agree with the labels, and with a slower copy of the network."""
        backbone, teacher = context.build_backbone(), context.build_backbone().requires_grad_(requires_grad=False)
        width = backbone.embedding_size
        head = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, len(data.classes)))

        def loss(step: Step) -> torch.Tensor:
            embeddings = backbone(step.batch)
            with torch.no_grad():
                aims = teacher(step.batch)
                for slow, fast in zip(teacher.parameters(), backbone.parameters(), strict=True):
                    slow.lerp_(fast, 0.1)
            return nn.functional.cross_entropy(head(embeddings), step.labels) + (embeddings - aims).square().mean()

        modules = {"backbone": backbone, "teacher": teacher, "head": head}
        record = train(modules, loss, data, self.config, context)
        return NetworkModel(backbone, data, context, record, head)


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        method: what is trained.
        batch_events: in a step, over all processes.
        settings: of the method.
        network: settings of the backbone.
        steps: how many.
    """

    method: type[Method]
    batch_events: int = 16
    settings: Mapping[str, Any] | None = None
    network: Mapping[str, Any] | None = None
    views: int = 1
    steps: int = STEPS

    def fit(self, data: TrainingView, directory: Path) -> None:
        """Train in a folder."""
        batch = self.batch_events * self.views
        settings = {"batch_size": batch, "views": self.steps * batch, "learning_rate": 1e-3, **(self.settings or {})}
        directory.mkdir(exist_ok=True, parents=True)
        build = partial(build_backbone, "tiny", **(self.network or {}))
        context = Context(3, _CPU, "smoke", "tiny", "native", directory, SilentProgress(), _build=build)
        self.method(self.method.Config.model_validate(settings)).fit(data, context)


CASES: Final = {
    "supcon": Case(SupCon, views=2),
    "supcon, odd batch": Case(SupCon, 7, views=2),
    "simclr": Case(SimCLR, views=2),
    "dann": Case(Dann, 8, {"normalised": True}, views=2),
    "classifier": Case(Classifier),
    "classifier, odd batch, stochastic depth": Case(Classifier, 15, network={"drop_path": 0.5}),
    "classifier, bf16": Case(Classifier, 15, {"precision": "bf16"}),
    "stranger": Case(Stranger, 15, {"early_stop": 3}),
}


def leave_traces(name: str, data: TrainingView, folder: Path) -> Tensors:
    """Run a case; returns the loss and the gradients of each step, and the weights at the end."""
    traces: Tensors = {}
    with _recording(traces):
        CASES[name].fit(data, folder / name)
    weights = load_file(folder / name / "weights.safetensors")
    return traces | {f"weights {key}": weight for key, weight in weights.items()}


@contextmanager
def _recording(traces: Tensors) -> Iterator[None]:
    backward, clip = Fabric.backward, nn.utils.clip_grad_norm_
    step = -1

    def record_loss(self: Fabric, loss: torch.Tensor) -> None:
        nonlocal step
        step += 1
        traces[f"loss {step}"] = loss.detach().clone()
        backward(self, loss)

    def record_gradients(parameters: Iterator[nn.Parameter], limit: float) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for number, parameter in enumerate(trained):
            if parameter.grad is not None:
                traces[f"gradient {step} of {number}"] = parameter.grad.clone()
        clip(trained, limit)

    Fabric.backward, nn.utils.clip_grad_norm_ = record_loss, record_gradients  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Fabric.backward, nn.utils.clip_grad_norm_ = backward, clip  # type: ignore[method-assign]


def together(processes: int, work: Callable[[int, TrainingView, Path], None], data: TrainingView, folder: Path) -> None:
    """Run a function in processes of one group, as ``work(number, data, folder)``."""
    store = meeting_place()
    spawn(_at_seat, (processes, store.port, work, data, folder), nprocs=processes)


def _at_seat(
    number: int,
    processes: int,
    port: int,
    work: Callable[[int, TrainingView, Path], None],
    data: TrainingView,
    folder: Path,
) -> None:
    torch.set_num_threads(1)
    with joined(Seat(number, processes, port), _CPU):
        work(number, data, folder)


def all_cases(number: int, data: TrainingView, folder: Path) -> None:
    """Run every case, and write what each left in each process; one that is interrupted, one that cannot be shared."""
    for name in CASES:
        save_file(leave_traces(name, data, folder), folder / f"{name} {number}.safetensors")
    with listening(), suppress(Interrupted):
        if number == 1:
            Fabric.backward = _interrupting(Fabric.backward)  # type: ignore[method-assign]
        CASES["classifier"].fit(data, folder / "interrupted")
        raise AssertionError("only one was asked to stop, but all do")
    try:
        Case(SupCon, 1, views=2).fit(data, folder / "too small")
    except UsageError as error:
        (folder / f"error {number}.txt").write_text(str(error))


def _interrupting(backward: Callable[..., None]) -> Callable[..., None]:
    def interrupt(*arguments: Any) -> None:
        backward(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    return interrupt
