"""VICReg: variance, invariance and covariance; Bardes, Ponce and LeCun, ICLR 2022, arXiv:2105.04906.

Z and Z' (B, D) are the projections of two random augmentations of B events, Cov the covariance over the events, and
std_j = sqrt(Var(Z_j) + 1e-4)::

    L = lambda * (1/B) sum_i |Z_i - Z'_i|^2 / D  +  mu * [v(Z) + v(Z')]  +  nu * [c(Z) + c(Z')]

    v(Z) = (1/D) sum_j max(0, 1 - std_j)         keeps the spread of every number at 1
    c(Z) = (1/D) sum_{j != k} Cov(Z)_jk^2        keeps the numbers uncorrelated

The published weights are lambda = mu = 25 and nu = 1; as in the authors' code the two terms of v are halved. The
projection is dropped after the training.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.sparse.batch import concatenate
from nubench.training import NetworkModel, Step, train

SMALLEST_VARIANCE = 1e-4


class VICRegConfig(TrainingConfig):
    """Settings of VICReg."""

    invariance: float = Field(25.0, ge=0, description="lambda, weight of the distance between the two views")
    variance: float = Field(25.0, ge=0, description="mu, weight of the spread of every number")
    covariance: float = Field(1.0, ge=0, description="nu, weight of the correlations between numbers")
    width: int = Field(256, ge=2, description="D, width of the projection")


class VICReg(Method):
    """Self-supervised pre-training without negative pairs."""

    name = "vicreg"
    title = "VICReg: same embedding for two augmentations, spread and decorrelated; probe on the frozen backbone"
    ranked_by = "probe"
    Config = VICRegConfig
    # The covariance needs batches that are not much smaller than the projection is wide.
    profiles = {name: {"batch_size": 512} for name in ("smoke", "laptop", "standard")}

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and projection without labels; keep the backbone."""
        config: VICRegConfig = self.config
        backbone = context.build_backbone()
        projection = nn.Sequential(
            nn.Linear(backbone.embedding_size, config.width),
            nn.LayerNorm(config.width),
            nn.ReLU(),
            nn.Linear(config.width, config.width),
        ).to(context.device)
        augmentation = Augmentation.for_data(data)

        def loss(step: Step) -> Tensor:
            views = concatenate(
                augment(step.batch, step.generator, augmentation),
                augment(step.batch, step.generator, augmentation),
            )
            first, second = projection(backbone(views)).float().chunk(2)
            return (
                config.invariance * nn.functional.mse_loss(first, second)
                + config.variance * (missing_spread(first) + missing_spread(second)) / 2
                + config.covariance * (correlation(first) + correlation(second))
            )

        modules = {"backbone": backbone, "projection": projection}
        record = train(modules, loss, data, config, context, views_per_event=2)
        return NetworkModel(backbone, data, context, record)


def missing_spread(rows: Tensor) -> Tensor:
    """How far the standard deviations of the columns of (B, D) fall short of 1, mean over the columns."""
    return torch.relu(1 - torch.sqrt(rows.var(dim=0) + SMALLEST_VARIANCE)).mean()


def correlation(rows: Tensor) -> Tensor:
    """Sum of the squared covariances between different columns of (B, D), over D."""
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Tell nubench what this package brings."""
    return [VICReg]
