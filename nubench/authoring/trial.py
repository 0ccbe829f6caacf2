"""A method on trial: fitted as often as the checks want on the same few synthetic events."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from nubench.authoring.synthetic import (
    CLASSES,
    NORMALISATION,
    VOXEL_CM,
    Tracks,
    draw_tracks,
    edge_events,
    resimulator_of,
)
from nubench.containers import Events, Float32, Int64
from nubench.environment import peak_memory_mb
from nubench.methods import Context, Method, Model, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.simulation.resimulation import Resimulator

SEED: Final = 3
PROFILE: Final = "smoke"
BACKBONE: Final = "tiny"
ENGINE: Final = "native"
#: What makes a training short; a method gets those of them that its Config has.
SMALL_BUDGET: Final[Mapping[str, int]] = {"views": 256, "batch_size": 32}


class Interruption(BaseException):
    """Stops a training as a kill would: not an Exception, so that no method goes on after it."""


@dataclass(frozen=True)
class WatchedView(TrainingView):
    """A training view that notes which of the target's data are read."""

    reads: set[str] = field(default_factory=set)

    @property
    def target(self) -> Events:
        """See :attr:`nubench.methods.TrainingView.target`."""
        self.reads.add("target")
        return super().target

    @property
    def target_labels(self) -> Int64:
        """See :attr:`nubench.methods.TrainingView.target_labels`."""
        self.reads.add("target_labels")
        return super().target_labels


class StepCounter(SilentProgress):
    """Counts the steps that a training reports, and may interrupt it after one."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps = 0
        self._stop_after = stop_after

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[StepCounter]:
        """See :meth:`nubench.progress.Progress.task`."""
        yield self

    def advance(self, amount: int, note: str = "") -> None:
        """See :meth:`nubench.progress.Task.advance`."""
        self.steps += 1
        if self.steps == self._stop_after:
            raise Interruption


@dataclass(frozen=True)
class Outputs:
    """What a model makes of E events: (E, D) and (E, C) float32, or None where it has no such read-out."""

    embeddings: Float32 | None
    log_probabilities: Float32 | None

    def named(self) -> dict[str, Float32]:
        """Those that there are, by the method that returns them."""
        both = {"embed": self.embeddings, "log_probabilities": self.log_probabilities}
        return {name: rows for name, rows in both.items() if rows is not None}


@dataclass(frozen=True)
class Fitted:
    """A finished fit: the model, what it was trained on, and what it took, by the clock and of the processor."""

    model: Model
    view: WatchedView
    steps: int
    seconds: float
    processor_seconds: float
    memory_mb: float


class Trial:
    """A method with settings that keep a training to seconds, and the events to try it on.

    Args:
        method: the class.
        settings: values of its settings that differ from the small ones.
        folder: an empty folder.

    Raises:
        UsageError: when a setting cannot be accepted.
        PluginError: when the method's own settings for the profile cannot.
    """

    def __init__(self, method: type[Method], settings: Mapping[str, Any], folder: Path) -> None:
        from nubench.runs.request import make_config

        budget = {name: value for name, value in SMALL_BUDGET.items() if name in method.Config.model_fields}
        self.method = method
        self.config = make_config(method, PROFILES[PROFILE], {**budget, **settings})
        self.seconds = 0.0
        self.reads: set[str] = set()
        self._folder = folder

    @cached_property
    def train(self) -> Tracks:
        """The source events."""
        return draw_tracks(96, 1)

    @cached_property
    def val(self) -> Tracks:
        """Source events held out."""
        return draw_tracks(36, 2)

    @cached_property
    def target(self) -> Tracks:
        """Events of a detector with more charge and a higher pedestal."""
        return draw_tracks(96, 3, charge=1.2, offset=4.0)

    @cached_property
    def test(self) -> Events:
        """Events of the target to be classified, three of them extreme."""
        return Events.concatenate([draw_tracks(36, 4, charge=1.2, offset=4.0).events, edge_events()])

    @cached_property
    def fitted(self) -> Fitted:
        """The first fit, which most checks look at; its time is what the others are expected to take."""
        if self.method.uses_backbone:
            _compile_kernels()
        return self.fit("first")

    @cached_property
    def outputs(self) -> Outputs:
        """What the first fit's model makes of the test events."""
        return self.apply(self.fitted.model, self.test)

    def fit(self, folder: str, seed: int = SEED, stop_after: int | None = None, device: str = "cpu") -> Fitted:
        """Fit in a folder of that name; a second time in the same one is what happens after a kill.

        Raises:
            Interruption: after ``stop_after`` steps.
            Exception: what the method raises.
        """
        import torch

        view, counter = self.view(), StepCounter(stop_after)
        directory = self._folder / folder
        directory.mkdir(exist_ok=True)
        context = Context(
            seed=seed,
            device=torch.device(device),
            profile=PROFILE,
            backbone_preset=BACKBONE,
            engine=ENGINE,
            directory=directory,
            progress=counter,
        )
        start, processor, memory = time.perf_counter(), time.process_time(), peak_memory_mb()
        try:
            # A checkpoint after every step, so that an interrupted training has one to go on from.
            with patch("nubench.training.loop.CHECKPOINT_INTERVAL_SECONDS", 0.0):
                model = self.method(self.config).fit(view, context)
        finally:
            self.reads |= view.reads
            self.seconds += time.perf_counter() - start
        seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor
        return Fitted(model, view, counter.steps, seconds, processor_seconds, peak_memory_mb() - memory)

    def apply(self, model: Model, events: Events) -> Outputs:
        """Ask a model for everything it has."""
        return Outputs(*model.outputs(events))

    def view(self) -> WatchedView:
        """What the method may see: arrays of its own each time."""
        access = self.method.target_access
        return WatchedView(
            classes=CLASSES,
            train=_copied(self.train.events),
            train_labels=self.train.labels.copy(),
            val=_copied(self.val.events),
            val_labels=self.val.labels.copy(),
            normalisation=NORMALISATION,
            voxel_size_cm=VOXEL_CM,
            _method=self.method.name,
            _target=None if access == "none" else _copied(self.target.events),
            _target_labels=self.target.labels.copy() if access == "labelled" else None,
            _resimulator=self._resimulator,
        )

    def _resimulator(self) -> Resimulator[Any, Any, Events]:
        return resimulator_of(self.train)


@cache
def _compile_kernels() -> None:
    """Take the shared network once through a step: the first one after an installation compiles for half a minute."""
    from nubench.backbone import build_backbone
    from nubench.sparse.batch import SparseBatch

    batch = SparseBatch.from_events(draw_tracks(2, 0).events, None, NORMALISATION.offset, NORMALISATION.scale)
    network: Any = build_backbone(BACKBONE, in_channels=1, engine=ENGINE)
    network(batch).sum().backward()


def digest_of_view(view: TrainingView) -> str:
    """SHA-256 of all arrays that a method was handed."""
    parts = [view.train, view.val, *([view._target] if view._target is not None else [])]
    arrays = [array for events in parts for array in (events.offsets, events.coords, events.features)]
    return digest_of_arrays(*arrays, view.train_labels, view.val_labels)


def digest_of_arrays(*arrays: np.typing.NDArray[Any]) -> str:
    """SHA-256 of the content of some arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _copied(events: Events) -> Events:
    return Events(events.offsets.copy(), events.coords.copy(), events.features.copy())
