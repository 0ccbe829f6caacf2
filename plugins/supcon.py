"""Supervised contrastive learning, eq. 2 of arXiv:2502.07724, and the outer form of Khosla et al., arXiv:2004.11362.

Two augmented views of every event go through backbone and projection head; for an anchor i among the 2B views,
with s_ij the cosine similarity of the projections and t the temperature::

    in:   L_i = - log  ( sum_{j != i} w_ij exp(s_ij / t) )  /  ( sum_{k != i} exp(s_ik / t) )

    out:  L_i = - sum_{j != i} w_ij log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )  /  sum_{j != i} w_ij

    w_ij = 1      where j is the other view of the same event
           alpha  where j is another event of the same class
           0      elsewhere

The loss is the mean over anchors. The published setting is ``in`` with alpha = 1; alpha = 0 is SimCLR's NT-Xent (eq. 1)
in either form. The two differ in what the pairs of a class are worth: ``in`` is content with one close
partner of the class, ``out`` pulls at all of them alike. The projection head is dropped afterwards: a probe on the
frozen backbone ranks the method.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.losses import Variant, supervised_contrastive
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.sparse.batch import concatenate
from nubench.training import NetworkModel, Step, train


class SupConConfig(TrainingConfig):
    """Settings of supervised contrastive learning."""

    temperature: float = Field(0.1, gt=0, description="t of the loss")
    alpha: float = Field(1.0, ge=0, le=1, description="weight of same-class pairs; same-event pairs weigh 1")
    variant: Variant = Field("in", description="sum over pairs inside (eq. 2) or outside (Khosla's L_out) of the log")


class SupCon(Method):
    """Contrastive pre-training with labels."""

    name = "supcon"
    title = "supervised contrastive learning, probe on the frozen backbone"
    ranked_by = "probe"
    Config = SupConConfig
    # Negatives come from the batch: on small budgets twice the views of the other methods' batches.
    profiles = {
        "smoke": {"batch_size": 256},
        "laptop": {"batch_size": 256},
        "standard": {"batch_size": 512},
        # The published batch is 672 events, two views each.
        "paper": {"learning_rate": 1e-4, "batch_size": 1344, "weight_decay": 0.0, "schedule": "constant"},
    }

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and projection head; keep the backbone."""
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
            return supervised_contrastive(
                projection(backbone(views)),
                step.labels.repeat(2),
                self.config.temperature,
                self.config.alpha,
                self.config.variant,
            )

        modules = {"backbone": backbone, "projection": projection}
        record = train(modules, loss, data, self.config, context, views_per_event=2)
        return NetworkModel(backbone, data, context, record)


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [SupCon]
