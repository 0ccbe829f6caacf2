"""A method at work on what it was handed: the same code in the sealed child and, unsealed, in the parent.

Nothing here can reach a label of the test events: a :class:`Trainee` is given a :class:`Handout` to train on, then
events alone.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nubench.containers import Deposits, Events, Int64
from nubench.datasets.cards import Normalisation
from nubench.environment import peak_memory_mb
from nubench.errors import NubenchError, PluginError
from nubench.evaluation.handout import Handout, Outputs, SourceSplit
from nubench.methods import Context, Method, Model, TrainingView
from nubench.problems import problems_of
from nubench.progress import Progress as ProgressBars
from nubench.results.fields import Amount, Count
from nubench.results.schema import Progress as HistoryEntry
from nubench.results.schema import Training
from nubench.runs.failures import line_of
from nubench.shares import Seat
from nubench.storage.locking import locked

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import ResimulableDetector
    from nubench.simulation.resimulation import Resimulator

#: The operations of a forward pass are counted over this many validation events.
_COUNTED_EVENTS = 256

#: Hands over the true deposits of the training events and the ids that key their noise.
DepositSource = Callable[[], tuple[Deposits, Int64]]


class Job(BaseModel):
    """What a training is told beside its events; nothing in it depends on the test events.

    Attributes:
        method: name of the method.
        config: its settings, as JSON holds them.
        classes, normalisation, voxel_size_cm: of the data set.
        seed, device, profile, backbone, engine: as in :class:`nubench.methods.Context`.
        directory, source_directory: folders that survive a kill, of this training and of all targets of the run.
        threads: of torch, None to leave them as they are: another number is another last bit.
        snapshots, snapshot: as in :class:`nubench.methods.Context`.
        seat: of this process, where several share the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    config: dict[str, Any]
    classes: tuple[str, ...]
    normalisation: Normalisation
    voxel_size_cm: float
    seed: int
    device: str
    profile: str
    backbone: str
    engine: str
    directory: Path
    source_directory: Path
    threads: int | None = None
    snapshots: int = 0
    snapshot: Path | None = None
    seat: Seat | None = None


class Report(BaseModel):
    """What a training says of itself, for the record; see :class:`nubench.results.schema.Cost` for the units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: Count
    backbone_parameters: Count
    training: Training
    device_seconds: Amount | None
    simulation_seconds: Amount
    peak_memory_mb: Amount
    flops_per_event: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class TrainingSession(Protocol):
    """A training under way, wherever it runs: here, or in a sealed child.

    Attributes:
        confined: whether the system keeps the child from the labels and the work of others; None here.
    """

    @property
    def confined(self) -> bool | None: ...

    def fit(self) -> None:
        """Train; see :meth:`nubench.methods.Method.fit`."""
        ...

    def source_outputs(self, split: SourceSplit) -> Outputs:
        """What the model makes of the source events: of ``train`` the embeddings alone."""
        ...

    def outputs(self, events: Events) -> Outputs:
        """What the model makes of other events, row by row."""
        ...

    def report(self) -> Report:
        """Numbers for the record, after everything else."""
        ...


class Trainee:
    """A training in this process.

    Args:
        job: what it is told.
        handout: the events that it is given.
        method, design: the class of the method, and the network that it builds.
        progress: for bars and log lines.
        detector, deposits: to simulate the training events again; None where the data set does not offer it.
    """

    confined: Final = None

    def __init__(
        self,
        job: Job,
        handout: Handout,
        method: type[Method],
        design: BackboneDesign,
        progress: ProgressBars,
        detector: ResimulableDetector | None = None,
        deposits: DepositSource | None = None,
    ) -> None:
        self._job, self._handout, self._method, self._design = job, handout, method, design
        self._progress, self._detector, self._deposits = progress, detector, deposits
        self._model: Model | None = None
        self._network: dict[str, Any] | None = None
        self._device_seconds = 0.0
        self._resimulators: list[Resimulator[Any, Any, Events]] = []

    def fit(self) -> None:
        """Train the method.

        Raises:
            NubenchError: what the method raises; a :class:`PluginError` for what is none, whose traceback is printed.
        """
        import torch

        from nubench.training.processes import joined

        job = self._job
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        # Two processes that train the same would write over each other's files; of those that share it, one writes.
        waiting = f"waiting for another process that trains in {job.directory}"
        writes = job.seat is None or job.seat.number == 0
        alone = locked(job.directory / ".training.lock", self._progress.say, waiting) if writes else nullcontext()
        with alone, joined(job.seat, torch.device(job.device)) as device, self._blamed("fit"), self._timed():
            method = self._method(self._method.Config.model_validate(job.config))
            self._model = method.fit(self._view(), self._context(device))
            if not isinstance(self._model, Model):
                raise PluginError(f"method {job.method!r}: fit returned {self._model!r}; expected a nubench Model")

    def source_outputs(self, split: SourceSplit) -> Outputs:
        """See :meth:`TrainingSession.source_outputs`.

        Raises:
            PluginError: when an array is not one row of finite numbers an event.
        """
        events = self._handout.source(split)
        with self._blamed("embed" if split == "train" else "outputs"), self._timed():
            if split == "train":
                # The probe needs no class scores.
                made = Outputs(self._fitted.embed(events), None)
            else:
                made = Outputs(*self._fitted.outputs(events))
            return made.checked(self._job.method, len(events), len(self._job.classes))

    def outputs(self, events: Events) -> Outputs:
        """See :meth:`TrainingSession.outputs`.

        Raises:
            PluginError: when an array is not one row of finite numbers an event.
        """
        with self._blamed("outputs"), self._timed():
            made = Outputs(*self._fitted.outputs(events))
            return made.checked(self._job.method, len(events), len(self._job.classes))

    def report(self) -> Report:
        """See :meth:`TrainingSession.report`.

        Raises:
            PluginError: when the model's numbers are none that can be recorded.
        """
        with self._blamed("training_record"):
            try:
                return Report(
                    parameters=self._fitted.number_of_parameters,
                    backbone_parameters=self._fitted.backbone_parameters,
                    training=_training_record(self._job.method, self._fitted),
                    device_seconds=round(self._device_seconds, 3) if self._job.device != "cpu" else None,
                    simulation_seconds=round(sum(one.seconds for one in self._resimulators), 3),
                    peak_memory_mb=round(peak_memory_mb(), 1),
                    flops_per_event=self._flops_per_event(),
                )
            except ValidationError as error:
                raise PluginError(f"method {self._job.method!r}: its model says {problems_of(error)[0]}") from error

    @property
    def _fitted(self) -> Model:
        if self._model is None:
            raise PluginError(f"method {self._job.method!r} has not been fitted")
        return self._model

    def _view(self) -> TrainingView:
        handout, job = self._handout, self._job
        return TrainingView(
            classes=job.classes,
            train=handout.train,
            train_labels=handout.train_labels,
            val=handout.val,
            val_labels=handout.val_labels,
            normalisation=job.normalisation,
            voxel_size_cm=job.voxel_size_cm,
            _method=job.method,
            _target=handout.target,
            _target_labels=handout.target_labels,
            _resimulator=self._resimulator if self._detector is not None and self._deposits is not None else None,
        )

    def _context(self, device: Any) -> Context:
        job = self._job
        return Context(
            seed=job.seed,
            device=device,
            profile=job.profile,
            backbone_preset=job.backbone,
            engine=job.engine,
            directory=job.directory,
            progress=self._progress,
            snapshots=job.snapshots,
            snapshot=job.snapshot,
            _source_directory=job.source_directory,
            _build=self._build,
        )

    def _build(self, **settings: Any) -> Any:
        """Build the network, and remember what the method has changed in it: its operations are counted later."""
        self._network = settings
        return self._design.build(**settings)

    def _resimulator(self) -> Resimulator[Any, Any, Events]:
        assert self._detector is not None
        assert self._deposits is not None
        self._resimulators.append(self._detector.resimulator(*self._deposits()))
        return self._resimulators[-1]

    def _flops_per_event(self) -> float | None:
        if self._network is None or len(self._handout.val) == 0:
            return None
        import torch

        from nubench.sparse.batch import SparseBatch

        index = np.arange(min(len(self._handout.val), _COUNTED_EVENTS))
        batch = SparseBatch.from_events(self._handout.val, index)
        # No memory is taken and nothing is drawn: only the shapes matter.
        with torch.device("meta"):
            network = self._design.build(**self._network)
        return float(self._design.forward_flops(network, batch)) / len(index)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        if self._job.device != "cpu":
            import torch

            torch.cuda.synchronize()
            self._device_seconds += time.monotonic() - start

    @contextmanager
    def _blamed(self, call: str) -> Iterator[None]:
        """Turn what a method raises into a message that names it and its line; the traceback is for its author."""
        try:
            yield
        except NubenchError:
            raise
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            line = line_of(error, getattr(sys.modules.get(self._method.__module__), "__file__", None))
            where = f" ({line})" if line else ""
            raise PluginError(f"method {self._job.method!r} failed in {call}: {detail}{where}") from error


def _training_record(method: str, model: Model) -> Training:
    record = model.training_record
    if not record:
        return Training(steps=0, events_seen=0, seconds=0.0)
    try:
        history = tuple(HistoryEntry(step=views, values={"loss": loss}) for views, loss in record["history"])
        return Training(steps=record["steps"], events_seen=record["events"], seconds=record["seconds"], history=history)
    except (KeyError, TypeError, ValueError) as error:
        raise PluginError(
            f"method {method!r}: training_record must be empty or hold steps, events, seconds and history "
            f"(pairs of views and loss) as nubench.training.TrainingRecord does; {type(error).__name__}: {error}"
        ) from error
