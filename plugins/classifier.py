"""Supervised classifiers: cross entropy on the labelled source, plain and with augmentations.

The source-only reference of domain adaptation. arXiv:2502.07724 trains the augmented one with the augmentations of
the contrastive methods, so that only the objective differs::

    L = - (1/B) sum_i log softmax(W f(x_i) + b)[y_i]
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.training import NetworkModel, Step, train


class ClassifierConfig(TrainingConfig):
    """Settings of the classifiers."""

    grn: bool = Field(False, description="global response normalisation in the backbone; off, as published")


class Classifier(Method):
    """Cross entropy with a linear head on the backbone's embedding."""

    name = "classifier"
    title = "cross entropy on the source, no augmentation"
    ranked_by = "head"
    Config = ClassifierConfig
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}
    augmented = False

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and head together."""
        backbone = context.build_backbone(grn=self.config.grn)
        head = nn.Linear(backbone.embedding_size, len(data.classes)).to(context.device)
        augmentation = Augmentation.for_data(data)

        def loss(step: Step) -> torch.Tensor:
            batch = augment(step.batch, step.generator, augmentation) if self.augmented else step.batch
            return nn.functional.cross_entropy(head(backbone(batch)), step.labels)

        record = train({"backbone": backbone, "head": head}, loss, data, self.config, context)
        return NetworkModel(backbone, data, context, record, head=head)


class AugmentedClassifier(Classifier):
    """The same with three random augmentations of every event."""

    name = "classifier-augmented"
    title = "cross entropy on the source with the augmentations of the contrastive methods"
    augmented = True


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring both."""
    return [Classifier, AugmentedClassifier]
