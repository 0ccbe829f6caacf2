"""Data sets in the cache: built on first use from their card, found again by checksum, never half-written.

A data set is a folder named after card, version, profile and a digest of its recipe. In it::

    manifest.json                      what is finished: checksum, size, events and key of every file
    truth/{train,val,adapt,test}.h5    Geant4 deposits
    {split}/nominal.h5                 events at the nominal point
    {split}/{shift}/{point}.h5         events at a target point (adapt and test only)
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from nubench.cards import SPLITS, Card, Split
from nubench.containers import LabelledEvents
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
from nubench.storage import PARTIAL_SUFFIX, make_folder, sha256_of, write_atomically

#: Raised with every change of this file or of the truth generation that changes what is built.
RECIPE_VERSION: Final = 1
#: Event ids of a split start here, so that ids are unique in a data set.
_FIRST_EVENT_ID: Final[dict[Split, int]] = {split: index * 1_000_000_000 for index, split in enumerate(SPLITS)}
_EVENTS_A_CHUNK: Final = 512


class FileRecord(BaseModel):
    """One finished file.

    Attributes:
        sha256: of the file, which says whether it is the one that was built.
        content: SHA-256 of the events alone, the same whatever wrote the file; empty for deposits.
        size: bytes.
        events, dropped: events in it, and those with too few hits.
        key: digest of what made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    content: str
    size: int
    events: int
    dropped: int
    key: str


class Manifest(BaseModel):
    """The finished files of a data set, by their path relative to it."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any]
    files: dict[str, FileRecord] = {}


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
        return {
            "recipe_version": RECIPE_VERSION,
            "card": self.card.name,
            "card_version": self.card.version,
            "profile": self.profile,
            "truth": self.card.truth.model_dump(mode="json"),
            "classes": [particle.model_dump(mode="json") for particle in self.card.classes],
            "sizes": self.card.sizes_of(self.profile).model_dump(),
            "minimum_hits": self.card.minimum_hits,
            "noise_seed": self.card.noise_seed,
            "detector": self.detector.name,
            "detector_version": self.detector.version,
            "geant4_data": {"mode": self.data.mode, "version": self.data.version},
            "calzone": version("calzone"),
        }

    @property
    def recipe_digest(self) -> str:
        """SHA-256 of the recipe."""
        return _digest(self.recipe)

    @property
    def directory(self) -> Path:
        """The folder of the data set."""
        name = f"{self.card.name}-v{self.card.version}-{self.profile}-{self.recipe_digest[:10]}"
        return self.cache / "data" / name

    def manifest(self) -> Manifest:
        """What is finished.

        Raises:
            DataError: when the manifest is damaged.
        """
        file = self.directory / "manifest.json"
        if not file.exists():
            return Manifest(recipe=self.recipe)
        try:
            return Manifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            remove = f"nubench data remove {self.card.name} --profile {self.profile}"
            raise DataError(f"{file} is damaged; remove the data set with `{remove}`") from error

    def build(self, splits: Iterable[Split], shift: str, points: Iterable[ShiftPoint], progress: Progress) -> None:
        """Make the files of these splits and points that are not there yet.

        ``train`` and ``val`` exist at nominal only. One process builds at a time; a second one waits.

        Raises:
            NubenchError: when the simulation fails, or the disk is full; what was finished before stays.
        """
        wanted = _existing(splits, points)
        # Most runs find all there: they must not wait for a builder of something else.
        if all(self._is_current(self.manifest(), *self._file_and_key(split, shift, point)) for split, point in wanted):
            return
        make_folder(self.directory)
        with _locked(self.directory / ".lock", progress):
            for leftover in self.directory.rglob(f"*{PARTIAL_SUFFIX}"):
                leftover.unlink(missing_ok=True)
            for split, point in wanted:
                file, key = self._file_and_key(split, shift, point)
                if not self._is_current(self.manifest(), file, key):
                    self._build_truth(split, progress)
                    self._build_events(split, shift, point, progress)

    def load(self, split: Split, shift: str, point: ShiftPoint) -> LabelledEvents:
        """Read the events of a split at a point, after checking the file against its checksum.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        file, key = self._file_and_key(split, shift, point)
        self._verify_file(file, key)
        return read_events(self.directory / file)

    def records(self, splits: Iterable[Split], shift: str, points: Iterable[ShiftPoint]) -> dict[str, FileRecord]:
        """The records of finished files of these splits and points, by their path in the data set."""
        finished = self.manifest().files
        files = [self._file_and_key(split, shift, point)[0] for split, point in _existing(splits, points)]
        return {file: finished[file] for file in files}

    def verify(self) -> Iterator[tuple[str, str | None]]:
        """Check every finished file; yields its path and None, or the reason why it cannot be trusted."""
        for file, record in sorted(self.manifest().files.items()):
            if file.startswith("truth/") and not (self.directory / file).exists():
                continue  # deposits may be removed to save disk; they are made again when a new point needs them
            try:
                self._verify_file(file, record.key)
                if not file.startswith("truth/"):
                    read_events(self.directory / file)
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

    def _file_and_key(self, split: Split, shift: str, point: ShiftPoint) -> tuple[str, str]:
        file = f"{split}/{NOMINAL}.h5" if point.name == NOMINAL else f"{split}/{shift}/{point.name}.h5"
        return file, _digest({"recipe": self.recipe, "parameters": point.parameters})

    def _is_current(self, manifest: Manifest, file: str, key: str) -> bool:
        record = manifest.files.get(file)
        path = self.directory / file
        return record is not None and record.key == key and path.is_file() and path.stat().st_size == record.size

    def _verify_file(self, file: str, key: str) -> None:
        path = self.directory / file
        record = self.manifest().files.get(file)
        mend = f"remove it and run `nubench data build {self.card.name} --profile {self.profile}`"
        if record is None or not path.is_file():
            raise DataError(f"{path} is not built; run `nubench data build {self.card.name} --profile {self.profile}`")
        if record.key != key:
            raise DataError(f"{path} was built for other parameters; {mend}")
        if sha256_of(path) != record.sha256:
            raise DataError(f"{path} is not the file that was built (its checksum differs); {mend}")

    def _build_truth(self, split: Split, progress: Progress) -> None:
        file, key = f"truth/{split}.h5", self.recipe_digest
        if self._is_current(self.manifest(), file, key):
            return
        truth = self.card.truth
        events_per_class: int = getattr(self.card.sizes_of(self.profile), split)
        count = events_per_class * len(self.card.classes)
        with progress.task(f"Geant4, {split}", count, "events") as task:

            def chunks() -> Iterator[TruthChunk]:
                for primaries, labels, deposits in generate(
                    particle_gun(self.card),
                    truth.material,
                    events_per_class,
                    seed=truth.seed,
                    first_event_id=_FIRST_EVENT_ID[split],
                    data=self.data,
                    processes=self.processes,
                    physics_list=truth.physics_list,
                    production_cut_cm=truth.production_cut_cm,
                ):
                    yield TruthChunk(primaries, labels, deposits)
                    task.advance(len(primaries))

            source = provenance(self.data, truth.physics_list, truth.production_cut_cm, truth.seed)
            write_truth(self.directory / file, chunks(), self.card.class_names, dict(source))
        self._finish(file, key, "", events=count, dropped=0)

    def _build_events(self, split: Split, shift: str, point: ShiftPoint, progress: Progress) -> None:
        file, key = self._file_and_key(split, shift, point)
        truth_file = self.directory / "truth" / f"{split}.h5"
        self._verify_file(f"truth/{split}.h5", self.recipe_digest)
        generated = self.manifest().files[f"truth/{split}.h5"].events
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
                "truth": truth_provenance(truth_file),
            },
        )
        with progress.task(f"{self.detector.name} response, {split} at {point.name}", generated, "events") as task:

            def respond(chunk: TruthChunk) -> LabelledEvents:
                ids = chunk.primaries.event_id
                events = self.detector.respond(chunk.deposits, ids, point.parameters, self.card.noise_seed)
                enough = (events.voxels_per_event >= self.card.minimum_hits).nonzero()[0]
                return LabelledEvents(events, chunk.labels, chunk.primaries).select(enough)

            def chunks() -> Iterator[LabelledEvents]:
                # Files are read and written while the next chunk is simulated: neither waits for the other.
                with ThreadPoolExecutor(max_workers=1) as simulation:
                    ahead: deque[tuple[int, Future[LabelledEvents]]] = deque()
                    for chunk in read_truth(truth_file, _EVENTS_A_CHUNK):
                        ahead.append((len(chunk.labels), simulation.submit(respond, chunk)))
                        if len(ahead) > 2:
                            yield from finish(ahead)
                    while ahead:
                        yield from finish(ahead)

            def finish(ahead: deque[tuple[int, Future[LabelledEvents]]]) -> Iterator[LabelledEvents]:
                count, future = ahead.popleft()
                yield future.result()
                task.advance(count)

            kept, content = write_events(self.directory / file, chunks(), attributes)
        self._finish(file, key, content, events=kept, dropped=generated - kept)

    def _finish(self, file: str, key: str, content: str, events: int, dropped: int) -> None:
        path = self.directory / file
        record = FileRecord(
            sha256=sha256_of(path),
            content=content,
            size=path.stat().st_size,
            events=events,
            dropped=dropped,
            key=key,
        )
        manifest = self.manifest()
        manifest.files[file] = record
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True)
        write_atomically(self.directory / "manifest.json", text.encode())


def _existing(splits: Iterable[Split], points: Iterable[ShiftPoint]) -> list[tuple[Split, ShiftPoint]]:
    """The pairs that have a file: train and val are source only."""
    every = list(points)
    return [(split, p) for split in splits for p in every if p.name == NOMINAL or split in ("adapt", "test")]


def particle_gun(card: Card) -> ParticleGun:
    """What the card asks Geant4 to fire."""
    species = tuple(
        Species(label, particle.pdg, particle.kinetic_energy_mev) for label, particle in enumerate(card.classes)
    )
    return ParticleGun(species, card.truth.vertex_min_cm, card.truth.vertex_max_cm)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _locked:  # noqa: N801 (used as a function)
    """Hold a lock file, and say so when another process has it."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._lock, self._progress = FileLock(path), progress

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._progress.say(f"Another process is building in {Path(self._lock.lock_file).parent}; waiting for it.")
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
