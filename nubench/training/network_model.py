"""The model that most trainings end in: a backbone, perhaps with a head; and how good one is on validation events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from nubench.backbone import number_of_parameters
from nubench.containers import Events, Float32, Int64
from nubench.errors import UsageError
from nubench.methods import Context, Model, TrainingView
from nubench.sparse.batch import SparseBatch
from nubench.training.checkpoints import TrainingRecord

_INFERENCE_BATCH: Final = 256


class NetworkModel(Model):
    """A fitted backbone, perhaps with a classification head on its embedding.

    Args:
        backbone: from sparse batches to (B, D) embeddings.
        data: for the normalisation of the features.
        context: for the device.
        record: of the training.
        head: from (B, D) to (B, C) scores, or None.
    """

    def __init__(
        self,
        backbone: nn.Module,
        data: TrainingView,
        context: Context,
        record: TrainingRecord,
        head: nn.Module | None = None,
    ) -> None:
        self._backbone = backbone.eval()
        self._head = head.eval() if head is not None else None
        self._normalisation = data.normalisation
        self._device = context.device
        self._record = record

    def embed(self, events: Events) -> Float32:
        """See :meth:`nubench.methods.Model.embed`."""
        return self._apply(events, None)[0]

    def log_probabilities(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        return None if self._head is None else self._apply(events, self._head)[1]

    def outputs(self, events: Events) -> tuple[Float32, Float32 | None]:
        """See :meth:`nubench.methods.Model.outputs`; one pass through the backbone."""
        return self._apply(events, self._head)

    @property
    def number_of_parameters(self) -> int:
        """Trained parameters of backbone and head."""
        return self.backbone_parameters + (number_of_parameters(self._head) if self._head is not None else 0)

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the backbone alone."""
        return number_of_parameters(self._backbone)

    @property
    def training_record(self) -> Mapping[str, Any]:
        """The record of the training as a plain mapping."""
        return asdict(self._record)

    @torch.inference_mode()
    def _apply(self, events: Events, head: nn.Module | None) -> tuple[Float32, Float32 | None]:
        embeddings, scores = [], []
        for first in range(0, len(events), _INFERENCE_BATCH):
            index = np.arange(first, min(first + _INFERENCE_BATCH, len(events)))
            batch = SparseBatch.from_events(events, index, self._normalisation.offset, self._normalisation.scale)
            rows = self._backbone(batch.to(self._device))
            embeddings.append(rows.float().cpu().numpy())
            if head is not None:
                scores.append(head(rows).log_softmax(dim=1).float().cpu().numpy())
        return np.concatenate(embeddings), np.concatenate(scores) if scores else None


def validation_score(modules: Mapping[str, nn.Module], data: TrainingView, context: Context) -> Callable[[], float]:
    """How good a network is on source validation events, as early stopping asks for it.

    Args:
        modules: those given to :func:`nubench.training.train`. With a ``"backbone"`` and a ``"head"`` the score is
            their accuracy. With a ``"backbone"`` alone it is :func:`nearest_mean_accuracy` of its embeddings.
        data: for the events.
        context: for the device.

    Raises:
        UsageError: when there is no module ``"backbone"``.
    """
    if "backbone" not in modules:
        raise UsageError(
            "early_stop has nothing to go by in a training without a module 'backbone'; early_stop=0 turns it off"
        )
    model = NetworkModel(modules["backbone"], data, context, TrainingRecord(0, 0, 0, 0.0), modules.get("head"))

    def score() -> float:
        embeddings, scores = model.outputs(data.val)
        if scores is None:
            return nearest_mean_accuracy(embeddings, data.val_labels)
        return float(np.mean(scores.argmax(axis=1) == data.val_labels))

    return score


def nearest_mean_accuracy(embeddings: Float32, labels: Int64) -> float:
    """The fraction of events that lie nearest to their own class's mean; directions are compared, not lengths.

    The means are those of every other event, for the events in between, and the other way around, so that no event is
    compared with itself.

    Args:
        embeddings: (E, D), E > 1.
        labels: (E,). A class without events in one half cannot be found in the other.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    halves = (slice(0, None, 2), slice(1, None, 2))
    right = 0
    for fitted, scored in (halves, halves[::-1]):
        classes = np.unique(labels[fitted])
        means = np.stack([unit[fitted][labels[fitted] == label].mean(axis=0) for label in classes])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        right += int(np.sum(classes[(unit[scored] @ means.T).argmax(axis=1)] == labels[scored]))
    return right / len(labels)
