"""What labels of the target would give: a classifier trained on them. It stands on a board for orientation, unranked.

::

    L = CE(W f(x_t) + b, y_t)   [ + CE(W f(x_s) + b, y_s),  with source = true ]

Target events are those of the split ``adapt``, which are fewer than the source's: a method without target labels can do
better than the first term alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.adaptation import AdaptationConfig, augmented, draw_labelled, new_classifier
from nubench.methods import Context, Method, TrainingView
from nubench.sparse.batch import concatenate
from nubench.training import NetworkModel, Step, train


class TargetOracleConfig(AdaptationConfig):
    """Settings of the oracle."""

    source: bool = Field(False, description="train on as many source events as target events in each step")


class TargetOracle(Method):
    """A classifier that is given the target's labels."""

    name = "target-oracle"
    title = "cross entropy on labelled target events: what no method may do"
    target_access = "labelled"
    ranked_by = "head"
    ranked = False
    Config = TargetOracleConfig
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and head together."""
        config: TargetOracleConfig = self.config
        backbone, head = new_classifier(data, config, context)
        cross_entropy = nn.functional.cross_entropy

        def loss(step: Step) -> torch.Tensor:
            target, target_labels = draw_labelled(step, data.target, data.target_labels, data)
            if not config.source:
                return cross_entropy(head(backbone(augmented(target, step, data, config))), target_labels)
            views = augmented(concatenate(step.batch, target), step, data, config)
            of_source, of_target = head(backbone(views)).split(step.batch.size)
            return cross_entropy(of_source, step.labels) + cross_entropy(of_target, target_labels)

        modules = {"backbone": backbone, "head": head}
        record = train(modules, loss, data, config, context, views_per_event=2 if config.source else 1)
        return NetworkModel(backbone, data, context, record, head)


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [TargetOracle]
