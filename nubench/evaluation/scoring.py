"""Scores of a fitted model: this module holds the test labels, the model is only ever handed events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nubench.containers import Events, Float32, LabelledEvents
from nubench.errors import PluginError
from nubench.evaluation.probe import Probe, fit_probe
from nubench.methods import Model, TrainingView
from nubench.result_schema import Readouts, Scores, Validation


@dataclass(frozen=True)
class Evaluator:
    """A fitted model with its probe, ready to be scored at any shift point.

    Attributes:
        method: name of the method, for messages.
        model: the fitted model.
        probe: fitted on the frozen embeddings of the source's training events, or None without embeddings.
        embedding_size: D, or None without embeddings.
    """

    method: str
    model: Model
    probe: Probe | None
    embedding_size: int | None

    @staticmethod
    def of(method: str, model: Model, data: TrainingView) -> Evaluator:
        """Fit the probe of a model on the source's training events.

        Raises:
            PluginError: when the model's embeddings have the wrong shape or are not finite.
        """
        embeddings = _checked(method, "embed", model.embed(data.train), len(data.train), None)
        if embeddings is None:
            return Evaluator(method, model, None, None)
        return Evaluator(method, model, fit_probe(embeddings, data.train_labels), embeddings.shape[1])

    def validate(self, data: TrainingView) -> Validation:
        """Accuracy of each read-out on the source's validation events."""
        accuracies = {
            name: float(np.mean(scores.argmax(axis=1) == data.val_labels))
            for name, scores in self._log_probabilities(data.val, len(data.classes)).items()
        }
        return Validation(**accuracies)

    def score(self, test: LabelledEvents, classes: int) -> Readouts:
        """Score every read-out on the test events of one shift point.

        Raises:
            PluginError: when the model returns something else than one row of finite numbers an event.
        """
        scores = self._log_probabilities(test.events, classes)
        return Readouts(**{name: Scores.measure(test.labels, rows) for name, rows in scores.items()})

    def _log_probabilities(self, events: Events, classes: int) -> dict[str, np.typing.NDArray[np.floating]]:
        found: dict[str, np.typing.NDArray[np.floating]] = {}
        head = _checked(self.method, "log_probabilities", self.model.log_probabilities(events), len(events), classes)
        if head is not None:
            found["head"] = head
        if self.probe is not None:
            embeddings = _checked(self.method, "embed", self.model.embed(events), len(events), self.embedding_size)
            if embeddings is None:
                raise PluginError(f"method {self.method!r}: embed returned None after it had returned embeddings")
            found["probe"] = self.probe.log_probabilities(embeddings)
        if not found:
            raise PluginError(f"method {self.method!r}: its model has neither embed nor log_probabilities")
        return found


def _checked(method: str, call: str, rows: Float32 | None, events: int, columns: int | None) -> Float32 | None:
    if rows is None:
        return None
    found = np.asarray(rows)
    if found.ndim != 2 or len(found) != events or (columns is not None and found.shape[1] != columns):
        expected = f"({events}, {columns or 'D'})"
        raise PluginError(f"method {method!r}: {call} returned an array of shape {found.shape}; expected {expected}")
    wrong = int(np.count_nonzero(~np.isfinite(found)))
    if wrong:
        raise PluginError(f"method {method!r}: {call} returned {wrong} numbers that are not finite")
    return found.astype(np.float32, copy=False)
