"""What a study needs of a machine: hours, memory and disk, from a short measurement of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nubench.plugins.registry import PluginRegistry
from nubench.progress import Progress, SilentProgress
from nubench.runs.estimates import DataToBuild, data_to_build, work_of
from nubench.runs.footprint import Footprint, disk_of, footprint, largest, volume_of
from nubench.runs.runner import Runner
from nubench.studies.calibration import DataRates, NetworkRates, measure_data, measure_network, seconds_to_start
from nubench.studies.collected import CellResult

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class GroupEstimate:
    """The cells of one method on one shift.

    Attributes:
        method, shift: their names.
        cells: their number.
        trainings: in all of them.
        seconds: of all of them together, on one device; None for a method that does not count its views.
    """

    method: str
    shift: str
    cells: int
    trainings: int
    seconds: float | None


@dataclass(frozen=True)
class StudyEstimate:
    """What is left of a study.

    Attributes:
        groups: by method and shift.
        device: that was measured.
        data_seconds: to build what data are missing, on this machine.
        disk_bytes: at the most, for data, what the cells leave, and what the largest has meanwhile.
        free_bytes: on the disk of the cache.
        memory_bytes: of the largest cell, both of its processes together.
        total_memory_bytes: of this machine.
        device_bytes: of the accelerator, for the largest step; None on a CPU.
    """

    groups: tuple[GroupEstimate, ...]
    device: str
    data_seconds: float
    disk_bytes: float
    free_bytes: int
    memory_bytes: float
    total_memory_bytes: int
    device_bytes: float | None

    @property
    def hours(self) -> float:
        """Of the device, for all groups that are known."""
        return sum(group.seconds or 0.0 for group in self.groups) / 3600

    def table(self) -> Table:
        """One row for each group."""
        from rich.table import Table

        table = Table("method", "shift", "cells", "trainings", f"hours on {self.device}", box=None, pad_edge=False)
        for group in self.groups:
            hours = "unknown" if group.seconds is None else f"{group.seconds / 3600:,.2f}"
            table.add_row(group.method, group.shift, str(group.cells), f"{group.trainings:,}", hours)
        return table

    def summary(self) -> str:
        """The sums, a line each."""
        unknown = sum(group.cells for group in self.groups if group.seconds is None)
        lines = [
            f"{self.hours:,.1f} hours of one {self.device}"
            + (f"; {unknown} cells without an estimate: their methods do not count views" if unknown else ""),
            f"data to build first: {self.data_seconds / 3600:,.2f} hours on this machine's processors",
            f"disk: {self.disk_bytes / 1e9:,.1f} GB; {self.free_bytes / 1e9:,.1f} GB are free"
            + (" - not enough" if self.disk_bytes > self.free_bytes else ""),
            f"memory: {self.memory_bytes / 1e9:,.1f} GB a cell; this machine has {self.total_memory_bytes / 1e9:,.1f}"
            + (" - not enough" if self.memory_bytes > self.total_memory_bytes else ""),
        ]
        if self.device_bytes is not None:
            lines.append(f"memory of the accelerator: {self.device_bytes / 1e9:,.1f} GB")
        return "\n".join([*lines, "Fits of the probe are not counted; nor is what else runs on the machine."])


def estimate_study(
    cells: Sequence[CellResult],
    registry: PluginRegistry,
    cache: Path,
    progress: Progress,
    *,
    seconds: float = 10.0,
    processes: int | None = None,
) -> StudyEstimate:
    """Measure this machine with the data and networks of some cells, and add up what they take.

    Args:
        cells: what is left to be run.
        registry: the plugins.
        cache: folder whose data count as built.
        progress: says what is measured.
        seconds: how long each network is measured, for steps and for reading.
        processes: of Geant4.

    Raises:
        UsageError: when a name does not exist.
        NubenchError: when the simulation fails.
    """
    runners = _runners(cells, registry, cache, processes)
    data: dict[str, DataRates] = {}
    networks: dict[tuple[str, str], NetworkRates] = {}
    start_seconds = seconds_to_start()
    for runner in runners.values():
        card = runner.card
        if card.name not in data:
            progress.say(f"measuring {card.name}: events, then steps of {runner.profile.backbone}")
            data[card.name], events = measure_data(card, runner.profile.name, registry, cache, processes)
        if runner.registered.thing.uses_backbone and (card.name, runner.backbone.name) not in networks:
            networks[card.name, runner.backbone.name] = measure_network(
                *(runner.backbone.thing, events, card, runner.device, runner.engine, runner.profile.batch_size),
                seconds,
            )
    groups: dict[tuple[str, str], list[float | None]] = {}
    trainings: dict[tuple[str, str], int] = {}
    footprints: dict[str, Footprint] = {key: footprint(volume_of(runner)) for key, runner in runners.items()}
    for cell in cells:
        runner = runners[_key(cell)]
        work, key = work_of(runner), (cell.request.method, cell.request.shift)
        rates = networks.get((runner.card.name, runner.backbone.name)) if work.backbone else None
        groups.setdefault(key, []).append(_seconds_of(runner, rates, start_seconds))
        trainings[key] = trainings.get(key, 0) + work.trainings
    to_build = {name: data_to_build(r for r in runners.values() if r.card.name == name) for name in data}
    return StudyEstimate(
        groups=tuple(
            GroupEstimate(*key, len(found), trainings[key], None if None in found else sum(filter(None, found)))
            for key, found in groups.items()
        ),
        device=_device_name(runners.values()),
        data_seconds=sum(_data_seconds(to_build[name], rates) for name, rates in data.items()),
        disk_bytes=disk_of(footprints[_key(cell)] for cell in cells)
        + sum(_data_bytes(to_build[name], rates) for name, rates in data.items()),
        free_bytes=shutil.disk_usage(cache).free,
        memory_bytes=largest(footprints.values()),
        total_memory_bytes=psutil.virtual_memory().total,
        device_bytes=_device_bytes(runners.values(), networks),
    )


def _key(cell: CellResult) -> str:
    return repr(cell.request)


def _runners(
    cells: Iterable[CellResult], registry: PluginRegistry, cache: Path, processes: int | None
) -> dict[str, Runner]:
    requests = {_key(cell): cell.request for cell in cells}
    return {key: Runner(request, registry, cache, SilentProgress(), processes) for key, request in requests.items()}


def _seconds_of(runner: Runner, rates: NetworkRates | None, start_seconds: float) -> float | None:
    work = work_of(runner)
    if rates is None or work.views is None:
        return None
    training = work.views * rates.view_seconds + start_seconds
    return work.trainings * training + work.events_read * rates.read_seconds


def _data_seconds(data: DataToBuild, rates: DataRates) -> float:
    return data.deposits * rates.deposit_seconds + data.events * rates.response_seconds


def _data_bytes(data: DataToBuild, rates: DataRates) -> float:
    return data.deposits * rates.deposit_bytes + data.events * rates.event_bytes


def _device_bytes(runners: Iterable[Runner], networks: dict[tuple[str, str], NetworkRates]) -> float | None:
    needed = []
    for runner in runners:
        rates = networks.get((runner.card.name, runner.backbone.name))
        if rates is not None and rates.device_bytes is not None:
            batch = runner.config.model_dump().get("batch_size", rates.batch)
            needed.append(rates.device_bytes * max(batch / rates.batch, 1.0))
    return max(needed, default=None)


def _device_name(runners: Iterable[Runner]) -> str:
    import torch

    devices = {runner.device for runner in runners}
    if "cuda" in devices:
        return torch.cuda.get_device_name()
    return f"CPU with {torch.get_num_threads()} threads"
