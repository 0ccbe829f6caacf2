"""What undoing the obvious explains: classifiers whose ADC counts are aligned before the network sees them.

Three rows that every method has to beat before it may be called robust. Each is the augmented classifier,

    L = - (1/B) sum_i log softmax(W f(x_i) + b)[y_i],

behind a map of the ADC counts x of the hits:

``minimum-subtraction``  x - (the event's smallest x) + c, in training and at test. It sees no target. c is the source's
                         median of the events' smallest x, which keeps the normalisation of the data set sensible.
``moment-alignment``     (x - mean_t) std_s / std_t + mean_s, with the moments over the hits of the unlabelled target
                         events (t) and of the source (s).
``quantile-alignment``   g(x), monotone, piecewise linear, with g(q_t(p)) = q_s(p) at quantiles p of target and source.

The last two train on the source alone, once for all targets, and map the test events. They assume that target
and source events are of the same kinds: what differs in the distribution is put on the detector.

Counts are whole numbers from 0 to 255. So the quantiles are mid-quantiles (see :mod:`nubench.quantiles`): both maps
undo an affine change exactly. What was clipped stays lost: all hits at 255, or at 0, are mapped to one value, that
of the quantile which the middle of them has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

import nubench
from nubench.adaptation import AdaptationConfig, train_source_classifier
from nubench.containers import Events, Float32, Float64
from nubench.feature_maps import FeatureMap, MappedModel, with_features
from nubench.methods import Context, Method, MethodConfig, TrainingView
from nubench.quantiles import mid_distribution
from nubench.training import NetworkModel

# As for the classifiers.
PROFILES = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}


class MinimumSubtraction(Method):
    """The augmented classifier on ADC counts above the event's smallest."""

    name = "minimum-subtraction"
    title = "augmented classifier on ADC minus the event's smallest: undoes a pedestal without seeing the target"
    ranked_by = "head"
    Config: ClassVar[type[MethodConfig]] = AdaptationConfig
    profiles = PROFILES

    def fit(self, data: TrainingView, context: Context) -> MappedModel:
        """Train on the mapped source events."""
        level = float(np.median(smallest(data.train)))

        def above_smallest(events: Events) -> Events:
            return subtract_smallest(events, level)

        mapped = replace(data, train=above_smallest(data.train), val=above_smallest(data.val))
        backbone, head, record = train_source_classifier(mapped, self.config, context, fraction=1.0)
        return MappedModel(NetworkModel(backbone, data, context, record, head), above_smallest, embeds=True)


class MomentAlignment(Method):
    """A source classifier; mean and spread of the target's ADC counts are brought to the source's."""

    name = "moment-alignment"
    title = "source classifier, mean and spread of the target's ADC matched to the source's"
    target_access = "unlabelled"
    ranked_by = "head"
    Config: ClassVar[type[MethodConfig]] = AdaptationConfig
    profiles = PROFILES

    def fit(self, data: TrainingView, context: Context) -> MappedModel:
        """Train on the source, once for all targets, and map the target."""
        backbone, head, record = train_source_classifier(data, self.config, context, fraction=1.0)
        return MappedModel(NetworkModel(backbone, data, context, record, head), self._map(data), embeds=False)

    def _map(self, data: TrainingView) -> FeatureMap:
        return moment_map(data.target, data.train)


class QuantileAlignmentConfig(AdaptationConfig):
    """Settings of the alignment of quantiles."""

    quantiles: int = Field(100, ge=2, description="quantiles that are matched, in the middle of equal shares")


class QuantileAlignment(MomentAlignment):
    """The same with the whole distribution of the ADC counts."""

    name = "quantile-alignment"
    title = "source classifier, quantiles of the target's ADC matched to the source's"
    Config = QuantileAlignmentConfig

    def _map(self, data: TrainingView) -> FeatureMap:
        config: QuantileAlignmentConfig = self.config
        return quantile_map(data.target, data.train, config.quantiles)


def smallest(events: Events) -> Float32:
    """The smallest feature of each event (E,)."""
    return np.minimum.reduceat(events.features[:, 0], events.offsets[:-1])


def subtract_smallest(events: Events, level: float) -> Events:
    """Shift every event such that its smallest feature is ``level``."""
    return with_features(
        events, events.features[:, 0] - np.repeat(smallest(events), events.voxels_per_event) + np.float32(level)
    )


def moment_map(target: Events, source: Events) -> FeatureMap:
    """The affine map that gives the target's features the mean and the standard deviation of the source's.

    Features that are all the same are shifted, not scaled.
    """
    found, wanted = (events.features.astype(np.float64) for events in (target, source))
    scale = float(wanted.std() / found.std()) if found.std() > 0 else 1.0
    found_mean, wanted_mean = float(found.mean()), float(wanted.mean())
    return lambda events: with_features(events, (events.features - found_mean) * scale + wanted_mean)


def quantile_map(target: Events, source: Events, quantiles: int) -> FeatureMap:
    """The monotone, piecewise linear map of the target's quantiles to the source's, its end pieces extended."""
    knots, values = quantile_knots(target.features[:, 0], source.features[:, 0], quantiles)
    slopes = np.diff(values) / np.diff(knots) if len(knots) > 1 else np.ones(1)

    def matched(events: Events) -> Events:
        x = events.features[:, 0].astype(np.float64)
        y = np.interp(x, knots, values)
        y += slopes[0] * np.minimum(x - knots[0], 0) + slopes[-1] * np.maximum(x - knots[-1], 0)
        return with_features(events, y)

    return matched


def quantile_knots(target: Float32, source: Float32, quantiles: int) -> tuple[Float64, Float64]:
    """Quantiles of target and source at the same levels, both strictly ascending.

    Args:
        target, source: (N,) values, with as many repeated as there are.
        quantiles: how many levels: (k + 1/2) / quantiles, drawn in to where both have quantiles between two values.

    Returns:
        (K,) and (K,), K at most ``quantiles`` and at least 1.
    """
    sides = [mid_distribution(*np.unique(side.astype(np.float64), return_counts=True)) for side in (target, source)]
    lowest = max(below[0] for _, below in sides)
    # Where one side has a single value the two may not overlap; then that one level is left.
    highest = max(lowest, min(below[-1] for _, below in sides))
    levels = np.unique(np.clip((np.arange(quantiles) + 0.5) / quantiles, lowest, highest))
    knots, values = (np.interp(levels, below, seen) for seen, below in sides)
    return knots, values


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring all three."""
    return [MinimumSubtraction, MomentAlignment, QuantileAlignment]
