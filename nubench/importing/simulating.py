"""Segment files straight to event files: a detector's response to the deposits of another program."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from nubench.containers import Deposits, LabelledEvents
from nubench.datasets.cards import read_card
from nubench.detectors import Detector
from nubench.errors import DataError
from nubench.events.store import EventAttributes, write_events
from nubench.importing.particles import class_of
from nubench.importing.segments import read_segments
from nubench.plugins.registry import PluginRegistry
from nubench.progress import Progress, Task
from nubench.shifts import NOMINAL
from nubench.storage.files import sha256_of

#: Shift and point of events whose parameters were set by hand.
CUSTOM: Final = "custom"
_EVENTS_A_CHUNK: Final = 256

Parameters = Mapping[str, float | str]


@dataclass(frozen=True)
class Simulated:
    """What came out.

    Attributes:
        events, hits: in the file.
        energy_mev: that all segments left.
        seconds: that reading, simulating and writing took.
        without_energy: segments that were left out.
        classes: names, in the order of the labels.
    """

    events: int
    hits: int
    energy_mev: float
    seconds: float
    without_energy: int
    classes: tuple[str, ...]


def nominal_parameters(registry: PluginRegistry, detector: str) -> Parameters:
    """The nominal parameters of a detector, from the first data-set card that is of it; none where there is no card.

    Raises:
        DataError: when a card is damaged.
    """
    for registered in registry.cards():
        card = read_card(registered.thing)
        if card.detector == detector:
            return card.nominal
    return {}


def check_parameters(detector: Detector, parameters: Parameters, seed: int) -> None:
    """Let the detector check its parameters before any file is read, on no events.

    Raises:
        UsageError: when one is unknown or outside its physical range.
    """
    none = np.zeros(0, np.float32)
    empty = Deposits(np.zeros(1, np.int64), none.reshape(0, 3), none.reshape(0, 3), none, none)
    detector.respond(empty, np.zeros(0, np.int64), parameters, seed)


def simulate_file(
    source: Path,
    out: Path,
    detector: Detector,
    nominal: Parameters,
    changed: Parameters,
    *,
    seed: int,
    axes: str,
    progress: Progress,
) -> Simulated:
    """Simulate a detector's response to the segments of a file.

    The file is read twice: once to check it whole and to find the classes, then to simulate, a few hundred events at a
    time. Every event is written, also one without a hit; ids are those of the file.

    Args:
        source: a segment file, see :func:`nubench.importing.segments.read_segments`.
        out: the file of events to write.
        detector: whose response.
        nominal: its nominal parameters.
        changed: those that differ.
        seed: of the noise.
        axes: order of the file's axes.
        progress: where to show how far it is.

    Raises:
        UsageError: when a parameter or an option cannot be accepted.
        DataError: when the file cannot be read, a row of it cannot be, or no event gives a hit; no file is left.
    """
    started = time.monotonic()
    parameters = {**nominal, **changed}
    check_parameters(detector, parameters, seed)
    classes: set[str] = set()
    count = without_energy = 0
    energy = 0.0
    lowest, highest = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    for events in read_segments(source, axes):
        classes |= {class_of(int(code)) for code in np.unique(events.primaries.pdg)}
        count += len(events)
        without_energy += events.without_energy
        energy += float(events.deposits.energy.sum(dtype=np.float64))
        lowest = np.minimum(lowest, events.primaries.vertex.min(axis=0))
        highest = np.maximum(highest, events.primaries.vertex.max(axis=0))
    names = tuple(sorted(classes))
    attributes = EventAttributes(
        detector=detector.name,
        classes=names,
        voxel_size_cm=detector.voxel_size_cm,
        shift=CUSTOM if changed else NOMINAL,
        point=CUSTOM if changed else NOMINAL,
        parameters=dict(parameters),
        provenance=_provenance(detector, source, axes, seed, count),
    )
    hits = 0

    def counted(chunks: Iterator[LabelledEvents]) -> Iterator[LabelledEvents]:
        nonlocal hits
        for chunk in chunks:
            hits += len(chunk.events.coords)
            yield chunk
        if not hits:
            raise DataError(
                f"{source}: no event gives a hit in the detector {detector.name!r}: the primaries start from "
                f"{lowest.round(1).tolist()} to {highest.round(1).tolist()} cm; is it the right detector, and are the "
                f"axes those that --axes {axes} says?"
            )

    with progress.task(f"{detector.name} response", count, "events") as task:
        chunks = _respond(source, axes, detector, parameters, seed, names, task)
        written, _ = write_events(out, counted(chunks), attributes)
    return Simulated(written, hits, energy, time.monotonic() - started, without_energy, names)


def _respond(
    source: Path,
    axes: str,
    detector: Detector,
    parameters: Parameters,
    seed: int,
    classes: Sequence[str],
    task: Task,
) -> Iterator[LabelledEvents]:
    for events in read_segments(source, axes):
        labels = np.array([classes.index(class_of(int(code))) for code in events.primaries.pdg], np.int64)
        for first in range(0, len(events), _EVENTS_A_CHUNK):
            index = np.arange(first, min(first + _EVENTS_A_CHUNK, len(events)))
            truth = events.primaries.select(index)
            response = detector.respond(events.deposits.select(index), truth.event_id, parameters, seed)
            yield LabelledEvents(response.events, labels[index], truth, response.from_track)
            task.advance(len(index))


def _provenance(detector: Detector, source: Path, axes: str, seed: int, events: int) -> dict[str, Any]:
    return {
        "detector_version": detector.version,
        "nubench": version("nubench"),
        "noise_seed": seed,
        "minimum_hits": 0,
        "generated_events": events,
        "truth": {
            "generator": "deposits of a segment file",
            "source": source.name,
            "source_sha256": sha256_of(source),
            "axes": axes,
        },
    }
