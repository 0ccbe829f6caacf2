"""The public scintillator events as a data set: split anew by kinematics, with the levels of crosstalk by masking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Events, Float32, Float64, Int64, LabelledEvents, Primaries
from nubench.datasets.cards import SPLITS, Card, ParticleClass, Split
from nubench.datasets.dataset import HIDDEN_SPLITS, Dataset
from nubench.datasets.files import labels_of
from nubench.errors import DataError
from nubench.events.store import stream_events
from nubench.importing.crosstalk import mask_crosstalk
from nubench.importing.particles import class_name, code_of, mass_of
from nubench.importing.plans import (
    EVENTS_A_CHUNK,
    ImportPlan,
    ImportSettings,
    count_events,
    digest_of_files,
    imported_card,
    made_by,
)
from nubench.importing.scintillator_files import (
    CUBE_MM,
    ORIGINS,
    BoxCheck,
    cube_indices,
    find_cube_files,
    momentum_in_mev,
    read_cube_event,
)
from nubench.importing.splits import Assignment, assign_splits, number_events
from nubench.progress import Progress
from nubench.shifts import NOMINAL, Shift
from nubench.storage.files import sha256_of

SHIFT: Final = "crosstalk"
PARAMETER: Final = "crosstalk"


@dataclass(frozen=True)
class _Scan:
    """What one pass over all files found."""

    digests: Mapping[Path, str]
    kinematics: Float64
    origin: str
    momentum_factor: float
    momentum_unit: str


@dataclass(frozen=True)
class _Layout:
    """How events of files become labelled events.

    Attributes:
        files, labels, event_id: of the E events.
        codes: particle of each class, 0 where the folder's name does not tell.
        origin, momentum_factor: see :class:`_Scan`.
    """

    files: Sequence[Path]
    labels: Int64
    event_id: Int64
    codes: Sequence[int]
    origin: str
    momentum_factor: float


def plan_scintillator(settings: ImportSettings, template: Card, progress: Progress) -> ImportPlan:
    """Read every file once, check it, and share the events out such that no kinematics stand in two splits.

    Raises:
        DataError: when a file cannot be read or holds what cannot be, or a class has too few kinematics.
        UsageError: when the origin is not known.
    """
    files = find_cube_files(settings.path)
    words = [class_name(file.parent.name, str(file.parent)) for file in files]
    classes = sorted(set(words))
    labels = np.array([classes.index(word) for word in words], np.int64)
    scan = _scan(files, settings, progress)
    assigned = assign_splits(labels, scan.kinematics, classes, settings.fractions, settings.seed)
    codes = [code_of(name) or 0 for name in classes]
    event_id = number_events(assigned.split, settings.seed)
    layout = _Layout(files, labels, event_id, codes, scan.origin, scan.momentum_factor)
    counts = count_events(labels, assigned.split, classes)
    notes = _notes(settings, scan, assigned, len(files))
    shift = _crosstalk(template)
    card = imported_card(
        template,
        settings,
        title=f"events of {settings.path.name}, a scintillator of 200 x 200 x 200 cubes",
        classes=[
            ParticleClass(name=name, pdg=(code,) if code else ()) for name, code in zip(classes, codes, strict=True)
        ],
        counts=counts,
        sha256=digest_of_files(settings.path, scan.digests, settings),
        notes=notes,
        nominal={PARAMETER: template.nominal[PARAMETER]},
        shifts=[shift],
    )

    def fill(dataset: Dataset, _: Path, progress: Progress) -> None:
        with progress.task("importing", len(files), "events") as task:
            for index, split in enumerate(SPLITS):
                members = np.flatnonzero(assigned.split == index)
                _fill_split(dataset, split, members[np.argsort(event_id[members])], layout, settings.seed)
                task.advance(len(members))

    return ImportPlan(card, counts, notes, fill)


def _scan(files: Sequence[Path], settings: ImportSettings, progress: Progress) -> _Scan:
    box, digests, kinematics = BoxCheck(), {}, []
    with progress.task("checking", len(files), "files") as task:
        for file in files:
            event = read_cube_event(file)
            box.add(file, event)
            digests[file] = sha256_of(file)
            kinematics.append(event.kinematics)
            task.advance(1)
    together = np.stack(kinematics)
    factor, unit = momentum_in_mev(together[:, -1].tolist())
    return _Scan(digests, together, box.origin(settings.origin), factor, unit)


def _fill_split(dataset: Dataset, split: Split, members: Int64, layout: _Layout, seed: int) -> None:
    """Write the full simulation, then the levels from it; the files of single events are read once."""
    card = dataset.card
    shift = card.shift(SHIFT)
    nominal, *points = shift.all_points(card.nominal)
    count = len(members)
    dataset.add_events(split, SHIFT, nominal, _chunks(layout, members), count, made_by(card))
    file = dataset.file_of(split, SHIFT, NOMINAL)
    whole = dataset.directory / file
    apart = dataset.directory / labels_of(file) if split in HIDDEN_SPLITS else None
    for point in points:
        if split in HIDDEN_SPLITS or point.name in shift.sources:
            share = float(point.parameters[PARAMETER])
            masked = (mask_crosstalk(chunk, share, seed) for chunk in stream_events(whole, EVENTS_A_CHUNK, apart))
            dataset.add_events(split, SHIFT, point, masked, count, made_by(card))


def _chunks(layout: _Layout, members: Int64) -> Iterator[LabelledEvents]:
    for first in range(0, len(members), EVENTS_A_CHUNK):
        yield _labelled(layout, members[first : first + EVENTS_A_CHUNK])


def _labelled(layout: _Layout, members: Int64) -> LabelledEvents:
    events = [read_cube_event(layout.files[index]) for index in members]
    coords, features, tags = [], [], []
    for index, event in zip(members, events, strict=True):
        cubes = cube_indices(layout.files[index], event.position, layout.origin)
        kept = np.sort(np.unique(cubes, axis=0, return_index=True)[1])
        coords.append(cubes[kept])
        features.append(event.photoelectrons[kept])
        tags.append(event.from_track[kept])
    centre = ORIGINS[layout.origin] - ORIGINS["centre"]
    pdg = np.array([layout.codes[label] for label in layout.labels[members]], np.int64)
    momentum = np.array([event.momentum for event in events]) * layout.momentum_factor
    truth = Primaries(
        event_id=layout.event_id[members],
        pdg=pdg,
        kinetic_energy=_kinetic_energy(momentum, pdg),
        vertex=((np.stack([event.vertex for event in events]) - centre) / CUBE_MM).astype(np.float32),
        direction=np.stack([event.direction for event in events]).astype(np.float32),
    )
    voxels = Events(
        np.concatenate([[0], np.cumsum([len(part) for part in coords])]).astype(np.int64),
        np.concatenate(coords),
        np.concatenate(features).astype(np.float32)[:, None],
    )
    return LabelledEvents(voxels, layout.labels[members], truth, np.concatenate(tags))


def _kinetic_energy(momentum: Float64, pdg: Int64) -> Float32:
    """sqrt(p^2 + m^2) - m; the momentum itself where the particle is not known."""
    mass = np.array([mass_of(int(code)) or 0.0 for code in pdg])
    energy: Float64 = np.hypot(momentum, mass) - mass
    return energy.astype(np.float32)


def _crosstalk(template: Card) -> Shift:
    shift = template.shift(SHIFT)
    for point in shift.points:
        if PARAMETER not in point.parameters:
            raise DataError(
                f"point {point.name!r} of shift {SHIFT!r} in data set {template.name!r} sets no {PARAMETER}"
            )
    return shift


def _notes(settings: ImportSettings, scan: _Scan, assigned: Assignment, events: int) -> tuple[str, ...]:
    shares = ", ".join(f"{split} {share:g}" for split, share in settings.fractions.items())
    return (
        f"{assigned.sharing} of {events} events share their true kinematics with another event; events were shared out "
        f"anew as {shares} with seed {settings.seed}, such that no kinematics stand in two splits",
        f"positions count from the {scan.origin} of the box; momenta are in {scan.momentum_unit}",
        "crosstalk is masked, not simulated: charge is not given back to the cubes that it came from",
    )
