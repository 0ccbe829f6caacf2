"""Segment files as a data set: deposits are kept, and the detector's response makes events of them when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Int64, Primaries
from nubench.datasets.cards import SPLITS, Card, ParticleClass
from nubench.datasets.dataset import FIRST_EVENT_ID, Dataset
from nubench.errors import DataError, UsageError
from nubench.events.store import TruthChunk
from nubench.importing.particles import class_name, class_of
from nubench.importing.plans import (
    ImportPlan,
    ImportSettings,
    count_events,
    digest_of_files,
    imported_card,
    made_by,
)
from nubench.importing.segments import read_segments
from nubench.importing.spill import TruthSpill
from nubench.importing.splits import assign_splits, number_events
from nubench.progress import Progress
from nubench.shifts import Shift
from nubench.storage.files import sha256_of

ENDINGS: Final = (".h5", ".hdf5", ".hdf")


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str | None


@dataclass(frozen=True)
class _Scan:
    """What one pass over the files found: the primaries of all events, in the order of the files, and counts."""

    primaries: Primaries
    words: list[str]
    without_energy: int
    guessed: int


def find_segment_files(path: Path) -> list[Path]:
    """The segment files of a path: itself, those in a folder, or those in its folders, one for each class.

    Raises:
        DataError: when there are none, or some lie in the folder itself and some below.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist")
    found = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and not file.name.startswith("."))
    if not found:
        raise DataError(f"{path} holds no file that ends in {', '.join(ENDINGS)}")
    depths = {len(file.relative_to(path).parts) for file in found}
    if depths not in ({1}, {2}):
        raise DataError(f"{path} must hold segment files, or one folder of them for each class, not a mixture")
    return found


def plan_segments(settings: ImportSettings, template: Card, progress: Progress) -> ImportPlan:
    """Read segment files once, check them, and share their events out between the splits.

    The class of an event is the folder its file lies in, or else named after its primary particle.

    Raises:
        DataError: when a file cannot be read, a row cannot be, or a class has too few events.
        UsageError: when a setting names a class that is not there.
    """
    found = find_segment_files(settings.path)
    in_folders = settings.path.is_dir() and found[0].parent != settings.path
    files = [_File(file, class_name(file.parent.name, str(file.parent)) if in_folders else None) for file in found]
    scan = _scan(files, settings.axes, progress)
    present = sorted(set(scan.words))
    for name in settings.classes or ():
        if name not in present:
            raise UsageError(f"--class {name!r} is none of the classes found: {', '.join(present)}")
    classes = sorted(settings.classes) if settings.classes else present
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(word, -1) for word in scan.words], np.int64)
    chosen = np.flatnonzero(labels >= 0)
    primaries = scan.primaries.select(chosen)
    kinematics = np.column_stack([primaries.pdg, primaries.kinetic_energy, primaries.vertex, primaries.direction])
    assigned = assign_splits(labels[chosen], kinematics.astype(np.float64), classes, settings.fractions, settings.seed)
    event_id = np.full(len(labels), -1, np.int64)
    event_id[chosen] = number_events(assigned.split, settings.seed)
    counts = count_events(labels[chosen], assigned.split, classes)
    notes = _notes(scan, assigned.sharing, len(labels) - len(chosen), settings)
    card = imported_card(
        template,
        settings,
        title=f"deposits of {settings.path.name}, response of the detector {template.detector}",
        classes=[
            ParticleClass(name=name, pdg=tuple(sorted({int(code) for code in primaries.pdg[labels[chosen] == label]})))
            for label, name in enumerate(classes)
        ],
        counts=counts,
        sha256=digest_of_files(settings.path, {file: sha256_of(file) for file in found}, settings),
        notes=notes,
        nominal=template.nominal,
        shifts=[shift for shift in map(_without_physics_lists, template.shifts) if shift is not None],
    )

    def fill(dataset: Dataset, scratch: Path, progress: Progress) -> None:
        spill = TruthSpill(scratch)
        for chunk in _numbered(files, settings.axes, labels, event_id, progress):
            spill.put(chunk)
        for index, split in enumerate(SPLITS):
            first = FIRST_EVENT_ID[split]
            count = int(np.count_nonzero(assigned.split == index))
            dataset.add_truth(split, spill.take(first, first + count), made_by(card))

    return ImportPlan(card, counts, notes, fill)


def _scan(files: Sequence[_File], axes: str, progress: Progress) -> _Scan:
    primaries: list[Primaries] = []
    words: list[str] = []
    without_energy = guessed = 0
    with progress.task("checking", len(files), "files") as task:
        for file in files:
            for events in read_segments(file.path, axes):
                primaries.append(events.primaries)
                words += [file.class_name or class_of(int(code)) for code in events.primaries.pdg]
                without_energy += events.without_energy
                guessed += len(events) if events.guessed else 0
            task.advance(1)
    return _Scan(Primaries.concatenate(primaries), words, without_energy, guessed)


def _numbered(
    files: Sequence[_File], axes: str, labels: Int64, event_id: Int64, progress: Progress
) -> Iterator[TruthChunk]:
    """Read the files again and give the events their final ids; those without one are left out."""
    position = 0
    with progress.task("importing", len(labels), "events") as task:
        for file in files:
            for events in read_segments(file.path, axes):
                here = slice(position, position + len(events))
                position += len(events)
                index = np.flatnonzero(event_id[here] >= 0)
                primaries = replace(events.primaries.select(index), event_id=event_id[here][index])
                yield TruthChunk(primaries, labels[here][index], events.deposits.select(index))
                task.advance(len(events))


def _without_physics_lists(shift: Shift) -> Shift | None:
    """Leave out the points that ask Geant4 for other deposits; None when no other point is left."""
    points = tuple(point for point in shift.points if point.physics_list is None)
    sources = tuple(name for name in shift.sources if name in {point.name for point in points})
    return shift.model_copy(update={"points": points, "sources": sources}) if points else None


def _notes(scan: _Scan, sharing: int, left_out: int, settings: ImportSettings) -> tuple[str, ...]:
    shares = ", ".join(f"{split} {share:g}" for split, share in settings.fractions.items())
    notes = [f"events were shared out as {shares} with seed {settings.seed}"]
    if scan.guessed:
        notes.append(
            f"{scan.guessed} events have no trajectories: their primary is the particle of the lowest track id, its "
            "vertex the start of its first segment, and its kinetic energy stands for the energy that all segments of "
            "the event leave"
        )
    if sharing:
        notes.append(f"{sharing} events share their true kinematics with another event and went to the same split")
    if scan.without_energy:
        notes.append(f"{scan.without_energy} segments without energy were left out")
    if left_out:
        notes.append(f"{left_out} events of other classes were left out")
    return tuple(notes)
