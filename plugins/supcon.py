"""Supervised contrastive learning, eq. 2 of arXiv:2502.07724.

Two augmented views of every event go through backbone and projection head; for an anchor i among the 2B views,
with s_ij the cosine similarity of the projections and t the temperature::

    L_i = - log  ( sum_{j != i} w_ij exp(s_ij / t) )  /  ( sum_{j != i} exp(s_ij / t) )

    w_ij = 1      where j is the other view of the same event
           alpha  where j is another event of the same class
           0      elsewhere

The loss is the mean over anchors. alpha = 0 is SimCLR's NT-Xent (eq. 1), alpha = 1 the published setting. The
projection head is dropped afterwards: a probe on the frozen backbone ranks the method.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.sparse.batch import concatenate
from nubench.training import NetworkModel, Step, train


class SupConConfig(TrainingConfig):
    """Settings of supervised contrastive learning."""

    temperature: float = Field(0.1, gt=0, description="t of the loss")
    alpha: float = Field(1.0, ge=0, le=1, description="weight of same-class pairs; same-event pairs weigh 1")


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
            projected = projection(backbone(views))
            return supervised_contrastive_loss(
                projected, step.labels.repeat(2), self.config.temperature, self.config.alpha
            )

        modules = {"backbone": backbone, "projection": projection}
        record = train(modules, loss, data, self.config, context, views_per_event=2)
        return NetworkModel(backbone, data, context, record)


def supervised_contrastive_loss(
    projected: torch.Tensor, labels: torch.Tensor, temperature: float, alpha: float
) -> torch.Tensor:
    """Mean over anchors of the loss in this file's docstring; memory grows with (2B)^2.

    Args:
        projected: (2B, D); row i and row i + B are the views of one event. Any norm, also zero.
        labels: (2B,) int64.
        temperature: t.
        alpha: weight of same-class pairs.

    Returns:
        A scalar, float32 or float64.
    """
    # Exponentials of s / t reach e^20 at small t: never in half precision.
    projected = projected if projected.dtype == torch.float64 else projected.float()
    unit = nn.functional.normalize(projected, dim=1)
    logits = unit @ unit.T / temperature
    views = len(logits)
    itself = torch.eye(views, dtype=torch.bool, device=logits.device)
    same_event = itself.roll(views // 2, dims=1)
    weight = alpha * (labels[:, None] == labels[None, :]).to(logits.dtype)
    weight = weight.masked_fill(same_event, 1.0).masked_fill(itself, 0.0)
    # log(0) = -inf drops a pair from the numerator; the pair of views keeps it from being empty.
    positive = torch.logsumexp(logits + weight.log(), dim=1)
    every = torch.logsumexp(logits.masked_fill(itself, -torch.inf), dim=1)
    return (every - positive).mean()


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [SupCon]
