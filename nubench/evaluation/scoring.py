"""Scores of what a model returned: this module is handed labels, the model never is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nubench.containers import Events, Float32, Int64, LabelledEvents
from nubench.errors import NubenchError, PluginError
from nubench.evaluation.handout import Outputs, keyed_order
from nubench.evaluation.predictions import PointPredictions
from nubench.evaluation.probe import Probe, fit_probe
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.evaluation.trainee import TrainingSession
from nubench.methods import Model, TrainingView
from nubench.results.schema import ReadoutName, Readouts, Validation

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
            rows["probe"] = self.probe.log_probabilities(found.embeddings).astype(np.float32)
        if not rows:
            raise PluginError(f"method {self.method!r}: its model has neither embed nor log_probabilities")
        return rows

    def validate(self, outputs: Outputs, labels: Int64) -> Validation:
        """Accuracy of each read-out on the source's validation events (E,)."""
        rows = self.rows(outputs, len(labels))
        return Validation(**{name: float(np.mean(r.argmax(axis=1) == labels)) for name, r in rows.items()})

    def shuffled_outputs(self, session: TrainingSession, events: Events, key: bytes, name: str) -> Outputs:
        """Have events judged in an order that only the holder of the key knows; the rows come back in theirs.

        Args:
            session: the training, which is given the events alone.
            events: E test events of one shift point.
            key, name: see :func:`nubench.evaluation.handout.keyed_order`.

        Raises:
            NubenchError: what the model raises; also when an array is not one row of finite numbers an event.
        """
        order = keyed_order(key, name, len(events))
        outputs = session.outputs(events.select(order))
        checked = outputs.checked(self.method, len(events), self.classes, self.embedding_size)
        return checked.select(np.argsort(order))

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
