"""SimCLR: contrastive learning without labels (arXiv:2002.05709), as in eq. 1 of arXiv:2502.07724.

Two augmented views of every event go through backbone and projection head; for an anchor i among the 2B views, with j
the other view of its event, s_ik the cosine similarity of the projections and t the temperature::

    L_i = - log  exp(s_ij / t)  /  ( sum_{k != i} exp(s_ik / t) )

The loss (NT-Xent) is the mean over anchors. It needs no labels, so it can be minimised over events of the target. The
paper does so, with one training for each target: that is ``simclr-target``. ``simclr`` is trained on the source and
sees no target; it is ``supcon`` at alpha = 0. In both the projection head is dropped afterwards, and a probe on the
frozen backbone, fitted on labelled source events, ranks the method.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.losses import nt_xent
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.sparse.batch import concatenate
from nubench.training import NetworkModel, Step, train


class SimCLRConfig(TrainingConfig):
    """Settings of SimCLR."""

    temperature: float = Field(0.1, gt=0, description="t of the loss")


class SimCLR(Method):
    """Contrastive pre-training on the source, without its labels."""

    name = "simclr"
    title = "contrastive learning without labels on the source, probe on the frozen backbone"
    ranked_by = "probe"
    Config = SimCLRConfig
    # Negatives come from the batch: on small budgets twice the views of the other methods' batches.
    profiles = {
        "smoke": {"batch_size": 256},
        "laptop": {"batch_size": 256},
        "standard": {"batch_size": 512},
        # The published batch is 672 events, two views each.
        "paper": {"learning_rate": 1e-4, "batch_size": 1344, "weight_decay": 0.0, "schedule": "constant"},
    }

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and projection head on the events of ``data.train``; keep the backbone."""
        backbone = context.build_backbone()
        width = backbone.embedding_size
        projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        projection.to(context.device)
        augmentation = Augmentation.for_data(data)

        def loss(step: Step) -> torch.Tensor:
            views = concatenate(
                augment(step.batch, step.generator, augmentation),
                augment(step.batch, step.generator, augmentation),
            )
            return nt_xent(projection(backbone(views)), self.config.temperature)

        modules = {"backbone": backbone, "projection": projection}
        record = train(modules, loss, data, self.config, context, views_per_event=2)
        return NetworkModel(backbone, data, context, record)


class SimCLRTarget(SimCLR):
    """The same on the unlabelled events of the target, as published."""

    name = "simclr-target"
    title = "contrastive learning on the target's unlabelled events, probe on the frozen backbone"
    target_access = "unlabelled"

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train on the events of the target; no label is read, so they get none."""
        no_labels = np.zeros(len(data.target), np.int64)
        return super().fit(replace(data, train=data.target, train_labels=no_labels), context)


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring both."""
    return [SimCLR, SimCLRTarget]
