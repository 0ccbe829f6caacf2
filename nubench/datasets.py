"""Data sets in the cache: built on first use from their card, found again by checksum, never half-written.

A data set is a folder named after card, version, profile and a digest of its recipe. In it::

    manifest.json                      what is finished: checksum, size, events and key of every file
    truth/{train,val,adapt,test}.h5    Geant4 deposits; {split}-{physics list}.h5 where a point asks for another list
    {split}/nominal.h5                 events at the nominal point
    {split}/{shift}/{point}.h5         events at another point

``adapt`` and ``test`` exist at every point, ``train`` and ``val`` at the source points alone. An imported data set is
a folder ``imported/NAME`` of the same layout, whose card stands in it: its events, or its deposits, were put there by
``nubench data import`` and cannot be built.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from nubench.cards import SPLITS, Card, Split
from nubench.containers import LabelledEvents
from nubench.dataset_files import CARD_FILE, IMPORTED_FOLDER, DatasetFiles, FileRecord, Manifest, digest_of
from nubench.detectors import Detector
from nubench.errors import DataError
from nubench.events.store import (
    EventAttributes,
    TruthChunk,
    read_events,
    read_truth,
    truth_provenance,
    write_events,
    write_truth,
)
from nubench.progress import Progress
from nubench.shifts import NOMINAL, ShiftPoint
from nubench.simulation.geant4 import Geant4Data, generate, provenance
from nubench.simulation.particle_gun import ParticleGun, Species
from nubench.storage import PARTIAL_SUFFIX, make_folder, write_atomically

#: Raised with every change of this file or of the truth generation that changes what is built.
RECIPE_VERSION: Final = 1
#: Event ids of a split start here, so that ids are unique in a data set.
FIRST_EVENT_ID: Final[dict[Split, int]] = {split: index * 1_000_000_000 for index, split in enumerate(SPLITS)}
#: Raised when deposits on disk change their layout: they are made anew, without another recipe.
_TRUTH_LAYOUT: Final = 2
_EVENTS_A_CHUNK: Final = 512


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

    def manifest(self) -> Manifest:
        """What is finished.

        Raises:
            DataError: when the manifest is damaged.
        """
        return self._files.manifest()

    def build(
        self,
        splits: Iterable[Split],
        shift: str,
        points: Iterable[ShiftPoint],
        progress: Progress,
        sources: Collection[str] = (NOMINAL,),
    ) -> None:
        """Make the files of these splits and points that are not there yet.

        ``train`` and ``val`` are made at the points called in ``sources`` only. One process builds at a time; a second
        one waits.

        Raises:
            NubenchError: when the simulation fails, or the disk is full; what was finished before stays.
            DataError: when the data set was imported and holds no such events.
        """
        wanted = _existing(splits, points, sources)
        # Most runs find all there: they must not wait for a builder of something else.
        if all(self._files.is_current(*self._file_and_key(split, shift, point)) for split, point in wanted):
            return
        make_folder(self.directory)
        with self._files.locked(progress):
            for leftover in self.directory.rglob(f"*{PARTIAL_SUFFIX}"):
                leftover.unlink(missing_ok=True)
            for split, point in wanted:
                if not self._files.is_current(*self._file_and_key(split, shift, point)):
                    self._build_truth(split, point.physics_list, progress)
                    self._build_events(split, shift, point, progress)

    def load(self, split: Split, shift: str, point: ShiftPoint) -> LabelledEvents:
        """Read the events of a split at a point, after checking the file against its checksum.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        return read_events(self._files.check(*self._file_and_key(split, shift, point)))

    def build_truth(self, split: Split, progress: Progress) -> None:
        """Make the deposits of a split, where they are not there.

        Raises:
            NubenchError: when the simulation fails, or the disk is full.
            DataError: when the data set was imported without deposits.
        """
        make_folder(self.directory)
        with self._files.locked(progress):
            self._build_truth(split, None, progress)

    def truth(self, split: Split, events_a_chunk: int = _EVENTS_A_CHUNK) -> Iterator[TruthChunk]:
        """Stream the deposits of a split, as they were built, after checking the file against its checksum.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        return read_truth(self._files.check(*self._truth_file_and_key(split, None)), events_a_chunk)

    def file_of(self, split: Split, shift: str, point: str) -> str:
        """The path of a file of events in the data set."""
        return f"{split}/{NOMINAL}.h5" if point == NOMINAL else f"{split}/{shift}/{point}.h5"

    def records(
        self, splits: Iterable[Split], shift: str, points: Iterable[ShiftPoint], sources: Collection[str] = (NOMINAL,)
    ) -> dict[str, FileRecord]:
        """The records of finished files of these splits and points, by their path in the data set."""
        finished = self.manifest().files
        files = [self.file_of(split, shift, point.name) for split, point in _existing(splits, points, sources)]
        return {file: finished[file] for file in files}

    def verify(self) -> Iterator[tuple[str, str | None]]:
        """Check every finished file; yields its path and None, or the reason why it cannot be trusted."""
        for file, record in sorted(self.manifest().files.items()):
            is_truth = file.startswith("truth/")
            if is_truth and not (self.directory / file).exists() and self.card.imported is None:
                continue  # deposits may be removed to save disk; they are made again when a new point needs them
            try:
                path = self._files.check(file, record.key)
                if not is_truth:
                    read_events(path)
            except DataError as error:
                yield file, str(error)
            else:
                yield file, None

    def repeated_kinematics(self) -> int:
        """Count the events whose particle, energy, vertex and direction stand in more than one split."""
        rows = []
        for split in SPLITS:
            if f"{split}/{NOMINAL}.h5" in self.manifest().files:
                truth = read_events(self.directory / f"{split}/{NOMINAL}.h5").truth
                kinematics = np.column_stack([truth.pdg, truth.kinetic_energy, truth.vertex, truth.direction])
                rows.append(np.unique(kinematics, axis=0))
        if not rows:
            return 0
        _, counts = np.unique(np.concatenate(rows), axis=0, return_counts=True)
        return int(np.sum(counts[counts > 1]))

    def remove(self) -> None:
        """Delete the data set from the cache."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def write_card(self) -> None:
        """Keep the card of an imported data set beside its events; with it, the data set is found by its name."""
        make_folder(self.directory)
        write_atomically(self.directory / CARD_FILE, self.card.model_dump_json(indent=1, exclude_none=True).encode())

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
        self._files.enter(file, key, "", events=count, dropped=0)

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
        kept, content = write_events(self.directory / file, enough, attributes)
        self._files.enter(file, key, content, events=kept, dropped=generated - kept)

    @property
    def _files(self) -> DatasetFiles:
        if self.card.imported is not None:
            mend = "import the data set again with `nubench data import`"
        else:
            mend = f"run `nubench data build {self.card.name} --profile {self.profile}`"
        return DatasetFiles(self.directory, self.recipe, mend)

    def _file_and_key(self, split: Split, shift: str, point: ShiftPoint) -> tuple[str, str]:
        return self.file_of(split, shift, point.name), digest_of({"recipe": self.recipe, "parameters": point.settings})

    def _truth_file_and_key(self, split: Split, physics_list: str | None) -> tuple[str, str]:
        name = f"{split}-{physics_list}" if physics_list else split
        key = digest_of({"recipe": self.recipe, "physics_list": physics_list, "layout": _TRUTH_LAYOUT})
        return f"truth/{name}.h5", key

    def _build_truth(self, split: Split, other_physics_list: str | None, progress: Progress) -> None:
        file, key = self._truth_file_and_key(split, other_physics_list)
        if self._files.is_current(file, key):
            return
        truth = self.card.truth
        if truth is None:
            raise DataError(
                f"the imported data set {self.card.name!r} lacks what was asked for: there are no {split} events, and "
                f"no deposits to make them from in {self.directory / file}"
            )
        physics_list = other_physics_list or truth.physics_list
        events_per_class: int = getattr(self.card.sizes_of(self.profile), split)
        count = events_per_class * len(self.card.classes)
        with progress.task(f"Geant4, {split}", count, "events") as task:

            def chunks() -> Iterator[TruthChunk]:
                for primaries, labels, deposits in generate(
                    particle_gun(self.card),
                    truth.material,
                    events_per_class,
                    seed=truth.seed,
                    first_event_id=FIRST_EVENT_ID[split],
                    data=self.data,
                    processes=self.processes,
                    physics_list=physics_list,
                    production_cut_cm=truth.production_cut_cm,
                ):
                    yield TruthChunk(primaries, labels, deposits)
                    task.advance(len(primaries))

            source = provenance(self.data, physics_list, truth.production_cut_cm, truth.seed)
            write_truth(self.directory / file, chunks(), self.card.class_names, dict(source))
        self._files.enter(file, key, "", events=count, dropped=0)

    def _build_events(self, split: Split, shift: str, point: ShiftPoint, progress: Progress) -> None:
        truth_file = self._files.check(*self._truth_file_and_key(split, point.physics_list))
        made_by = truth_provenance(truth_file)
        generated = self.manifest().files[truth_file.relative_to(self.directory).as_posix()].events

        def respond(chunk: TruthChunk) -> LabelledEvents:
            ids = chunk.primaries.event_id
            response = self.detector.respond(chunk.deposits, ids, point.parameters, self.card.noise_seed)
            return LabelledEvents(response.events, chunk.labels, chunk.primaries, response.from_track)

        with progress.task(f"{self.detector.name} response, {split} at {point.name}", generated, "events") as task:

            def chunks() -> Iterator[LabelledEvents]:
                # Files are read and written while the next chunk is simulated: neither waits for the other.
                with ThreadPoolExecutor(max_workers=1) as simulation:
                    ahead: deque[Future[LabelledEvents]] = deque()
                    for chunk in read_truth(truth_file, _EVENTS_A_CHUNK):
                        ahead.append(simulation.submit(respond, chunk))
                        if len(ahead) > 2:
                            yield finish(ahead)
                    while ahead:
                        yield finish(ahead)

            def finish(ahead: deque[Future[LabelledEvents]]) -> LabelledEvents:
                events = ahead.popleft().result()
                task.advance(len(events))
                return events

            self.add_events(split, shift, point, chunks(), generated, made_by)


def _existing(
    splits: Iterable[Split], points: Iterable[ShiftPoint], sources: Collection[str]
) -> list[tuple[Split, ShiftPoint]]:
    """The pairs that have a file: train and val are source only."""
    every = list(points)
    return [(split, p) for split in splits for p in every if p.name in sources or split in ("adapt", "test")]


def particle_gun(card: Card) -> ParticleGun:
    """What the card asks Geant4 to fire.

    Raises:
        DataError: when the card's events are imported.
    """
    if card.truth is None:
        raise DataError(f"data set {card.name!r} is imported: its card does not say what to fire")
    species = []
    for label, particle in enumerate(card.classes):
        if particle.momentum_mev is not None:
            species.append(Species(label, particle.pdg, particle.momentum_mev, "momentum"))
        elif particle.kinetic_energy_mev is not None:
            species.append(Species(label, particle.pdg, particle.kinetic_energy_mev))
    return ParticleGun(tuple(species), card.truth.vertex_min_cm, card.truth.vertex_max_cm)
