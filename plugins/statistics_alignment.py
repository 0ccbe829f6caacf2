"""Alignment of feature statistics after the training, as adaptive batch normalisation does it.

Li et al. 2016, arXiv:1603.04779, replace the moments in every batch normalisation by the target's. This backbone has no
batch normalisation. In its place stands a map of each channel c behind each stage of the backbone, and behind
the maximum over the event::

    x'_c = mean_s,c + (x_c - mean_t,c) * std_s,c / std_t,c

mean_s and std_s are moments over the voxels (behind the maximum: over the events) of source events in the trained
network, mean_t and std_t those of target events with all earlier maps in place. Nothing is trained on the target.

It assumes the same mixture of classes in both domains: all that differs in the moments is put on the detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

import nubench
from nubench.adaptation import AdaptationConfig, train_source_classifier
from nubench.backbone import Backbone
from nubench.containers import Events, Float32
from nubench.methods import Context, Method, Model, TrainingView
from nubench.sparse.batch import SparseBatch
from nubench.training import NetworkModel

EVENTS_A_BATCH = 256


class StatisticsConfig(AdaptationConfig):
    """Settings of the alignment of statistics."""

    layers: Literal["stages", "embedding"] = Field(
        "stages", description="map the features behind every stage and the embedding, or the embedding alone"
    )
    events: int = Field(2000, ge=2, description="at most so many events of each domain give the moments")


class StatisticsAlignment(Method):
    """A source classifier whose features are given the source's moments at the target."""

    name = "statistics-alignment"
    title = "source classifier, moments of its features matched to the source's afterwards"
    target_access = "unlabelled"
    ranked_by = "head"
    Config = StatisticsConfig
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}

    def fit(self, data: TrainingView, context: Context) -> AlignedModel:
        """Train on the source, then measure and map."""
        config: StatisticsConfig = self.config
        backbone, head, record = train_source_classifier(data, config, context, fraction=1.0)
        source = self._batches(data.train, data, context)
        target = self._batches(data.target, data, context)
        aligned = align(backbone.eval(), source, target, stages=config.layers == "stages")
        return AlignedModel(NetworkModel(aligned, data, context, record, head))

    def _batches(self, events: Events, data: TrainingView, context: Context) -> list[SparseBatch]:
        drawn = np.random.default_rng(context.seed).permutation(len(events))[: self.config.events]
        offset, scale = data.normalisation.offset, data.normalisation.scale
        return [
            SparseBatch.from_events(events, drawn[first : first + EVENTS_A_BATCH], offset, scale).to(context.device)
            for first in range(0, len(drawn), EVENTS_A_BATCH)
        ]


class AlignedModel(Model):
    """The network with its maps in place.

    It gives no embeddings: those of source events, which the probe is fitted on, would be mapped as the target's.
    """

    def __init__(self, network: NetworkModel) -> None:
        self._network = network

    def log_probabilities(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        return self._network.log_probabilities(events)

    @property
    def number_of_parameters(self) -> int:
        """Trained parameters of backbone and head."""
        return self._network.number_of_parameters

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the backbone alone."""
        return self._network.backbone_parameters

    @property
    def training_record(self) -> Mapping[str, Any]:
        """The record of the training on the source."""
        return self._network.training_record


class Moments(NamedTuple):
    """Mean and standard deviation of C channels, (C,) each."""

    mean: Tensor
    std: Tensor


class Aligned(nn.Module):
    """A module whose output (N, C) is mapped from the moments that it has to those that are wanted."""

    scale: Tensor
    shift: Tensor

    def __init__(self, inner: nn.Module, wanted: Moments, found: Moments) -> None:
        super().__init__()
        self.inner = inner
        # A channel that never changes can be shifted, not scaled.
        scale = torch.where(found.std > 0, wanted.std / found.std, 1.0)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", wanted.mean - found.mean * scale)

    def forward(self, *inputs: Any) -> Tensor:
        """What the module gives, mapped."""
        output: Tensor = self.inner(*inputs)
        return output * self.scale + self.shift


def align(backbone: Backbone, source: Sequence[SparseBatch], target: Sequence[SparseBatch], stages: bool) -> Aligned:
    """Put maps into a backbone, in place, and one behind it.

    Args:
        backbone: in evaluation mode.
        source, target: batches of events of the two domains.
        stages: also behind each stage; otherwise behind the backbone alone.
    """
    levels = len(backbone.stages) if stages else 0
    wanted = measure(backbone, [*backbone.stages[:levels], backbone], source)
    for level in range(levels):
        [found] = measure(backbone, [backbone.stages[level]], target)
        backbone.stages[level] = Aligned(backbone.stages[level], wanted[level], found)
    [found] = measure(backbone, [backbone], target)
    return Aligned(backbone, wanted[-1], found)


@torch.inference_mode()
def measure(backbone: Backbone, modules: Sequence[nn.Module], batches: Sequence[SparseBatch]) -> list[Moments]:
    """The moments of the outputs of some of a backbone's modules over all rows of all batches."""
    sums: list[Any] = [0.0] * len(modules)

    def observer(number: int) -> Any:
        def observe(module: nn.Module, inputs: Any, output: Tensor) -> None:
            rows = output.double()
            sums[number] = sums[number] + torch.stack(
                [torch.full_like(rows[0], len(rows)), rows.sum(0), (rows**2).sum(0)]
            )

        return observe

    hooks = [module.register_forward_hook(observer(number)) for number, module in enumerate(modules)]
    for batch in batches:
        backbone(batch)
    for hook in hooks:
        hook.remove()
    moments = []
    for count, first, second in sums:
        mean = first / count
        moments.append(Moments(mean.float(), (second / count - mean.square()).clamp_min(0).sqrt().float()))
    return moments


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [StatisticsAlignment]
