"""Domain-adversarial training: Ganin et al., JMLR 17 (2016), arXiv:1505.07818, as arXiv:2502.07724 uses it.

A linear head tells the classes of source events, another one tells source from target. The backbone f is trained to
serve the first and to mislead the second: between it and the domain head the gradient is reversed and weighted::

    h    = f(x)                                      embeddings of B source events s and B target events t
    L    = CE(W h_s + b, y) + CE(V r(h_s) + c, 0) + CE(V r(h_t) + c, 1)
    r(h) = h,   dr/dh = - lambda                     gradient reversal

lambda is 1 as published by the latter, or ramps up along the training as in the former,
``lambda(p) = 2 / (1 + exp(-10 p)) - 1`` with p from 0 to 1.

Nothing bounds the embeddings, and the backbone can raise the domain head's loss by letting them grow. Where it does,
``normalised`` puts a LayerNorm without parameters behind the backbone: then only their direction can mislead.

The weights that are kept are those with the highest accuracy on source validation events. The sum L must not choose
them: the better the domains are mixed the higher it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.adaptation import AdaptationConfig, new_classifier, source_and_target
from nubench.methods import Context, Method, TrainingView
from nubench.training import NetworkModel, Step, train
from nubench.training.network_model import validation_score


class DannConfig(AdaptationConfig):
    """Settings of domain-adversarial training."""

    augmented: bool = Field(False, description="the augmentations of classifier-augmented; off, as published")
    reversal: float = Field(1.0, ge=0, description="lambda, or its value at the end of the ramp")
    reversal_schedule: Literal["constant", "ramp"] = Field("constant", description="lambda along the training")
    normalised: bool = Field(False, description="LayerNorm on the embedding, before both heads; off, as published")


class Dann(Method):
    """Domain-adversarial neural network with linear heads."""

    name = "dann"
    title = "domain-adversarial training with gradient reversal"
    target_access = "unlabelled"
    ranked_by = "head"
    Config = DannConfig
    profiles = {
        # Chosen on source validation: without it the network learns little, see docs/methods/domain-adaptation.md.
        "smoke": {"normalised": True},
        "laptop": {"normalised": True},
        "standard": {"normalised": True},
        # The published batch is 672 events of each domain.
        "paper": {"learning_rate": 1e-4, "batch_size": 1344, "weight_decay": 0.0, "schedule": "constant"},
    }

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and both heads; keep the backbone and the head for the classes."""
        config: DannConfig = self.config
        backbone, head = new_classifier(data, config, context)
        width = backbone.embedding_size
        norm = nn.LayerNorm(width, elementwise_affine=False) if config.normalised else nn.Identity()
        embed = nn.Sequential(backbone, norm)
        domain_head = nn.Linear(width, 2).to(context.device)

        def loss(step: Step) -> torch.Tensor:
            embeddings = embed(source_and_target(step, data, config))
            weight = reversal_weight(step.progress, config.reversal, config.reversal_schedule)
            source, target = domain_head(reverse_gradient(embeddings, weight)).split(step.batch.size)
            return (
                nn.functional.cross_entropy(head(embeddings[: step.batch.size]), step.labels)
                + nn.functional.cross_entropy(source, torch.zeros_like(step.labels))
                + nn.functional.cross_entropy(target, torch.ones_like(step.labels))
            )

        modules = {"backbone": backbone, "head": head, "domain_head": domain_head}
        accuracy = validation_score({"backbone": embed, "head": head}, data, context)
        record = train(modules, loss, data, config, context, views_per_event=2, target=data.target, select=accuracy)
        return NetworkModel(embed, data, context, record, head)


def reversal_weight(progress: float, reversal: float, schedule: Literal["constant", "ramp"]) -> float:
    """Lambda at a fraction of the training, in [0, 1]."""
    return reversal if schedule == "constant" else reversal * (2 / (1 + math.exp(-10 * progress)) - 1)


def reverse_gradient(features: torch.Tensor, weight: float) -> torch.Tensor:
    """The features themselves; gradients that come back through them are multiplied by ``-weight``."""
    reversed_features: torch.Tensor = _Reversal.apply(features, weight)  # type: ignore[no-untyped-call]
    return reversed_features


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [Dann]
