"""Self-training: a source classifier goes on to learn from its own predictions for target events.

Pseudo-labels are Lee's (ICML 2013 workshop on challenges in representation learning), their balance over the
classes that of Zou et al. 2018, arXiv:1810.07911. In each round all target events are classified, the surest are kept
with the predicted class y' as label, and the training goes on with as many of them as of source events::

    L = CE(W f(x_s) + b, y) + weight * CE(W f(x_t) + b, y')

Kept is, of the events predicted as each class, the surest fraction (``balanced``; it grows from round to round), or
every event predicted with more than a probability (``threshold``).

Predictions cost a pass forward over the target events each round; like validation it is not counted as views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.adaptation import (
    AdaptationConfig,
    SourceClassifier,
    augmented,
    draw_labelled,
    joined,
    train_source_classifier,
    with_views,
)
from nubench.containers import Events, Float32, Int64
from nubench.methods import Context, Method, TrainingView
from nubench.sparse.batch import concatenate
from nubench.storage.files import make_folder
from nubench.training import NetworkModel, Step, TrainingRecord, train


class PseudoLabelConfig(AdaptationConfig):
    """Settings of self-training."""

    source_fraction: float = Field(
        0.5, gt=0, lt=1, description="of the views, for the source alone; rounds share the rest"
    )
    adaptation_learning_rate: float = Field(1e-3, gt=0, description="highest learning rate of each round")
    rounds: int = Field(3, ge=1, description="times that the target events are classified anew")
    weight: float = Field(1.0, ge=0, description="weight of the pseudo-labelled events beside the source's")
    selection: Literal["balanced", "threshold"] = Field("balanced", description="which events are kept")
    first_fraction: float = Field(0.2, gt=0, le=1, description="balanced: kept of each predicted class in round one")
    last_fraction: float = Field(0.5, gt=0, le=1, description="balanced: kept of each predicted class in the last")
    threshold: float = Field(0.95, ge=0, lt=1, description="threshold: smallest probability of a kept prediction")


class PseudoLabel(Method):
    """Self-training on the surest predictions."""

    name = "pseudo-label"
    title = "self-training: source classifier, then its own surest predictions on the target"
    target_access = "unlabelled"
    ranked_by = "head"
    Config = PseudoLabelConfig
    profiles = {
        "paper": {
            "learning_rate": 1e-4,
            "adaptation_learning_rate": 1e-4,
            "batch_size": 672,
            "weight_decay": 0.0,
            "schedule": "constant",
        }
    }

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train on the source, then round by round on both."""
        config: PseudoLabelConfig = self.config
        classifier = train_source_classifier(data, config, context, config.source_fraction)
        records = [classifier.record]
        for number in range(config.rounds):
            model = NetworkModel(classifier.backbone, data, context, joined(records), classifier.head)
            scores = model.log_probabilities(data.target)
            assert scores is not None
            kept = self._keep(scores, number)
            # A round in which no prediction is sure enough changes nothing.
            if len(kept):
                last = number + 1 == config.rounds
                round_context = replace(
                    context,
                    directory=context.directory / f"round{number + 1}",
                    snapshots=context.snapshots if last else 0,
                )
                make_folder(round_context.directory)
                targets, labels = data.target.select(kept), scores[kept].argmax(axis=1)
                records.append(self._train(classifier, targets, labels, data, round_context))
        return NetworkModel(classifier.backbone, data, context, joined(records), classifier.head)

    def _keep(self, scores: Float32, number: int) -> Int64:
        config: PseudoLabelConfig = self.config
        if config.selection == "threshold":
            return surer_than(scores, config.threshold)
        along = number / max(1, config.rounds - 1)
        return surest_of_each_class(scores, (1 - along) * config.first_fraction + along * config.last_fraction)

    def _train(
        self, classifier: SourceClassifier, targets: Events, labels: Int64, data: TrainingView, context: Context
    ) -> TrainingRecord:
        config: PseudoLabelConfig = self.config
        backbone, head, _ = classifier

        def loss(step: Step) -> torch.Tensor:
            target, pseudo_labels = draw_labelled(step, targets, labels, data)
            views = augmented(concatenate(step.batch, target), step, data, config)
            of_source, of_target = head(backbone(views)).split(step.batch.size)
            cross_entropy = nn.functional.cross_entropy
            return cross_entropy(of_source, step.labels) + config.weight * cross_entropy(of_target, pseudo_labels)

        share = with_views(config, (1 - config.source_fraction) / config.rounds)
        share = share.model_copy(update={"learning_rate": config.adaptation_learning_rate})
        return train({"backbone": backbone, "head": head}, loss, data, share, context, views_per_event=2)


def surest_of_each_class(scores: Float32, fraction: float) -> Int64:
    """Of the events predicted as each class, those with the highest probability.

    Args:
        scores: (E, C) logarithms of probabilities.
        fraction: kept of each class, rounded up.

    Returns:
        (K,) events, ascending.
    """
    predicted, sureness = scores.argmax(axis=1), scores.max(axis=1)
    kept = []
    for label in np.unique(predicted):
        events = np.flatnonzero(predicted == label)
        # Stable: of equally sure events the first stay.
        order = np.argsort(-sureness[events], kind="stable")
        kept.append(events[order[: int(np.ceil(fraction * len(events)))]])
    return np.sort(np.concatenate(kept))


def surer_than(scores: Float32, threshold: float) -> Int64:
    """The events (K,) whose predicted class is more probable than a threshold; scores (E, C) are logarithms."""
    return np.flatnonzero(np.exp(scores.max(axis=1)) > threshold)


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [PseudoLabel]
