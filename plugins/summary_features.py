"""Gradient boosting on 15 numbers an event: what a network has to beat, and what explains flat rows on a board.

Boosted trees (Friedman, Ann. Statist. 29 (2001) 1189), as scikit-learn's histograms fit them: with F_c(x) the sum of
the trees of class c, each new tree follows the gradient of::

    L = - (1/N) sum_i log softmax(F(x_i))[y_i]

and is weighted by the learning rate. ``voxel-count`` minimises the same L, with an L2 penalty and F linear.

The variants are there for honesty. ``shape-only`` and ``voxel-count`` never look at the charge, so that no shift of
the charge can hurt them: a row that is flat at their accuracy has shown nothing. ``minimum-subtracted`` subtracts from
every hit the event's smallest ADC, which undoes a shift of the pedestal: a method must beat it to have done more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import nubench
from nubench.containers import Events, Float32, Float64
from nubench.methods import Context, Method, MethodConfig, Model, TrainingView

SHAPE_FEATURES = (
    "log number of voxels",
    "log root mean square length",
    "width over length",
    "thickness over length",
    "log largest distance from the centre",
    "voxels per occupied 4^3 block",
    "log occupied 4^3 blocks",
    "skewness along the axis",
)
CHARGE_FEATURES = (
    "mean ADC",
    "standard deviation of ADC",
    "smallest ADC",
    "median ADC",
    "90th percentile of ADC",
    "largest ADC",
    "correlation of ADC with the distance from the centre",
)

EVENTS_A_CHUNK = 2000


class SummaryConfig(MethodConfig):
    """Settings of the gradient boosting."""

    iterations: int = Field(200, ge=1, description="boosting iterations")
    learning_rate: float = Field(0.1, gt=0, description="shrinkage of each iteration")
    leaves: int = Field(31, ge=2, description="largest number of leaves of a tree")


class SummaryFeatures(Method):
    """All 15 summaries."""

    name = "summary-features"
    title = "gradient boosting on 15 summaries of shape and charge"
    ranked_by = "head"
    uses_backbone = False
    Config: ClassVar[type[MethodConfig]] = SummaryConfig
    columns: slice = slice(None)
    subtract_minimum = False

    def fit(self, data: TrainingView, context: Context) -> SummaryModel:
        """Fit the trees on the source events."""
        trees = HistGradientBoostingClassifier(
            max_iter=self.config.iterations,
            learning_rate=self.config.learning_rate,
            max_leaf_nodes=self.config.leaves,
            early_stopping=False,
            random_state=context.seed,
        )
        return self._fitted(make_pipeline(trees), data)

    def _fitted(self, classifier: Pipeline, data: TrainingView) -> SummaryModel:
        model = SummaryModel(classifier, self.columns, self.subtract_minimum)
        classifier.fit(model.summaries(data.train), data.train_labels)
        return model


class ShapeOnly(SummaryFeatures):
    """The eight summaries that do not use the charge."""

    name = "summary-features-shape-only"
    title = "gradient boosting on 8 summaries of shape alone: blind to charge"
    columns = slice(0, len(SHAPE_FEATURES))


class MinimumSubtracted(SummaryFeatures):
    """All summaries of ADC minus the event's smallest."""

    name = "summary-features-minimum-subtracted"
    title = "gradient boosting on 15 summaries after subtracting the event's smallest ADC"
    subtract_minimum = True


class VoxelCount(SummaryFeatures):
    """The number of voxels alone."""

    name = "summary-features-voxel-count"
    title = "logistic regression on the number of voxels alone"
    columns = slice(0, 1)
    Config = MethodConfig

    def fit(self, data: TrainingView, context: Context) -> SummaryModel:
        """Fit a logistic regression."""
        return self._fitted(make_pipeline(StandardScaler(), LogisticRegression()), data)


class SummaryModel(Model):
    """A scikit-learn classifier on summaries."""

    def __init__(self, classifier: Pipeline, columns: slice, subtract_minimum: bool) -> None:
        self._classifier = classifier
        self._columns = columns
        self._subtract_minimum = subtract_minimum

    def log_probabilities(self, events: Events) -> Float32:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        probabilities = self._classifier.predict_proba(self.summaries(events))
        logarithms = np.log(np.clip(probabilities, 1e-12, None))
        normalised: Any = logarithms - np.logaddexp.reduce(logarithms, axis=1, keepdims=True)
        return np.asarray(normalised, dtype=np.float32)

    def summaries(self, events: Events) -> Float64:
        """The summaries (E, K) that this variant uses; memory holds a few thousand events at a time."""
        chunks = np.array_split(np.arange(len(events)), max(1, len(events) // EVENTS_A_CHUNK))
        return np.concatenate([self._summaries_of_all(events.select(chunk)) for chunk in chunks])

    def _summaries_of_all(self, events: Events) -> Float64:
        charge = events.features[:, 0].astype(np.float64)
        if self._subtract_minimum:
            charge = charge - np.repeat(np.minimum.reduceat(charge, events.offsets[:-1]), events.voxels_per_event)
        return np.column_stack([shape_summaries(events), charge_summaries(events, charge)])[:, self._columns]


def shape_summaries(events: Events) -> Float64:
    """The summaries (E, 8) of ``SHAPE_FEATURES``; every event has at least one voxel."""
    first, count = events.offsets[:-1], events.voxels_per_event
    event = np.repeat(np.arange(len(events)), count)
    coords = events.coords.astype(np.float64)
    centred = coords - (np.add.reduceat(coords, first) / count[:, None])[event]
    products = centred[:, :, None] * centred[:, None, :]
    variances, axes = np.linalg.eigh(np.add.reduceat(products, first) / count[:, None, None])
    thickness, width, length = np.sqrt(np.clip(variances, 0, None)).T
    along = np.sum(centred * axes[event, :, 2], axis=1)
    # The sign of an eigenvector means nothing, hence the absolute value.
    skewness = np.abs(np.add.reduceat(along**3, first) / count) / (length**3 + 1e-6)
    blocks = events.coords // 4
    order = np.lexsort((*blocks.T, event))
    keys = np.column_stack([event, blocks])[order]
    starts = np.concatenate([[True], np.any(keys[1:] != keys[:-1], axis=1)])
    occupied = np.bincount(keys[starts, 0], minlength=len(events))
    return np.column_stack(
        [
            np.log(count),
            np.log1p(length),
            width / (length + 1e-6),
            thickness / (length + 1e-6),
            np.log1p(np.maximum.reduceat(np.linalg.norm(centred, axis=1), first)),
            count / occupied,
            np.log(occupied),
            skewness,
        ]
    )


def charge_summaries(events: Events, charge: Float64) -> Float64:
    """The summaries (E, 7) of ``CHARGE_FEATURES`` for (N,) ADC counts."""
    first, count = events.offsets[:-1], events.voxels_per_event
    event = np.repeat(np.arange(len(events)), count)
    ascending = charge[np.lexsort((charge, event))]

    def mean(values: Float64) -> Float64:
        return np.asarray(np.add.reduceat(values, first) / count)

    def quantile(fraction: float) -> Float64:
        position = fraction * (count - 1)
        below = np.floor(position).astype(np.int64)
        above = np.minimum(below + 1, count - 1)
        low, high = ascending[first + below], ascending[first + above]
        return np.asarray(low + (position - below) * (high - low))

    coords = events.coords.astype(np.float64)
    centre = np.add.reduceat(coords, first) / count[:, None]
    distance = np.linalg.norm(coords - centre[event], axis=1)
    charge_offset = charge - mean(charge)[event]
    distance_offset = distance - mean(distance)[event]
    spread = np.sqrt(mean(charge_offset**2))
    return np.column_stack(
        [
            mean(charge),
            spread,
            quantile(0.0),
            quantile(0.5),
            quantile(0.9),
            quantile(1.0),
            mean(charge_offset * distance_offset) / (spread * np.sqrt(mean(distance_offset**2)) + 1e-9),
        ]
    )


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring all variants."""
    return [SummaryFeatures, ShapeOnly, VoxelCount, MinimumSubtracted]
