"""Folders of larnd-sim events as a data set: the splits and points are those of the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Events, LabelledEvents, Primaries
from nubench.datasets.cards import SPLITS, Card, ParticleClass, Split
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError
from nubench.importing.larndsim_files import VOXEL_CM, VoxelEvent, VoxelFile, find_voxel_files, read_voxel_event
from nubench.importing.particles import code_of
from nubench.importing.plans import (
    EVENTS_A_CHUNK,
    Counts,
    ImportPlan,
    ImportSettings,
    digest_of_files,
    imported_card,
    made_by,
)
from nubench.importing.splits import number_events, set_aside
from nubench.progress import Progress
from nubench.shifts import NOMINAL, Shift, ShiftPoint
from nubench.storage.files import sha256_of

SHIFT: Final = "throws"
# Pixels of 0.38 cm; in mm the same hits would lie 3.8 apart.
_LARGEST_STEP_CM: Final = 1.0

_Point = tuple[Split, str]


def plan_larndsim(settings: ImportSettings, template: Card, progress: Progress) -> ImportPlan:
    """Read every file once, check it, and find out which points and splits there are.

    Raises:
        DataError: when a file cannot be read or holds what cannot be, or a split that a run needs is not there.
    """
    found = find_voxel_files(settings.path)
    digests, repeated = _check(found, progress)
    files, set_aside_count = _with_adaptation(found, settings)
    classes = sorted({file.class_name for file in files})
    points = sorted({file.point for file in files} - {NOMINAL}, key=lambda point: int(point.removeprefix("throw")))
    wanted = _by_split_and_point(files, points)
    _require(wanted, classes, points, settings)
    event_id = _event_ids(files, settings.seed)
    counts = {split: _counts(wanted[split, NOMINAL], classes) for split in SPLITS}
    used = sum(len(members) for members in wanted.values())
    notes = _notes(repeated, set_aside_count, len(found) - used, counts)
    card = imported_card(
        template,
        settings,
        title=f"events of {settings.path.name}, made by larnd-sim",
        classes=[ParticleClass(name=name, pdg=_codes(files, name)) for name in classes],
        counts=counts,
        sha256=digest_of_files(settings.path, digests, settings),
        notes=notes,
        nominal={},
        shifts=[_shift(points)],
    )

    def fill(dataset: Dataset, _: Path, progress: Progress) -> None:
        shift = card.shift(SHIFT)
        with progress.task("importing", used, "events") as task:
            for point in shift.all_points(card.nominal):
                for split in SPLITS:
                    members = wanted.get((split, point.name), [])
                    if members:
                        members = sorted(members, key=lambda file: event_id[file.truth_key])
                        chunks = _chunks(members, event_id, classes)
                        dataset.add_events(split, SHIFT, point, chunks, len(members), made_by(card))
                        task.advance(len(members))

    return ImportPlan(card, counts, notes, fill)


def _check(files: Sequence[VoxelFile], progress: Progress) -> tuple[dict[Path, str], int]:
    """Read every file; their checksums and the number of hits that share a voxel with an earlier one."""
    digests: dict[Path, str] = {}
    steps: list[float] = []
    repeated = 0
    with progress.task("checking", len(files), "files") as task:
        for file in files:
            event = read_voxel_event(file.path)
            digests[file.path] = sha256_of(file.path)
            repeated += event.repeated
            steps += [] if event.step_cm is None else [event.step_cm]
            task.advance(1)
    if steps and float(np.median(steps)) > _LARGEST_STEP_CM:
        raise DataError(
            f"the hits in {files[0].path} and the others lie {np.median(steps):.3g} cm apart across the drift, the "
            f"pixels of the detector {VOXEL_CM} cm: 'coordinates' are probably in mm; they must be in cm"
        )
    return digests, repeated


def _with_adaptation(files: list[VoxelFile], settings: ImportSettings) -> tuple[list[VoxelFile], int]:
    """Set some test events aside for adaptation where the files bring none."""
    if settings.adapt_fraction == 0 or any(file.split == "adapt" for file in files):
        return files, 0
    keys = sorted({file.truth_key for file in files if file.split == "test"})
    if len(keys) < 2:
        return files, 0
    chosen = {keys[index] for index in set_aside(keys, settings.adapt_fraction, settings.seed)}
    moved = [
        VoxelFile("adapt", *_identity(file)) if file.split == "test" and file.truth_key in chosen else file
        for file in files
    ]
    return moved, len(chosen)


def _identity(file: VoxelFile) -> tuple[str, str, int, int, str, Path]:
    return file.class_name, file.particle, file.run, file.event, file.point, file.path


def _by_split_and_point(files: Sequence[VoxelFile], points: Sequence[str]) -> dict[_Point, list[VoxelFile]]:
    """The files that a data set has a place for: training and validation events are nominal."""
    wanted: dict[_Point, list[VoxelFile]] = {(split, NOMINAL): [] for split in SPLITS}
    wanted |= {(split, point): [] for split in ("adapt", "test") for point in points}
    for file in files:
        if (file.split, file.point) in wanted:
            wanted[file.split, file.point].append(file)
    return wanted


def _require(
    wanted: Mapping[_Point, Sequence[VoxelFile]],
    classes: Sequence[str],
    points: Sequence[str],
    settings: ImportSettings,
) -> None:
    """Check that a run finds what it needs.

    Raises:
        DataError: when a class has no events where it must have some, or there is no point but the nominal one.
    """
    if not points:
        raise DataError(f"{settings.path} holds nominal events alone; a data set needs those of a throw as well")
    needed: list[_Point] = [("train", NOMINAL), ("val", NOMINAL), ("test", NOMINAL), *(("test", p) for p in points)]
    for split, point in needed:
        present = {file.class_name for file in wanted[split, point]}
        for name in classes:
            if name not in present:
                raise DataError(f"{settings.path} holds no {split} events of class {name!r} at {point!r}")


def _event_ids(files: Sequence[VoxelFile], seed: int) -> dict[str, int]:
    """One id for each true event, whatever the point."""
    split_of = dict(sorted({file.truth_key: SPLITS.index(file.split) for file in files}.items()))
    ids = number_events(np.array(list(split_of.values()), np.int64), seed)
    return dict(zip(split_of, ids.tolist(), strict=True))


def _chunks(
    files: Sequence[VoxelFile], event_id: Mapping[str, int], classes: Sequence[str]
) -> Iterator[LabelledEvents]:
    for first in range(0, len(files), EVENTS_A_CHUNK):
        some = files[first : first + EVENTS_A_CHUNK]
        yield _labelled(some, [read_voxel_event(file.path) for file in some], event_id, classes)


def _labelled(
    files: Sequence[VoxelFile], events: Sequence[VoxelEvent], event_id: Mapping[str, int], classes: Sequence[str]
) -> LabelledEvents:
    count = len(files)
    truth = Primaries(
        event_id=np.array([event_id[file.truth_key] for file in files], np.int64),
        pdg=np.array([_code(file) or 0 for file in files], np.int64),
        kinetic_energy=np.zeros(count, np.float32),
        vertex=np.stack([event.vertex for event in events]).astype(np.float32),
        direction=np.tile(np.array([0, 0, 1], np.float32), (count, 1)),
    )
    voxels = Events(
        np.concatenate([[0], np.cumsum([len(event.adc) for event in events])]).astype(np.int64),
        np.concatenate([event.coords for event in events]),
        np.concatenate([event.adc for event in events]).astype(np.float32)[:, None],
    )
    labels = np.array([classes.index(file.class_name) for file in files], np.int64)
    return LabelledEvents(voxels, labels, truth)


def _code(file: VoxelFile) -> int | None:
    return code_of(file.particle) or code_of(file.class_name)


def _codes(files: Sequence[VoxelFile], name: str) -> tuple[int, ...]:
    codes = {_code(file) for file in files if file.class_name == name}
    return tuple(sorted(code for code in codes if code is not None))


def _counts(files: Sequence[VoxelFile], classes: Sequence[str]) -> dict[str, int]:
    found = Counter(file.class_name for file in files)
    return {name: found[name] for name in classes}


def _shift(points: Sequence[str]) -> Shift:
    return Shift(
        name=SHIFT,
        title="throws of the electronics parameters; the files do not state their values",
        strength_unit="number of the throw, which says nothing of its size",
        points=tuple(ShiftPoint(name=point, strength=float(point.removeprefix("throw"))) for point in points),
    )


def _notes(repeated: int, set_aside_count: int, unused: int, counts: Counts) -> tuple[str, ...]:
    notes = [
        "the files state neither the parameters of the throws nor the true energy and direction: energies are 0 and "
        "directions (0, 0, 1)",
    ]
    if repeated:
        notes.append(f"{repeated} hits share a voxel with an earlier one and were left out")
    if set_aside_count:
        notes.append(
            f"there is no adapt folder: {set_aside_count} test events are set aside for adaptation, at every point"
        )
    elif not sum(counts["adapt"].values()):
        notes.append("there are no adapt events: methods that look at the unlabelled target cannot run")
    if unused:
        notes.append(f"{unused} files of training and validation events at other points are not used")
    return tuple(notes)
