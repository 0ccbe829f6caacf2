"""Entropy minimisation: Wang et al. 2021 (TENT), arXiv:2006.10726.

A classifier is trained on the source. Then only the scales and offsets of its normalisations (LayerNorm, and GRN if the
backbone has it) change, to make it surer of B unlabelled target events at a time, with p their predicted
probabilities::

    L    = (1/B) sum_i H(p_i) - diversity * H( (1/B) sum_i p_i )
    H(p) = - sum_c p_c log p_c

diversity = 0 is TENT. Its lowest value is reached when all events are given the same class, with certainty. The second
term, the information maximisation of Liang et al. 2020 (SHOT), arXiv:2002.08546, rules that out at diversity = 1; it
assumes that the classes are equally frequent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

import nubench
from nubench.adaptation import AdaptationConfig, joined, train_source_classifier, with_views
from nubench.backbone import Backbone, GlobalResponseNorm
from nubench.methods import Context, Method, TrainingView
from nubench.storage.files import make_folder
from nubench.training import NetworkModel, Step, train


class EntropyConfig(AdaptationConfig):
    """Settings of entropy minimisation."""

    source_fraction: float = Field(0.9, gt=0, lt=1, description="of the views, for the training on the source")
    adaptation_learning_rate: float = Field(1e-3, gt=0, description="highest learning rate on the target, as TENT's")
    diversity: float = Field(1.0, ge=0, description="weight of the entropy of the mean prediction; 0 is TENT")


class Entropy(Method):
    """Entropy minimisation in the normalisations' parameters."""

    name = "entropy"
    title = "source classifier, then its normalisations trained for sure and diverse predictions on the target"
    target_access = "unlabelled"
    ranked_by = "head"
    Config = EntropyConfig
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train on the source, then adapt."""
        config: EntropyConfig = self.config
        backbone, head, source_record = train_source_classifier(data, config, context, config.source_fraction)
        network = nn.ModuleList([backbone, head]).requires_grad_(False)
        norms = normalisations(backbone).requires_grad_(True)

        def loss(step: Step) -> Tensor:
            assert step.target is not None
            return entropy_loss(head(backbone(step.target)), config.diversity)

        adaptation = with_views(config, 1 - config.source_fraction)
        # Accuracy on the source is no reason to end the adaptation to the target.
        own = {"learning_rate": config.adaptation_learning_rate, "early_stop": 0}
        adaptation = adaptation.model_copy(update=own)
        target_context = replace(context, directory=context.directory / "adaptation")
        make_folder(target_context.directory)
        record = train({"normalisations": norms}, loss, data, adaptation, target_context, target=data.target)
        network.requires_grad_(True)
        return NetworkModel(backbone, data, context, joined([source_record, record]), head)


def normalisations(backbone: Backbone) -> nn.ModuleList:
    """The modules of a backbone that scale and offset features channel by channel."""
    return nn.ModuleList(m for m in backbone.modules() if isinstance(m, nn.LayerNorm | GlobalResponseNorm))


def entropy_loss(scores: Tensor, diversity: float) -> Tensor:
    """The loss in this file's docstring, in nats, from (B, C) scores before the softmax."""
    logarithms = scores.float().log_softmax(dim=1)
    # Through logarithms: the entropy of a probability that rounds to 0 would have no gradient.
    of_mean = torch.logsumexp(logarithms, dim=0) - math.log(len(scores))
    loss: Tensor = diversity * (of_mean.exp() * of_mean).sum() - (logarithms.exp() * logarithms).sum(dim=1).mean()
    return loss


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [Entropy]
