"""Training with a penalty on the distance between the embeddings of source and target: Deep CORAL and MMD.

With embeddings h_s of B labelled source events and h_t of B unlabelled target events, D numbers each::

    L = CE(W h_s + b, y) + weight * distance(h_s, h_t)

``coral``, Sun and Saenko 2016, arXiv:1607.01719, with covariance matrices C over the batch::

    distance = || C_s - C_t ||_F^2 / (4 D^2)       [ + || mean h_s - mean h_t ||^2 / D,  with means = true ]

``mmd``, Long et al. 2015, arXiv:1502.02791: the maximum mean discrepancy of Gretton et al. (JMLR 13, 2012), unbiased,
with a mean of Gaussian kernels whose widths lie around the median squared distance m of the batch::

    k(a, b)  = mean_q exp( - |a - b|^2 / (q m) ),   q = 1/4, 1/2, 1, 2, 4
    distance = mean_{i != j} k(s_i, s_j) + mean_{i != j} k(t_i, t_j) - 2 mean_{i, j} k(s_i, t_j)
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Final

import torch
from pydantic import Field
from torch import Tensor, nn

import nubench
from nubench.adaptation import AdaptationConfig, new_classifier, source_and_target
from nubench.methods import Context, Method, TrainingView
from nubench.training import NetworkModel, Step, train

WIDTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)


class AlignmentConfig(AdaptationConfig):
    """Settings of both."""

    weight: float = Field(1.0, ge=0, description="weight of the distance beside the cross entropy")


class CoralConfig(AlignmentConfig):
    """Settings of Deep CORAL."""

    means: bool = Field(False, description="also match the means; the publication matches covariances alone")


class FeatureAlignment(Method):
    """Cross entropy on the source and a distance between the embeddings of the domains."""

    target_access = "unlabelled"
    ranked_by = "head"
    # Moments of the batch: as many events of each domain in a step as the classifier has.
    profiles = {
        "smoke": {"batch_size": 256},
        "laptop": {"batch_size": 256},
        "standard": {"batch_size": 512},
        "paper": {"learning_rate": 1e-4, "batch_size": 1344, "weight_decay": 0.0, "schedule": "constant"},
    }

    @abc.abstractmethod
    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """A scalar from (B, D) and (B, D) embeddings."""

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and head together."""
        config: AlignmentConfig = self.config
        backbone, head = new_classifier(data, config, context)

        def loss(step: Step) -> Tensor:
            source, target = backbone(source_and_target(step, data, config)).split(step.batch.size)
            cross_entropy = nn.functional.cross_entropy(head(source), step.labels)
            # Differences of products of features: half precision, which autocast multiplies in, would drown them.
            with torch.autocast(source.device.type, enabled=False):
                return cross_entropy + config.weight * self.distance(source.float(), target.float())

        modules = {"backbone": backbone, "head": head}
        record = train(modules, loss, data, config, context, views_per_event=2, target=data.target)
        return NetworkModel(backbone, data, context, record, head)


class Coral(FeatureAlignment):
    """Correlation alignment."""

    name = "coral"
    title = "Deep CORAL: covariances of the embeddings matched to the target's"
    Config = CoralConfig

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """See :func:`coral_distance`."""
        distance = coral_distance(source, target)
        if self.config.means:
            distance = distance + (source.mean(0) - target.mean(0)).square().mean()
        return distance


class Mmd(FeatureAlignment):
    """Maximum mean discrepancy."""

    name = "mmd"
    title = "distributions of the embeddings matched to the target's: maximum mean discrepancy"
    Config = AlignmentConfig

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """See :func:`mmd_squared`."""
        return mmd_squared(source, target)


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of the covariances of (B, D) and (B', D) embeddings, over 4 D^2; B > 1."""
    return (source.T.cov() - target.T.cov()).square().sum() / (4 * source.shape[1] ** 2)


def mmd_squared(source: Tensor, target: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of (B, D) and (B', D) embeddings; B, B' > 1. May be negative.

    The widths of the kernels follow the batch and are constants to the gradient. Memory grows with (B + B')^2.
    """
    rows = torch.cat([source, target])
    # Not torch.cdist, whose gradient is infinite between equal rows.
    squares = rows.square().sum(1)
    distances = (squares[:, None] + squares[None, :] - 2 * rows @ rows.T).clamp_min(0)
    pairs = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    median = distances.detach()[pairs[0], pairs[1]].median().clamp_min(1e-12)
    kernels = torch.stack([torch.exp(-distances / (width * median)) for width in WIDTHS]).mean(0)
    own, other = kernels[: len(source), : len(source)], kernels[len(source) :, len(source) :]
    between = kernels[: len(source), len(source) :]
    return _mean_off_diagonal(own) + _mean_off_diagonal(other) - 2 * between.mean()


def _mean_off_diagonal(matrix: Tensor) -> Tensor:
    rows = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (rows * (rows - 1))


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring both."""
    return [Coral, Mmd]
