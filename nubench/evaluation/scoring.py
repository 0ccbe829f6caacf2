"""Scores of what a model returned: this module is handed labels, the model never is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Events, Float32, Int64, LabelledEvents
from nubench.errors import NubenchError, PluginError
from nubench.evaluation.handout import OutputRows, Outputs, keyed_order
from nubench.evaluation.predictions import PointPredictions
from nubench.evaluation.probe import Probe, fit_probe
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.evaluation.trainee import TrainingSession
from nubench.methods import Model, TrainingView
from nubench.results.fields import ReadoutName
from nubench.results.schema import Validation
from nubench.results.scores import Readouts

#: Test events are handed over, and embeddings read by the probe, so many at a time. More than the test events of every
#: profile, and whole batches of :class:`nubench.training.NetworkModel`: the last bit of a result does not depend on it.
EVENTS_AT_A_TIME: Final = 2**15

#: The class scores (E, C) of each read-out.
ReadoutRows = dict[ReadoutName, Float32]


@dataclass(frozen=True)
class FittedReadouts:
    """The read-outs of one training, ready to be scored at any shift point.

    Attributes:
        method: name of the method, for messages.
        classes: C.
        probe: fitted on the frozen embeddings of the source's training events, or None without embeddings.
        embedding_size: D, or None without embeddings.
    """

    method: str
    classes: int
    probe: Probe | None
    embedding_size: int | None

    @staticmethod
    def fit(method: str, classes: int, train: Outputs, labels: Int64, device: str = "cpu") -> FittedReadouts:
        """Fit the probe on what the model made of the source's training events, on a device.

        Raises:
            NubenchError: when a class has no training events.
            PluginError: when the embeddings are not one row of finite numbers an event.
        """
        missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0).tolist()
        if missing:
            raise NubenchError(
                f"method {method!r} is scored on {classes} classes and needs training events of every class; of "
                f"{len(labels)} there are classes without events: {missing}"
            )
        embeddings = train.checked(method, len(labels), classes).embeddings
        if embeddings is None:
            return FittedReadouts(method, classes, None, None)
        return FittedReadouts(
            method, classes, fit_probe(embeddings, labels, classes, device=device), embeddings.shape[1]
        )

    def rows(self, outputs: Outputs, events: int) -> ReadoutRows:
        """The class scores of each read-out, float32 as they are stored and scored.

        Raises:
            PluginError: when the outputs are not one row of finite numbers for each of the ``events``, or there are
                none.
        """
        found = outputs.checked(self.method, events, self.classes, self.embedding_size)
        rows: ReadoutRows = {}
        if found.log_probabilities is not None:
            rows["head"] = found.log_probabilities
        if self.probe is not None:
            if found.embeddings is None:
                raise PluginError(f"method {self.method!r}: embed returned None after it had returned embeddings")
            probe, embeddings = self.probe, found.embeddings
            parts = [probe.log_probabilities(embeddings[part]).astype(np.float32) for part in _parts(events)]
            rows["probe"] = np.concatenate(parts)
        if not rows:
            raise PluginError(f"method {self.method!r}: its model has neither embed nor log_probabilities")
        return rows

    def validate(self, outputs: Outputs, labels: Int64) -> Validation:
        """Accuracy of each read-out on the source's validation events (E,)."""
        rows = self.rows(outputs, len(labels))
        return Validation(**{name: float(np.mean(r.argmax(axis=1) == labels)) for name, r in rows.items()})

    def shuffled_outputs(
        self, session: TrainingSession, events: Events, key: bytes, name: str, folder: Path | None = None
    ) -> Outputs:
        """Have events judged in an order that only the holder of the key knows; the rows come back in theirs.

        Args:
            session: the training, which is given the events alone, :data:`EVENTS_AT_A_TIME` of them.
            events: E test events of one shift point.
            key, name: see :func:`nubench.evaluation.handout.keyed_order`.
            folder: on whose disk large arrays are put; None for the system's temporary folder.

        Raises:
            NubenchError: what the model raises; also when an array is not one row of finite numbers an event.
        """
        order = keyed_order(key, name, len(events))
        rows = OutputRows(len(events), Path(tempfile.gettempdir()) if folder is None else folder)
        for part in _parts(len(events)):
            index = order[part]
            made = session.outputs(events.select(index))
            size = self.embedding_size or rows.embedding_size
            rows.put(index, made.checked(self.method, len(index), self.classes, size), self.method)
        return rows.whole()

    def predictions(self, rows: ReadoutRows, event_id: Int64) -> PointPredictions:
        """Put the ids (E,) to what the read-outs say about the test events of one shift point.

        Raises:
            PluginError: when class scores are no logarithms of normalised probabilities.
        """
        try:
            return PointPredictions(event_id, rows)
        except ValueError as error:
            raise PluginError(f"method {self.method!r}: {error}") from error

    @property
    def probe_converged(self) -> bool | None:
        """Whether the solver of the probe reached its tolerance; None without a probe."""
        return None if self.probe is None else self.probe.converged


def _parts(events: int) -> Iterator[slice]:
    """Cut E events into parts; there is one, of none, where there are none."""
    for first in range(0, max(1, events), EVENTS_AT_A_TIME):
        yield slice(first, min(first + EVENTS_AT_A_TIME, events))


@dataclass(frozen=True)
class Evaluator:
    """A fitted model in this process with its read-outs: for trying a method on events at hand.

    Attributes:
        model: the fitted model.
        readouts: fitted on the source's training events.
    """

    model: Model
    readouts: FittedReadouts

    @staticmethod
    def of(method: str, model: Model, data: TrainingView) -> Evaluator:
        """Fit the probe of a model on the source's training events.

        Raises:
            PluginError: when the model's embeddings have the wrong shape or are not finite.
        """
        train = Outputs(model.embed(data.train), None)
        return Evaluator(model, FittedReadouts.fit(method, len(data.classes), train, data.train_labels))

    def validate(self, data: TrainingView) -> Validation:
        """Accuracy of each read-out on the source's validation events."""
        return self.readouts.validate(Outputs(*self.model.outputs(data.val)), data.val_labels)

    def score(self, test: LabelledEvents, classes: int) -> Readouts:
        """Score every read-out on labelled events of C classes.

        Raises:
            PluginError: when the model returns something else than one row of finite numbers an event.
        """
        ids = test.truth.event_id
        readouts = replace(self.readouts, classes=classes)
        rows = readouts.rows(Outputs(*self.model.outputs(test.events)), len(test))
        known = TestEvents.union([(ids, test.labels)])
        return readouts_from(readouts.predictions(rows, ids), known, probe_converged=self.readouts.probe_converged)
