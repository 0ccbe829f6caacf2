"""Calibrate the simulation to the target, then train on it: what an experiment would do.

1. Fit the settings of the front end to the unlabelled target events. Slope and offset of the ADC counts have a closed
   form, from quantiles of target against source. These, threshold, noises and rise time are then fitted together by
   simulating some source events again and again until moments of their hits agree with the target's. The equations,
   and which settings no event can tell apart, are at the top of :mod:`nubench.simulation.lartpc.fitting`.
2. Simulate all source events again with the fitted settings and new noise.
3. Train the augmented classifier on these, which keep their labels::

       L = - (1/B) sum_i log softmax(W f(x_i) + b)[y_i]

   Here x holds counts brought back to the nominal scale, (ADC - offset) slope_nominal / slope + offset_nominal, in
   training and at test, so that normalisation and augmentations are those of every other method.

The fit is kept as ``calibration.json`` in the folder of the training: each value with its error, and whether it comes
from the target or from the prior. A method cannot know the truth; :func:`report` puts both side by side for those who
do.

It needs the LArTPC with its true deposits, a source at the nominal point, and a target with the same mixture of
particles. What is no setting of the front end it can only absorb: see ``chi_squared`` of the fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import nn

import nubench
from nubench.adaptation import AdaptationConfig, augmented, new_classifier
from nubench.containers import Events
from nubench.errors import DataError
from nubench.feature_maps import MappedModel, with_features
from nubench.methods import Context, Method, TrainingView
from nubench.simulation.lartpc import LArTPCParameters
from nubench.simulation.lartpc.fitting import FittedDetector, fit_detector
from nubench.simulation.lartpc.scale import effective, scale_of
from nubench.simulation.resimulation import Resimulator, draw_seed
from nubench.sparse.batch import SparseBatch
from nubench.storage.checked_json import read_checked, write_checked
from nubench.training import NetworkModel, Step, train

NOMINAL = LArTPCParameters()
FIT_FILE = "calibration.json"
#: Ten settings take some 3 kB.
MOST_BYTES = 100_000
EVENTS_A_CHUNK = 500


class CalibrationConfig(AdaptationConfig):
    """Settings of the calibration."""

    events: int = Field(400, ge=50, description="source events that are simulated for each step of the fit")


class Calibration(Method):
    """The augmented classifier on the source as the fitted detector sees it."""

    name = "calibration"
    title = "front end fitted to the target's events, classifier trained on the source simulated with it"
    target_access = "unlabelled"
    ranked_by = "head"
    Config = CalibrationConfig
    # As for the classifiers.
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}

    def fit(self, data: TrainingView, context: Context) -> MappedModel:
        """Fit the detector, then train on what it makes of the source events."""
        config: CalibrationConfig = self.config
        truth = SourceTruth(data, context)
        detector = self._fitted(truth, data, context).detector(NOMINAL)
        backbone, head = new_classifier(data, config, context)

        def loss(step: Step) -> torch.Tensor:
            offset, scale = data.normalisation.offset, data.normalisation.scale
            events = truth.seen_by(detector)
            batch = SparseBatch.from_events(events, step.index, offset, scale).to(context.device)
            return nn.functional.cross_entropy(head(backbone(augmented(batch, step, data, config))), step.labels)

        record = train({"backbone": backbone, "head": head}, loss, data, config, context)
        network = NetworkModel(backbone, data, context, record, head)
        return MappedModel(network, lambda events: to_nominal_scale(events, detector), embeds=False)

    def _fitted(self, truth: SourceTruth, data: TrainingView, context: Context) -> FittedDetector:
        """The fit, made once and then read again; a damaged one is made anew, and comes out as it was."""
        file = context.directory / FIT_FILE
        if file.exists():
            try:
                return FittedDetector.model_validate(read_checked(file, MOST_BYTES))
            except (DataError, ValidationError) as error:
                context.progress.say(f"{file} cannot be used, the detector is fitted again: {error}")
        fitted = fit_detector(
            data.target,
            data.train,
            truth.resimulator,
            NOMINAL,
            events=self.config.events,
            seed=draw_seed(context.seed, 0, 0),
            progress=context.progress,
        )
        write_checked(file, fitted.model_dump(mode="json"))
        return fitted


class SourceTruth:
    """The true deposits of the source events, read when they are first needed: never by a finished training."""

    def __init__(self, data: TrainingView, context: Context) -> None:
        self._data = data
        self._context = context
        self._seen: Events | None = None

    @cached_property
    def resimulator(self) -> Resimulator[Any, LArTPCParameters, Events]:
        """See :meth:`nubench.methods.TrainingView.resimulator`."""
        return self._data.resimulator()

    def seen_by(self, detector: LArTPCParameters) -> Events:
        """All source events, in their order, simulated with a detector and brought to the nominal scale.

        They are made once. One without a voxel is as it is in the training set.
        """
        if self._seen is None:
            count = len(self._data.train)
            # One line and no bar of its own: it would stand in the training's.
            self._context.progress.say(f"simulating {count:,} source events with the fitted detector")
            seed = draw_seed(self._context.seed, 0, 1)
            chunks = []
            for index in np.array_split(np.arange(count), -(-count // EVENTS_A_CHUNK)):
                found = self.resimulator.events(index, [detector] * len(index), seed)
                chunks.append(to_nominal_scale(found, detector))
            self._seen = _without_empty(Events.concatenate(chunks), self._data.train)
        return self._seen


def _without_empty(events: Events, fallback: Events) -> Events:
    """Replace events without a voxel by those of ``fallback``."""
    where = np.arange(len(events))
    empty = np.flatnonzero(events.voxels_per_event == 0)
    where[empty] = len(events) + np.arange(len(empty))
    return Events.concatenate([events, fallback.select(empty)]).select(where) if len(empty) else events


def to_nominal_scale(events: Events, detector: LArTPCParameters) -> Events:
    """Give the ADC counts of a detector the nominal slope and offset."""
    nominal, found = scale_of(NOMINAL), scale_of(detector)
    charge = (events.features.astype(np.float64) - found.offset) / found.slope
    return with_features(events, nominal.slope * charge + nominal.offset)


def report(fitted: FittedDetector, truth: LArTPCParameters) -> str:
    """Set a fit against the detector that made the target events, as a Markdown table.

    Gain and pedestal of the truth are the effective ones, at nominal ``v_cm`` and ``v_ref``. The slope is in counts for
    1,000 electrons, the offset in counts; the pull is fitted minus true over the error.
    """
    reference = effective(truth, NOMINAL)
    scales = scale_of(NOMINAL), fitted.closed_form, fitted.closed_form_errors, scale_of(truth)
    lines = [
        "| | nominal | fitted | true | pull | known from |",
        "|---|---|---|---|---|---|",
        _row("slope, closed form", [1e3 * scale.slope for scale in scales], "target"),
        _row("offset, closed form", [scale.offset for scale in scales], "target"),
    ]
    for one in fitted.parameters:
        values = [one.nominal, one.value, one.error, float(getattr(reference, one.name))]
        lines.append(_row(f"`{one.name}`", values, "prior" if one.from_prior else "target"))
    return "\n".join(lines)


def _row(name: str, values: Sequence[float], source: str) -> str:
    nominal, fitted, error, true = values
    pull = (fitted - true) / error
    return f"| {name} | {nominal:.5g} | {fitted:.5g} ± {error:.2g} | {true:.5g} | {pull:+.1f} | {source} |"


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring the method."""
    return [Calibration]
