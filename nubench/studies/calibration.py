"""How fast this machine is, measured for a minute: making events, steps of a network, reading events with it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn

from nubench.backbone import number_of_parameters
from nubench.containers import Events
from nubench.datasets.cards import Card, Sizes, Split
from nubench.datasets.dataset import Dataset
from nubench.plugins.registry import PluginRegistry
from nubench.progress import SilentProgress
from nubench.shifts import NOMINAL
from nubench.simulation.geant4 import find_data
from nubench.sparse.batch import SparseBatch
from nubench.training.acceleration import make_fabric

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign

#: Events of each class in the two samples that are made. The first also starts processes and compiles kernels; what an
#: event takes is the difference.
_FEW, _MORE = 20, 120
#: A step of a large network on a CPU takes seconds; its time is proportional to the events in it.
_LARGEST_BATCH_ON_CPU: Final = 32
_WARM_UP: Final = 2


@dataclass(frozen=True)
class DataRates:
    """What one event of a data set takes, mean over its classes.

    Attributes:
        deposit_seconds: of Geant4; 0 for an imported data set.
        response_seconds: of the detector's response, with reading and writing.
        deposit_bytes, event_bytes: on disk.
    """

    deposit_seconds: float
    response_seconds: float
    deposit_bytes: float
    event_bytes: float


@dataclass(frozen=True)
class NetworkRates:
    """What a backbone takes on a device.

    Attributes:
        view_seconds: of a training, for each view.
        read_seconds: of the trained network, for each event.
        parameters: their number.
        device_bytes: largest memory of the accelerator in a step of ``batch`` views; None on a CPU.
        batch: views in the steps that were measured.
    """

    view_seconds: float
    read_seconds: float
    parameters: int
    device_bytes: int | None
    batch: int


def measure_data(
    card: Card, profile: str, registry: PluginRegistry, cache: Path, processes: int | None
) -> tuple[DataRates, Events]:
    """Make a few events of a card in a folder of their own; returns what they took, and events at nominal.

    Raises:
        NubenchError: when the simulation fails.
        DataError: when the data set is imported and holds no training events.
    """
    detector = registry.detector(card.detector).thing
    if card.truth is None:
        dataset = Dataset(card, profile, detector, cache, find_data(cache), processes)
        point = card.shifts[0].all_points(card.nominal)[0]
        events = dataset.load("train", card.shifts[0].name, point).events
        file = dataset.directory / dataset.file_of("train", NOMINAL, NOMINAL)
        return DataRates(0.0, 0.0, 0.0, file.stat().st_size / len(events)), events
    small = card.model_copy(update={"sizes": {profile: Sizes(train=_MORE, val=_FEW, adapt=1, test=1)}})
    shift, progress = small.shifts[0], SilentProgress()
    point = shift.all_points(small.nominal)[0]
    with tempfile.TemporaryDirectory(prefix="nubench-calibration-") as folder:
        dataset = Dataset(small, profile, detector, Path(folder), find_data(cache), processes)
        seconds: dict[Split, tuple[float, float]] = {}
        sizes: dict[Split, tuple[int, int]] = {}
        for split in ("val", "train"):
            of_truth = dataset.build_truth(split, progress)
            of_response = dataset.build((split,), shift.name, (point,), progress)
            seconds[split] = of_truth, of_response
            files = dataset.directory / "truth" / f"{split}.h5", dataset.directory / dataset.file_of(split, "", NOMINAL)
            sizes[split] = files[0].stat().st_size, files[1].stat().st_size
        events = dataset.load("train", shift.name, point).events
    count = (_MORE - _FEW) * len(card.classes)

    def per_event(few: float, more: float) -> float:
        return max(more - few, 0.0) / count

    rates = DataRates(
        deposit_seconds=per_event(seconds["val"][0], seconds["train"][0]),
        response_seconds=per_event(seconds["val"][1], seconds["train"][1]),
        deposit_bytes=per_event(sizes["val"][0], sizes["train"][0]),
        event_bytes=per_event(sizes["val"][1], sizes["train"][1]),
    )
    return rates, events


def measure_network(
    design: BackboneDesign, events: Events, card: Card, device: str, engine: str, batch: int, seconds: float
) -> NetworkRates:
    """Time steps of a training, and passes of the trained network, over some events.

    Args:
        design: the backbone.
        events: to train on; repeated where a batch is larger.
        card: for the normalisation.
        device: ``"cpu"`` or ``"cuda"``.
        engine: of the sparse convolutions.
        batch: views a step; a CPU is measured with fewer where that is many.
        seconds: how long to measure at least, each of the two.
    """
    where = torch.device(device)
    if where.type == "cpu":
        batch = min(batch, _LARGEST_BATCH_ON_CPU)
    network: nn.Module = design.build(in_channels=1, engine=engine).to(where)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    fabric = make_fabric(where, "auto")
    order = np.random.default_rng(0).permutation(np.resize(np.arange(len(events)), max(batch, len(events))))

    def prepared(number: int) -> SparseBatch:
        index = np.take(order, range(number * batch, (number + 1) * batch), mode="wrap")
        normalisation = card.normalisation
        return SparseBatch.from_events(events, index, normalisation.offset, normalisation.scale).to(where)

    def step(number: int) -> None:
        with fabric.autocast():
            loss = network(prepared(number)).float().square().mean()
        optimiser.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimiser.step()

    def read(number: int) -> None:
        with torch.inference_mode():
            network(prepared(number))

    on_gpu = where.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    network.train()
    view_seconds = _seconds_of(step, seconds, on_gpu) / batch
    memory = torch.cuda.max_memory_allocated() if on_gpu else None
    network.eval()
    read_seconds = _seconds_of(read, seconds, on_gpu) / batch
    return NetworkRates(view_seconds, read_seconds, number_of_parameters(network), memory, batch)


def seconds_to_start() -> float:
    """How long a process takes before it can train: each sealed training is one."""
    start = time.monotonic()
    command = [sys.executable, "-c", "import nubench.training.loop, nubench.plugins.discovery as p; p.load_plugins()"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def _seconds_of(work: Callable[[int], None], seconds: float, on_gpu: bool) -> float:
    """The shortest of several calls, after those that compile: the one that other programs disturbed least."""
    for number in range(_WARM_UP):
        work(number)
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < seconds:
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        work(_WARM_UP + len(taken))
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)
