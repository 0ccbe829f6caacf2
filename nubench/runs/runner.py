"""One run from data to result: build what is missing, train, score at every shift point, record.

Finished work is found again: a training by its method, settings, data, backbone, seed and code; a result by that and
the shift.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nubench import environment
from nubench.containers import Deposits, Float32, Int64
from nubench.datasets.cards import Card, Split
from nubench.datasets.catalogue import find_card, open_dataset
from nubench.datasets.dataset import Dataset
from nubench.detectors import ResimulableDetector
from nubench.errors import DataError
from nubench.evaluation.confinement import can_confine
from nubench.evaluation.embeddings import EMBEDDINGS_FOLDER, Embedded, write_embeddings
from nubench.evaluation.handout import KEY_SIZE, Handout
from nubench.evaluation.hidden_events import KnownTest, with_target
from nubench.evaluation.messages import Order
from nubench.evaluation.predictions import PointPredictions, write_predictions
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.evaluation.scoring import FittedReadouts, ReadoutRows
from nubench.evaluation.sealed_folders import forbidden_folders, make_handout_folder
from nubench.evaluation.shared_training import sealed_training
from nubench.evaluation.trainee import Job, Report, Trainee, TrainingSession
from nubench.methods import Method
from nubench.plugins.registry import FILE_DISTRIBUTION, PluginRegistry, Registered
from nubench.profiles import Profile, profile_called
from nubench.progress import Progress
from nubench.results.bits import pack
from nubench.results.files import read_result, write_result
from nubench.results.schema import SCHEMA_VERSION, Backbone, PointResult, Result, Validation
from nubench.results.schema import Shift as ShiftRecord
from nubench.runs.devices import known_devices
from nubench.runs.records import RunData, cost_record, method_record, profile_record, work_key
from nubench.runs.request import Request, choose_device, known_engine, make_config
from nubench.shifts import Shift, ShiftPoint
from nubench.storage.files import make_folder, sha256_of
from nubench.storage.locking import locked

__all__ = ["Request", "Runner", "choose_device", "make_config"]


@dataclass(frozen=True)
class _Source:
    """The source events of a run, with their ids."""

    handout: Handout
    train_id: Int64
    val_id: Int64


@dataclass(frozen=True)
class _Trained:
    """What is left of a training, in the order of the files.

    Attributes:
        rows: what its read-outs say about the test events of each point.
        embeddings: by the names of :mod:`nubench.evaluation.embeddings`; empty for a model that gives none.
        confined: see :class:`nubench.evaluation.trainee.TrainingSession`.
    """

    rows: dict[str, ReadoutRows]
    embeddings: dict[str, Float32]
    readouts: FittedReadouts
    validation: Validation
    report: Report
    confined: bool | None


class Runner:
    """A request whose names are all resolved; nothing is built or trained before :meth:`run`.

    Args:
        request: what is to be run.
        registry: the plugins.
        cache: folder of data, trainings, results and predictions.
        progress: for bars and log lines.
        processes: number of Geant4 processes, None for one a core.
        sealed: train in a process of its own, which is given only the files that the method may see.
        devices: GPUs of this machine, or processes on its CPU, that share each training.

    Raises:
        UsageError: when a name does not exist, a setting cannot be accepted, or there are fewer devices.
    """

    def __init__(
        self,
        request: Request,
        registry: PluginRegistry,
        cache: Path,
        progress: Progress,
        processes: int | None,
        sealed: bool = True,
        devices: int = 1,
    ):
        self.profile: Profile = profile_called(request.profile)
        self.registered: Registered[type[Method]] = registry.method(request.method)
        self.card: Card = find_card(registry, cache, request.dataset, request.shift)
        self.shift: Shift = self.card.shift(request.shift.rpartition(":")[2])
        self.config = make_config(self.registered.thing, self.profile, request.settings or {})
        self.backbone = registry.backbone(request.backbone or self.profile.backbone)
        self.engine = known_engine(request.engine)
        self.device = choose_device(request.device)
        self.points: Sequence[ShiftPoint] = self.shift.all_points(self.card.nominal, request.source)
        self.dataset: Dataset = open_dataset(registry, cache, self.card, self.profile.name, processes)
        self.sealed = sealed
        shared = known_devices(devices, self.device, sealed=sealed)
        # A method without the network has nothing that could be shared out.
        self.devices = shared if self.registered.thing.uses_backbone else 1
        self._cache, self._progress = cache, progress
        self._detector = registry.detector(self.card.detector)
        self._plugin_files = tuple(
            Path(plugin.origin).resolve() for plugin in registry.plugins if plugin.distribution == FILE_DISTRIBUTION
        )
        self._metrics = registry.metrics()
        self._data = RunData(self.dataset, self.splits, self.shift.name, self.points)
        self._record = method_record(self.registered, self.config)
        self._simulation_seconds = 0.0

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that the method needs."""
        of_target: tuple[Split, ...] = ("adapt",) if self.registered.thing.target_access != "none" else ()
        return ("train", "val", *of_target, "test")

    def key(self, seed: int) -> str:
        """Name a result after all that decides it: ``supcon-seed0-0123456789abcdef``.

        The checksums of the data are among it, so the name is another once data are built that were not there.
        """
        # Its scores hold those metrics.
        metrics = {metric.full_name: environment.code_digest(metric.plugin.module) for metric in self._metrics}
        return self._key(seed, "result", source_only=False, metrics=metrics)

    def finished(self, seed: int) -> Result | None:
        """The result in the cache, or None when there is none, or data that it needs are not built.

        Raises:
            DataError: when the file is damaged or of another run, or its predictions are not beside it.
        """
        file, predictions = self._result_file(seed), self._predictions_file(seed)
        if not self._data.is_built or not file.exists():
            return None
        result = read_result(file)
        if (result.method, result.seed, result.shift.name) != (self._record, seed, self.shift.name):
            raise DataError(f"{file} is the result of another run")
        if not predictions.is_file() or sha256_of(predictions) != result.predictions:
            raise DataError(f"{predictions} is missing, or not what {file} was computed from")
        return result

    def run(self, seed: int) -> Result:
        """Build, train and score with one seed; a finished result is read again, a damaged one made again.

        Raises:
            NubenchError: when something cannot go on; what was finished stays and is continued the next time.
        """
        self.prepare()
        try:
            if (result := self.finished(seed)) is not None:
                self._progress.say(f"{self._name} seed {seed}: finished before, read from {self._result_file(seed)}")
                return result
        except DataError as error:
            self._progress.say(f"{error}; it is made again")
        start, cpu_start = time.monotonic(), environment.cpu_seconds()
        targets: Sequence[ShiftPoint | None] = [None]
        if self.registered.thing.target_access != "none":
            targets = self.points
        result = self._scored(seed, [self._train(seed, target) for target in targets], start, cpu_start)
        write_result(result, self._result_file(seed))
        return result

    def prepare(self) -> None:
        """Build the data that the run needs, where they are not there."""
        self._simulation_seconds = self.dataset.build(
            self.splits, self.shift.name, self.points, self._progress, self._data.sources
        )

    @contextmanager
    def session(self, job: Job, target: ShiftPoint | None) -> Iterator[TrainingSession]:
        """Open one training of the run, as :meth:`job` describes it; the data must be there, see :meth:`prepare`."""
        with self._session(job, self._handout(target)) as session:
            yield session

    def release(self) -> None:
        """Forget the source events; they are read again when needed."""
        self.__dict__.pop("_source", None)

    @property
    def _name(self) -> str:
        return self.registered.name

    @cached_property
    def _source(self) -> _Source:
        point = self._data.source
        train = self.dataset.load("train", self.shift.name, point)
        val = self.dataset.load("val", self.shift.name, point)
        handout = Handout(train.events, train.labels, val.events, val.labels)
        return _Source(handout, train.truth.event_id, val.truth.event_id)

    def _train(self, seed: int, target: ShiftPoint | None) -> _Trained:
        """Train once, and have all test events judged, or those of the target alone.

        No label of a test event is in the memory of the child, which inherits none of this process's.
        """
        source = self._source.handout
        at = f", target {target.name}" if target else ""
        network = self.backbone.name if self.registered.thing.uses_backbone else "no"
        self._progress.say(f"{self._name}, seed {seed}{at}: {len(source.train):,} source events, {network} backbone")
        # New for each training, and never written down: a plugin cannot know which event is which.
        key = secrets.token_bytes(KEY_SIZE)
        with self._session(self.job(seed, target), self._handout(target)) as session:
            session.fit()
            train, val = session.source_outputs("train"), session.source_outputs("val")
            readouts = FittedReadouts.fit(self._name, len(self.card.classes), train, source.train_labels, self.device)
            validation = readouts.validate(val, source.val_labels)
            suffix = f"/{target.name}" if target else ""
            embeddings = {f"train{suffix}": train.embeddings, f"val{suffix}": val.embeddings}
            rows = {}
            for point in [target] if target else self.points:
                events = self.dataset.events("test", self.shift.name, point)
                outputs = readouts.shuffled_outputs(session, events, key, point.name, self._cache)
                rows[point.name] = readouts.rows(outputs, len(events))
                embeddings[f"test/{point.name}"] = outputs.embeddings
            # Without a copy: large ones lie on disk.
            given = {
                part: found.astype(np.float32, copy=False) for part, found in embeddings.items() if found is not None
            }
            return _Trained(rows, given, readouts, validation, session.report(), session.confined)

    def _handout(self, target: ShiftPoint | None) -> Handout:
        source, access = self._source.handout, self.registered.thing.target_access
        return source if target is None else with_target(source, self.dataset, self.shift.name, target, access)

    def job(self, seed: int, target: ShiftPoint | None) -> Job:
        """Describe the training with a seed, for a target or, of a method that sees none, for all."""
        import torch

        trainings = self._cache / "trainings"
        source_directory = trainings / self._key(seed, "source", source_only=True)
        directory = trainings / self._key(seed, target.name, source_only=False) if target else source_directory
        # A sealed training is let into folders that are there.
        for folder in (directory, source_directory):
            make_folder(folder)
        return Job(
            method=self._name,
            config=self.config.model_dump(mode="json"),
            classes=self.card.class_names,
            normalisation=self.card.normalisation,
            voxel_size_cm=self.card.voxel_size_cm,
            seed=seed,
            device=self.device,
            profile=self.profile.name,
            backbone=self.backbone.name,
            engine=self.engine,
            directory=directory,
            source_directory=source_directory,
            threads=torch.get_num_threads(),
        )

    @contextmanager
    def _session(self, job: Job, handout: Handout) -> Iterator[TrainingSession]:
        """A training of its own process, or of this one."""
        detector = self._detector.thing
        can_resimulate = isinstance(detector, ResimulableDetector) and self._data.has_deposits
        waiting = f"{self._name}, seed {job.seed}: another process is at this training; waiting for it."
        # Beside the training's own folder: what is in that, a plugin may have put there.
        handouts = make_handout_folder(self._cache, job.directory.name)
        with locked(handouts / ".lock", self._progress.say, waiting):
            if not self.sealed:
                resimulable = detector if isinstance(detector, ResimulableDetector) and can_resimulate else None
                design, method = self.backbone.thing, self.registered.thing
                yield Trainee(job, handout, method, design, self._progress, resimulable, self._deposits)
                return
            order = Order(
                job=job,
                plugin_files=self._plugin_files,
                method=self.registered.full_name,
                backbone=self.backbone.full_name,
                detector=self._detector.full_name if can_resimulate else None,
                handout=handouts,
            )
            closed = forbidden_folders(self._cache)
            with sealed_training(order, handout, closed, self._progress, self._deposits, self.devices) as session:
                yield session

    def _deposits(self) -> tuple[Deposits, Int64]:
        deposits, built = self._data.deposits(self._source.train_id, self._progress)
        self._simulation_seconds += built
        return deposits, self._source.train_id

    def _scored(self, seed: int, trained: Sequence[_Trained], start: float, cpu_start: float) -> Result:
        import torch

        rows = {name: found for one in trained for name, found in one.rows.items()}
        known = KnownTest.load(self.dataset, self.shift.name, self.points)
        ids, test = known.event_id, known.events
        readouts_at = {name: one.readouts for one in trained for name in one.rows}
        predictions = {name: readouts_at[name].predictions(rows[name], ids[name]) for name in ids}
        digest = write_predictions(self._predictions_file(seed), predictions)
        self._keep_embeddings(seed, trained, ids)
        points = tuple(
            self._point_result(point, predictions[point.name], test, readouts_at[point.name]) for point in self.points
        )
        # Of a method with one training a point, training and parameters are those of the last.
        last = trained[-1]
        uses_backbone = self.registered.thing.uses_backbone
        confined = all(one.confined for one in trained) if self.sealed else None
        return Result(
            schema_version=SCHEMA_VERSION,
            method=self._record,
            dataset=self._data.record(),
            shift=ShiftRecord(
                name=self.shift.name,
                points=tuple(point.name for point in self.points),
                strength_unit=self.shift.strength_unit,
            ),
            backbone=Backbone(
                preset=self.backbone.name,
                parameters=last.report.backbone_parameters,
                embedding_size=last.readouts.embedding_size or 0,
            )
            if uses_backbone
            else None,
            engine=self.engine if uses_backbone else None,
            profile=profile_record(self.profile, self.card),
            seed=seed,
            points=points,
            validation=trained[0].validation,
            training=last.report.training,
            cost=cost_record(
                [one.report for one in trained],
                wall_seconds=time.monotonic() - start,
                cpu_seconds=environment.cpu_seconds() - cpu_start,
                building_seconds=self._simulation_seconds,
            ),
            environment=environment.describe(self.device, self.devices, confined, torch.get_num_threads()),
            created=datetime.now(UTC),
            sealed=self.sealed,
            predictions=digest,
            test_events=len(test),
        )

    def _keep_embeddings(self, seed: int, trained: Sequence[_Trained], test_ids: Mapping[str, Int64]) -> None:
        """Keep the embeddings of the run, for probes with fewer labels; see :mod:`nubench.evaluation.embeddings`."""
        source = {"train": self._source.train_id, "val": self._source.val_id}
        parts = {}
        for one in trained:
            for part, rows in one.embeddings.items():
                split, _, point = part.partition("/")
                parts[part] = Embedded(test_ids[point] if split == "test" else source[split], rows)
        if parts:
            write_embeddings(self._cache / EMBEDDINGS_FOLDER / f"{self.key(seed)}.safetensors", parts)

    def _point_result(
        self, point: ShiftPoint, predictions: PointPredictions, test: TestEvents, readouts: FittedReadouts
    ) -> PointResult:
        metrics = [registered.thing for registered in self._metrics]
        return PointResult(
            point=point.name,
            parameters=dict(point.settings),
            events=len(predictions.event_id),
            strength=point.strength,
            present=pack(test.present(predictions.event_id)),
            readouts=readouts_from(predictions, test, metrics, probe_converged=readouts.probe_converged),
        )

    def _result_file(self, seed: int) -> Path:
        return self._cache / "results" / f"{self.key(seed)}.json"

    def _predictions_file(self, seed: int) -> Path:
        return self._cache / "predictions" / f"{self.key(seed)}.safetensors"

    def _key(self, seed: int, role: str, *, source_only: bool, **further: Any) -> str:
        circumstances: dict[str, Any] = {
            "backbone": self.backbone.name,
            "engine": self.engine,
            "profile": self.profile.model_dump(),
            "device": self.device,
            "code": environment.code_digest(self.registered.plugin.module),
            "backbone_code": environment.code_digest(self.backbone.plugin.module),
            # It simulates training events again.
            "detector_code": environment.code_digest(self._detector.plugin.module),
            **further,
        }
        if not self.sealed:
            # It had every file within reach: a sealed run must not go on from what it left.
            circumstances["sealed"] = False
        elif not can_confine():
            # Nor one that is kept from files from what a training left that was not.
            circumstances["confined"] = False
        return work_key(self._record, self._data, seed, role, source_only=source_only, circumstances=circumstances)
