"""One run from data to result: build what is missing, train, score at every shift point, record.

Finished work is found again: a training by its method, settings, data, backbone, seed and code; a result by that and
the shift.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from nubench import environment
from nubench.cards import Card, Split
from nubench.catalogue import find_card, open_dataset
from nubench.containers import Deposits, Events, LabelledEvents
from nubench.datasets import Dataset
from nubench.detectors import ResimulableDetector
from nubench.errors import PluginError, UsageError, unknown_name
from nubench.evaluation.scoring import Evaluator
from nubench.methods import Context, Method, Model, TrainingView
from nubench.plugins import PluginRegistry, Registered
from nubench.profiles import Profile, profile_called
from nubench.progress import Progress
from nubench.result_schema import (
    Backbone,
    Cost,
    PointResult,
    Result,
    Training,
)
from nubench.result_schema import Dataset as DatasetRecord
from nubench.result_schema import Method as MethodRecord
from nubench.result_schema import Profile as ProfileRecord
from nubench.result_schema import Progress as ProgressRecord
from nubench.result_schema import Shift as ShiftRecord
from nubench.results import read_result, write_result
from nubench.shifts import NOMINAL, Shift, ShiftPoint
from nubench.simulation.resimulation import Resimulator
from nubench.storage import make_folder


@dataclass(frozen=True)
class Request:
    """What a user asks to be run.

    Attributes:
        method, shift, profile: their names.
        dataset: name of the card, or None for the one that has the shift.
        source: the point of the shift that methods are trained on.
        settings: values of the method's settings, as text or typed.
        backbone: preset, or None for the profile's.
        engine: of the sparse convolutions.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    method: str
    shift: str
    profile: str = "smoke"
    dataset: str | None = None
    source: str = NOMINAL
    settings: Mapping[str, Any] | None = None
    backbone: str | None = None
    engine: str = "native"
    device: str = "auto"


class Runner:
    """A request whose names are all resolved; nothing is built or trained before :meth:`run`.

    Raises:
        UsageError: when a name does not exist or a setting cannot be accepted.
    """

    def __init__(
        self, request: Request, registry: PluginRegistry, cache: Path, progress: Progress, processes: int | None
    ):
        self.profile: Profile = profile_called(request.profile)
        self.registered: Registered[type[Method]] = registry.method(request.method)
        self.card: Card = find_card(registry, cache, request.dataset, request.shift)
        self.shift: Shift = self.card.shift(request.shift)
        self.config = make_config(self.registered.thing, self.profile, request.settings or {})
        self.backbone = registry.backbone(request.backbone or self.profile.backbone)
        self.backbone_preset = self.backbone.name
        self.engine = _known_engine(request.engine)
        self.device = choose_device(request.device)
        self.points: Sequence[ShiftPoint] = self.shift.all_points(self.card.nominal, request.source)
        self._cache, self._progress = cache, progress
        self.dataset: Dataset = open_dataset(registry, cache, self.card, self.profile.name, processes)
        self._record = self._method_record()
        self._train: LabelledEvents | None = None
        self._val: LabelledEvents | None = None

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that the method needs."""
        of_target: tuple[Split, ...] = ("adapt",) if self.registered.thing.target_access != "none" else ()
        return ("train", "val", *of_target, "test")

    def run(self, seed: int) -> Result:
        """Build, train and score with one seed; a finished result is read again.

        Raises:
            NubenchError: when something cannot go on; what was finished stays and is continued the next time.
        """
        self.dataset.build(self.splits, self.shift.name, self.points, self._progress, self._sources)
        start, cpu_start = time.monotonic(), environment.cpu_seconds()
        result_file = self._cache / "results" / f"{self._key(seed, 'result', shift=True)}.json"
        if result_file.exists():
            self._progress.say(f"{self.registered.name} seed {seed}: finished before, read from {result_file}")
            return read_result(result_file)
        target_access = self.registered.thing.target_access
        if target_access == "none":
            model, evaluator, view = self._fit(seed, None)
            points = [self._score(evaluator, point) for point in self.points]
            validation = evaluator.validate(view)
        else:
            points = []
            for point in self.points:
                model, evaluator, view = self._fit(seed, point)
                points.append(self._score(evaluator, point))
                if point is self._source:
                    validation = evaluator.validate(view)
        result = Result(
            schema_version=1,
            method=self._record,
            dataset=self._dataset_record(),
            shift=ShiftRecord(name=self.shift.name, points=tuple(point.name for point in self.points)),
            backbone=Backbone(
                preset=self.backbone_preset,
                parameters=model.backbone_parameters,
                embedding_size=evaluator.embedding_size or 0,
            )
            if self.registered.thing.uses_backbone
            else None,
            engine=self.engine if self.registered.thing.uses_backbone else None,
            profile=ProfileRecord(
                name=self.profile.name,
                settings={**self.profile.model_dump(), "sizes": self.card.sizes_of(self.profile.name).model_dump()},
            ),
            seed=seed,
            points=tuple(points),
            validation=validation,
            training=_training_record(self.registered.name, model),
            cost=Cost(
                wall_seconds=round(time.monotonic() - start, 3),
                cpu_seconds=round(environment.cpu_seconds() - cpu_start, 3),
                device_seconds=None,
                peak_memory_mb=round(environment.peak_memory_mb(), 1),
                parameters=model.number_of_parameters,
            ),
            environment=environment.describe(self.device),
            created=datetime.now(UTC),
        )
        write_result(result, result_file)
        return result

    @property
    def _can_resimulate(self) -> bool:
        detector, directory = self.dataset.detector, self.dataset.directory
        has_deposits = self.card.truth is not None or (directory / "truth" / "train.h5").is_file()
        return isinstance(detector, ResimulableDetector) and has_deposits

    def _resimulator(self) -> Resimulator[Any, Any, Events]:
        """The deposits of the training events, in their order."""
        detector = self.dataset.detector
        assert self._train is not None
        assert isinstance(detector, ResimulableDetector)
        self.dataset.build_truth("train", self._progress)
        wanted = self._train.truth.event_id
        parts, found = [], []
        for chunk in self.dataset.truth("train"):
            # Events with too few hits at the source are not trained on.
            kept = np.isin(chunk.primaries.event_id, wanted).nonzero()[0]
            parts.append(chunk.deposits.select(kept))
            found.append(chunk.primaries.event_id[kept])
        ids = np.concatenate(found)
        order = np.argsort(ids)
        deposits = Deposits.concatenate(parts).select(order[np.searchsorted(ids, wanted, sorter=order)])
        return detector.resimulator(deposits, wanted)

    @property
    def _source(self) -> ShiftPoint:
        return self.points[0]

    @property
    def _sources(self) -> tuple[str, ...]:
        return (self._source.name,)

    def release(self) -> None:
        """Forget the source events; they are read again when needed."""
        self._train = self._val = None

    def _fit(self, seed: int, target: ShiftPoint | None) -> tuple[Model, Evaluator, TrainingView]:
        import torch

        method = self.registered.thing
        trainings = self._cache / "trainings"
        source_directory = trainings / self._key(seed, "source", shift=False)
        directory = trainings / self._key(seed, target.name, shift=True) if target else source_directory
        make_folder(directory)
        if self._train is None or self._val is None:
            self._train = self.dataset.load("train", self.shift.name, self._source)
            self._val = self.dataset.load("val", self.shift.name, self._source)
        adapt = self.dataset.load("adapt", self.shift.name, target) if target else None
        view = TrainingView(
            classes=self.card.class_names,
            train=self._train.events,
            train_labels=self._train.labels,
            val=self._val.events,
            val_labels=self._val.labels,
            normalisation=self.card.normalisation,
            voxel_size_cm=self.card.voxel_size_cm,
            _method=method.name,
            _target=adapt.events if adapt else None,
            _target_labels=adapt.labels if adapt and method.target_access == "labelled" else None,
            _resimulator=self._resimulator if self._can_resimulate else None,
        )
        context = Context(
            seed=seed,
            device=torch.device(self.device),
            profile=self.profile.name,
            backbone_preset=self.backbone_preset,
            engine=self.engine,
            directory=directory,
            progress=self._progress,
            _source_directory=source_directory,
            _build=self.backbone.thing.build,
        )
        self._progress.say(
            f"{self.registered.name}, seed {seed}{f', target {target.name}' if target else ''}: "
            f"{len(view.train):,} source events, {self.backbone_preset if method.uses_backbone else 'no'} backbone"
        )
        model = method(self.config).fit(view, context)
        return model, Evaluator.of(method.name, model, view), view

    def _score(self, evaluator: Evaluator, point: ShiftPoint) -> PointResult:
        test = self.dataset.load("test", self.shift.name, point)
        readouts = evaluator.score(test, len(self.card.classes))
        return PointResult(point=point.name, parameters=dict(point.settings), events=len(test), readouts=readouts)

    def _method_record(self) -> MethodRecord:
        method, plugin = self.registered.thing, self.registered.plugin
        try:
            return MethodRecord(
                name=method.name,
                version=method.version,
                distribution=plugin.distribution,
                title=method.title,
                target_access=method.target_access,
                config=self.config.model_dump(mode="json"),
                ranked_by=method.ranked_by,
                ranked=method.ranked,
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise PluginError(
                f"method {method.name!r} of {plugin.distribution}: {where} = {first['input']!r}: {first['msg']}"
            ) from error

    def _dataset_record(self) -> DatasetRecord:
        records = self.dataset.records(self.splits, self.shift.name, self.points, self._sources)
        counts: dict[str, int] = {
            split: records[self.dataset.file_of(split, self.shift.name, self._source.name)].events
            for split in self.splits
        }
        return DatasetRecord(
            name=self.card.name,
            version=str(self.card.version),
            detector=self.card.detector,
            classes=self.card.class_names,
            recipe=self.dataset.recipe_digest,
            checksums={file: record.content for file, record in records.items()},
            events=counts,
        )

    def _key(self, seed: int, role: str, *, shift: bool) -> str:
        record = self._dataset_record()
        content = {
            "role": role,
            "method": self._record.model_dump(mode="json"),
            "data": record.checksums
            if shift
            else {f: c for f, c in record.checksums.items() if f.startswith(("train", "val"))},
            "normalisation": self.card.normalisation.model_dump(),
            "backbone": self.backbone_preset,
            "engine": self.engine,
            "profile": self.profile.model_dump(),
            "device": self.device,
            "seed": seed,
            "code": environment.code_digest(self.registered.plugin.module),
            "backbone_code": environment.code_digest(self.backbone.plugin.module),
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.registered.name}-seed{seed}-{digest}"


def make_config(method: type[Method], profile: Profile, settings: Mapping[str, Any]) -> Any:
    """The method's settings: its defaults, then the profile's budget, the method's own for the profile, the user's.

    Raises:
        UsageError: when a setting does not exist or has a value that is not accepted.
    """
    fields = method.Config.model_fields
    for name in settings:
        if name not in fields:
            raise unknown_name(f"setting of {method.name}", name, fields)
    budget = {name: getattr(profile, name) for name in ("views", "batch_size") if name in fields}
    own: Mapping[str, Any] = method.profiles.get(profile.name, {})
    values: dict[str, Any] = dict(budget) | dict(own) | dict(settings)
    try:
        return method.Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        accepted = fields[name].description if name in fields else None
        detail = f" ({accepted})" if accepted else ""
        if name not in settings:
            raise PluginError(
                f"method {method.name!r} has settings for the profile {profile.name!r} that its own Config does not "
                f"accept: {name or 'together'}: {first['msg']}{detail}"
            ) from error
        raise UsageError(f"--set {name}={first['input']!r} is not accepted: {first['msg']}{detail}") from error


def choose_device(device: str) -> str:
    """Resolve ``"auto"`` and check that the device is there.

    Raises:
        UsageError: when the name is unknown or the machine has no such device.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' is not available on this machine; use --device cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _known_engine(name: str) -> str:
    from nubench.sparse.engine import get_engine

    get_engine(name)
    return name


def _training_record(method: str, model: Model) -> Training:
    record = model.training_record
    if not record:
        return Training(steps=0, events_seen=0, seconds=0.0)
    try:
        history = tuple(ProgressRecord(step=views, values={"loss": loss}) for views, loss in record["history"])
        return Training(steps=record["steps"], events_seen=record["events"], seconds=record["seconds"], history=history)
    except (KeyError, TypeError, ValueError) as error:
        raise PluginError(
            f"method {method!r}: training_record must be empty or hold steps, events, seconds and history "
            f"(pairs of views and loss) as nubench.training.TrainingRecord does; {type(error).__name__}: {error}"
        ) from error
