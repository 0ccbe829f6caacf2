"""Data sets in the cache: built on first use from their card, found again by checksum, never half-written.

A data set is a folder named after card, version, profile and a digest of its recipe. In it::

    manifest.json                      what is finished: checksum, size, events and key of every file
    truth/{train,val,adapt,test}.h5    Geant4 deposits; {split}-{physics list}.h5 where a point asks for another list
    {split}/nominal.h5                 events at the nominal point
    {split}/{shift}/{point}.h5         events at another point
    labels/...                         labels and truth of adapt and test, one file beside each of theirs

``adapt`` and ``test`` exist at every point, ``train`` and ``val`` at the source points alone. The files of ``adapt``
and ``test`` hold no label and no truth: these stand in files of their own, which the evaluation alone opens, through
:mod:`nubench.evaluation.labels`. An imported data set is
a folder ``imported/NAME`` of the same layout, whose card stands in it: its events, or its deposits, were put there by
``nubench data import`` and cannot be built.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from nubench.containers import Events, LabelledEvents
from nubench.datasets.building import EVENTS_A_CHUNK, generated_truth, responses
from nubench.datasets.cards import SPLITS, Card, Split
from nubench.datasets.files import CARD_FILE, IMPORTED_FOLDER, DatasetFiles, FileRecord, Manifest, labels_of, truth_of
from nubench.detectors import Detector
from nubench.errors import DataError, UsageError
from nubench.events.store import (
    EventAttributes,
    TruthChunk,
    check_voxels,
    holds_labels,
    read_attributes,
    read_events,
    read_truth,
    read_voxels,
    stream_events,
    truth_provenance,
    write_events,
    write_truth,
)
from nubench.progress import Progress
from nubench.shifts import NOMINAL, ShiftPoint
from nubench.simulation.geant4 import Geant4Data, provenance
from nubench.storage.checked_json import digest_of, write_checked
from nubench.storage.files import make_folder

#: Raised with every change of this file or of the truth generation that changes what is built.
RECIPE_VERSION: Final = 1
#: Event ids of a split start here, so that ids are unique in a data set.
FIRST_EVENT_ID: Final[dict[Split, int]] = {split: index * 1_000_000_000 for index, split in enumerate(SPLITS)}
#: Raised when deposits on disk change their layout: they are made anew, without another recipe.
_TRUTH_LAYOUT: Final = 2
#: The splits whose labels and truth stand in files of their own.
HIDDEN_SPLITS: Final[frozenset[Split]] = frozenset({"adapt", "test"})


@dataclass(frozen=True)
class Dataset:
    """A data set of one card and profile in the cache; its files are built when they are asked for."""

    card: Card
    profile: str
    detector: Detector
    cache: Path
    data: Geant4Data
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.card.voxel_size_cm != self.detector.voxel_size_cm:
            raise DataError(
                f"data-set card {self.card.name!r} states voxel_size_cm = {self.card.voxel_size_cm}; "
                f"the detector {self.detector.name!r} has {self.detector.voxel_size_cm}"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides what the truth and the nominal events are."""
        shared = {
            "recipe_version": RECIPE_VERSION,
            "card": self.card.name,
            "card_version": self.card.version,
            "classes": [particle.model_dump(mode="json", exclude_none=True) for particle in self.card.classes],
            "minimum_hits": self.card.minimum_hits,
            "noise_seed": self.card.noise_seed,
            "detector": self.detector.name,
            "detector_version": self.detector.version,
        }
        if self.card.truth is None:
            return {**shared, "imported": None if self.card.imported is None else self.card.imported.sha256}
        return {
            **shared,
            "profile": self.profile,
            "truth": self.card.truth.model_dump(mode="json"),
            "sizes": self.card.sizes_of(self.profile).model_dump(),
            "geant4_data": {"mode": self.data.mode, "version": self.data.version},
            "calzone": version("calzone"),
        }

    @property
    def recipe_digest(self) -> str:
        """SHA-256 of the recipe."""
        return digest_of(self.recipe)

    @property
    def directory(self) -> Path:
        """The folder of the data set."""
        if self.card.imported is not None:
            return self.cache / IMPORTED_FOLDER / self.card.name
        name = f"{self.card.name}-v{self.card.version}-{self.profile}-{self.recipe_digest[:10]}"
        return self.cache / "data" / name

    @property
    def files(self) -> DatasetFiles:
        """The files of the data set with their book."""
        named = f"{self.card.name} --profile {self.profile}"
        make = f"run `nubench data build {named}`"
        if self.card.imported is not None:
            make = "import the data set again with `nubench data import`"
        return DatasetFiles(self.directory, self.recipe, make, mend=f"run `nubench data repair {named}`")

    def manifest(self) -> Manifest:
        """What is finished.

        Raises:
            DataError: when the manifest is damaged.
        """
        return self.files.manifest()

    def build(
        self,
        splits: Iterable[Split],
        shift: str,
        points: Iterable[ShiftPoint],
        progress: Progress,
        sources: Collection[str] = (NOMINAL,),
    ) -> float:
        """Make the files of these splits and points that are not there yet.

        ``train`` and ``val`` are made at the points called in ``sources`` only. One process builds at a time; a second
        one waits.

        Returns:
            The seconds that it took, 0 when all was there.

        Raises:
            NubenchError: when the simulation fails, or the disk is full; what was finished before stays.
            DataError: when the data set was imported and holds no such events.
        """
        # Most runs find all there: they must not wait for a builder of something else.
        if self.is_built(splits, shift, points, sources):
            return 0.0
        start = time.monotonic()
        make_folder(self.directory)
        with self.files.locked(progress):
            self.files.remove_unfinished()
            for split, point in _existing(splits, points, sources):
                if not self._is_current(split, shift, point) and not self._set_labels_apart(split, shift, point):
                    self._build_truth(split, point.physics_list, progress)
                    self._build_events(split, shift, point, progress)
        return time.monotonic() - start

    def is_built(
        self, splits: Iterable[Split], shift: str, points: Iterable[ShiftPoint], sources: Collection[str] = (NOMINAL,)
    ) -> bool:
        """Tell whether :meth:`build` with the same arguments would find all there."""
        return all(self._is_current(split, shift, point) for split, point in _existing(splits, points, sources))

    def load(self, split: Split, shift: str, point: ShiftPoint) -> LabelledEvents:
        """Read the labelled events of ``train`` or ``val`` at a point, after checking the file against its checksum.

        Raises:
            UsageError: when the split is another; :func:`nubench.evaluation.labels.load_labelled` reads these for the
                evaluation.
            DataError: when the file was not built or is not the one that was built.
        """
        if split in HIDDEN_SPLITS:
            raise UsageError(f"split {split!r} has labels for the evaluation alone; load reads train and val")
        return read_events(self.files.check(*self._file_and_key(split, shift, point)))

    def events(self, split: Split, shift: str, point: ShiftPoint) -> Events:
        """Read the events of any split at a point, without labels and truth, after the same check.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        return read_voxels(self.files.check(*self._file_and_key(split, shift, point)))

    def labels_file(self, split: Split, shift: str, point: ShiftPoint) -> tuple[Path, str]:
        """The file with the labels of ``adapt`` or ``test`` at a point, and the SHA-256 of the events that it is for.

        Raises:
            DataError: when a file was not built or is not the one that was built.
        """
        file, key = self._file_and_key(split, shift, point)
        path = self.files.check(labels_of(file), key)
        return path, self.manifest().files[file].content

    def build_truth(self, split: Split, progress: Progress) -> float:
        """Make the deposits of a split, where they are not there; return the seconds that it took.

        Raises:
            NubenchError: when the simulation fails, or the disk is full.
            DataError: when the data set was imported without deposits.
        """
        if self.files.is_current(*self._truth_file_and_key(split, None)):
            return 0.0
        start = time.monotonic()
        make_folder(self.directory)
        with self.files.locked(progress):
            self._build_truth(split, None, progress)
        return time.monotonic() - start

    def truth(self, split: Split, events_a_chunk: int = EVENTS_A_CHUNK) -> Iterator[TruthChunk]:
        """Stream the deposits of a split, as they were built, after checking the file against its checksum.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        return read_truth(self.files.check(*self._truth_file_and_key(split, None)), events_a_chunk)

    def file_of(self, split: Split, shift: str, point: str) -> str:
        """The path of a file of events in the data set."""
        return f"{split}/{NOMINAL}.h5" if point == NOMINAL else f"{split}/{shift}/{point}.h5"

    def records(
        self, splits: Iterable[Split], shift: str, points: Iterable[ShiftPoint], sources: Collection[str] = (NOMINAL,)
    ) -> dict[str, FileRecord]:
        """The records of finished files of events of these splits and points, by their path in the data set."""
        finished = self.manifest().files
        files = [self.file_of(split, shift, point.name) for split, point in _existing(splits, points, sources)]
        return {file: finished[file] for file in files if file in finished}

    def verify(self) -> Iterator[tuple[str, str | None]]:
        """Check every finished file; yields its path and None, or the reason why it cannot be trusted."""
        for file, record in sorted(self.manifest().files.items()):
            is_truth = file.startswith("truth/")
            if is_truth and not (self.directory / file).exists() and self.card.imported is None:
                continue  # deposits may be removed to save disk; they are made again when a new point needs them
            try:
                path = self.files.check(file, record.key)
                if not is_truth and not file.startswith("labels/"):
                    check_voxels(path, EVENTS_A_CHUNK)
            except DataError as error:
                yield file, str(error)
            else:
                yield file, None

    def remove(self) -> None:
        """Delete the data set from the cache."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def write_card(self) -> None:
        """Keep the card of an imported data set beside its events; with it, the data set is found by its name."""
        make_folder(self.directory)
        write_checked(self.directory / CARD_FILE, self.card.model_dump(mode="json", exclude_none=True))

    def add_truth(self, split: Split, chunks: Iterable[TruthChunk], made_by: dict[str, Any]) -> None:
        """Write the deposits of a split of an imported data set.

        Args:
            split: its name.
            chunks: consecutive events; ids are unique in the data set.
            made_by: what is known of the program that made them, recorded in every file made from them.

        Raises:
            NubenchError: when the disk is full or cannot be written.
        """
        file, key = self._truth_file_and_key(split, None)
        count = write_truth(self.directory / file, chunks, self.card.class_names, made_by)
        self.files.enter(file, key, "", events=count, dropped=0)

    def add_events(
        self,
        split: Split,
        shift: str,
        point: ShiftPoint,
        chunks: Iterable[LabelledEvents],
        generated: int,
        made_by: dict[str, Any],
    ) -> None:
        """Write the events of a split at a point; events with too few hits are left out and counted.

        Args:
            split, shift: their names.
            point: with all parameters written out, see :meth:`nubench.shifts.Shift.all_points`.
            chunks: consecutive events.
            generated: number of events in all chunks.
            made_by: of the deposits, recorded in the file.

        Raises:
            NubenchError: when the disk is full or cannot be written.
        """
        file, key = self._file_and_key(split, shift, point)
        enough = (
            chunk.select((chunk.events.voxels_per_event >= self.card.minimum_hits).nonzero()[0]) for chunk in chunks
        )
        attributes = EventAttributes(
            detector=self.detector.name,
            classes=self.card.class_names,
            voxel_size_cm=self.card.voxel_size_cm,
            shift=shift if point.name != NOMINAL else NOMINAL,
            point=point.name,
            parameters=point.parameters,
            provenance={
                "card": self.card.name,
                "card_version": self.card.version,
                "detector_version": self.detector.version,
                "nubench": version("nubench"),
                "noise_seed": self.card.noise_seed,
                "minimum_hits": self.card.minimum_hits,
                "split": split,
                "generated_events": generated,
                "truth": made_by,
            },
        )
        apart = labels_of(file) if split in HIDDEN_SPLITS else None
        labels_path = None if apart is None else self.directory / apart
        kept, content = write_events(self.directory / file, enough, attributes, labels_path)
        if apart is not None:
            self.files.enter(apart, key, "", events=kept, dropped=generated - kept)
        self.files.enter(file, key, content, events=kept, dropped=generated - kept)

    def _file_and_key(self, split: Split, shift: str, point: ShiftPoint) -> tuple[str, str]:
        return self.file_of(split, shift, point.name), digest_of({"recipe": self.recipe, "parameters": point.settings})

    def _is_current(self, split: Split, shift: str, point: ShiftPoint) -> bool:
        file, key = self._file_and_key(split, shift, point)
        files = (file, labels_of(file)) if split in HIDDEN_SPLITS else (file,)
        return all(self.files.is_current(each, key) for each in files)

    def _set_labels_apart(self, split: Split, shift: str, point: ShiftPoint) -> bool:
        """Divide a file of an earlier version, which holds labels of ``adapt`` or ``test``; False when there is none.

        Raises:
            DataError: when the events would not be the same afterwards.
        """
        file, key = self._file_and_key(split, shift, point)
        if split not in HIDDEN_SPLITS or not self.files.is_current(file, key):
            return False
        path = self.files.check(file, key)
        if not holds_labels(path):
            return False
        before, attributes = self.manifest().files[file], read_attributes(path)
        chunks = stream_events(path, EVENTS_A_CHUNK)
        count, content = write_events(path, chunks, attributes, self.directory / labels_of(file))
        if content != before.content:
            raise DataError(f"{path} holds other events than its record says; remove the folder {self.directory}")
        self.files.enter(labels_of(file), key, "", events=count, dropped=before.dropped)
        self.files.enter(file, key, content, events=count, dropped=before.dropped)
        return True

    def _truth_file_and_key(self, split: Split, physics_list: str | None) -> tuple[str, str]:
        key = digest_of({"recipe": self.recipe, "physics_list": physics_list, "layout": _TRUTH_LAYOUT})
        return truth_of(split, physics_list), key

    def _build_truth(self, split: Split, other_physics_list: str | None, progress: Progress) -> None:
        file, key = self._truth_file_and_key(split, other_physics_list)
        if self.files.is_current(file, key):
            return
        truth = self.card.truth
        if truth is None:
            raise DataError(
                f"the imported data set {self.card.name!r} lacks what was asked for: there are no {split} events, and "
                f"no deposits to make them from in {self.directory / file}"
            )
        physics_list = other_physics_list or truth.physics_list
        count = getattr(self.card.sizes_of(self.profile), split) * len(self.card.classes)
        with progress.task(f"Geant4, {split}", count, "events") as task:
            chunks = generated_truth(
                self.card, count, FIRST_EVENT_ID[split], physics_list, self.data, self.processes, task
            )
            made_by = provenance(self.data, physics_list, truth.production_cut_cm, truth.seed)
            write_truth(self.directory / file, chunks, self.card.class_names, dict(made_by))
        self.files.enter(file, key, "", events=count, dropped=0)

    def _build_events(self, split: Split, shift: str, point: ShiftPoint, progress: Progress) -> None:
        truth_file = self.files.check(*self._truth_file_and_key(split, point.physics_list))
        generated = self.manifest().files[truth_file.relative_to(self.directory).as_posix()].events
        title = f"{self.detector.name} response, {split} at {point.name}"
        with progress.task(title, generated, "events") as task:
            chunks = responses(truth_file, self.detector, point, self.card.noise_seed, task)
            self.add_events(split, shift, point, chunks, generated, truth_provenance(truth_file))


def _existing(
    splits: Iterable[Split], points: Iterable[ShiftPoint], sources: Collection[str]
) -> list[tuple[Split, ShiftPoint]]:
    """The pairs that have a file: train and val are source only."""
    every = list(points)
    return [(split, p) for split in splits for p in every if p.name in sources or split in HIDDEN_SPLITS]
