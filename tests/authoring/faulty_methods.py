"""Methods that each break the contract in one way, on a base that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from nubench.containers import Events, Float32
from nubench.methods import Context, Method, MethodConfig, Model, TrainingConfig, TrainingView
from nubench.training import NetworkModel, Step, train


class Sound(Method):
    """A linear head on the mean charge and the number of voxels; nothing is wrong with it."""

    name = "sound"
    title = "softmax regression on two numbers"
    ranked_by = "head"
    uses_backbone = False

    def fit(self, data: TrainingView, context: Context) -> Model:
        """A few steps of gradient descent, in NumPy."""
        rng = np.random.default_rng(context.seed)
        classes = len(data.classes)
        weights = rng.normal(0, 0.1, (3, classes))
        inputs = summarise(data.train)
        with context.progress.task("training", 10, "steps") as task:
            for _ in range(10):
                probabilities = np.exp(log_softmax(inputs @ weights))
                probabilities[np.arange(len(inputs)), data.train_labels] -= 1
                weights = weights - 0.1 * inputs.T @ probabilities / len(inputs)
                task.advance(1)
        return SoundModel(weights)


class SoundModel(Model):
    """The fitted regression."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def log_probabilities(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        return log_softmax(summarise(events) @ self.weights).astype(np.float32)


def summarise(events: Events) -> np.ndarray:
    """(E, 3): one, logarithm of the number of voxels, mean charge."""
    voxels = events.voxels_per_event
    charge = np.add.reduceat(events.features[:, 0].astype(np.float64), events.offsets[:-1]) / voxels
    return np.column_stack([np.ones(len(events)), np.log(voxels) / 4, (charge - 90) / 16])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Rows of normalised log-probabilities."""
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def with_model(change: Callable[[SoundModel, Events, Float32], Any]) -> type[Method]:
    """The sound method, with what its model returns changed."""

    class Changed(Sound):
        def fit(self, data: TrainingView, context: Context) -> Model:
            model = super().fit(data, context)
            honest = model.log_probabilities
            model.log_probabilities = lambda events: change(model, events, honest(events))  # type: ignore[method-assign]
            return model

    return Changed


class LooseConfig(MethodConfig):
    """Takes anything."""

    model_config = {"extra": "ignore"}


class NoConfig(BaseModel):
    """Not derived from what the contract asks for."""


class BoundedConfig(TrainingConfig):
    """As every training."""


class Loose(Sound):
    """Accepts settings that it does not have."""

    Config = LooseConfig


class Foreign(Sound):
    """Has settings of another kind."""

    Config = NoConfig  # type: ignore[assignment]


class MisspeltProfile(Sound):
    """Has settings for a profile that does not exist."""

    profiles = {"smok": {}}


class BadProfile(Sound):
    """Has settings for a profile that it refuses itself."""

    Config = BoundedConfig
    profiles = {"paper": {"learning_rate": -1}}


class RankedOracle(Sound):
    """Sees labels of the target and wants a rank."""

    target_access = "labelled"


class Crashing(Sound):
    """Does not get to the end."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Fail."""
        raise ZeroDivisionError("no luck")


class Nothing(Sound):
    """Returns no model."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Return something else."""
        return None  # type: ignore[return-value]


class Peeking(Sound):
    """Looks at the target without saying so, and goes on when that is refused."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Try to read."""
        with suppress(Exception):
            data.target  # noqa: B018
        return super().fit(data, context)


class Greedy(Peeking):
    """Declares events and takes labels."""

    target_access = "unlabelled"

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Read both."""
        data.target_labels  # noqa: B018
        return super().fit(data, context)


class Idle(Sound):
    """Declares what it never reads."""

    target_access = "unlabelled"


class Scribbling(Sound):
    """Normalises the events where they lie."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Fit, and write."""
        model = super().fit(data, context)
        data.train.features[:] -= 90
        return model


class WrongReadOut(Sound):
    """Ranked by a read-out that it does not have."""

    ranked_by = "probe"


class Restless(Sound):
    """Draws from a generator that nobody seeds."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Add noise."""
        model = super().fit(data, context)
        assert isinstance(model, SoundModel)
        model.weights = model.weights + np.random.default_rng().normal(0, 0.1, model.weights.shape)
        return model


class Astray(Sound):
    """Keeps a module on another device than it was told."""

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Fit, and add a module that does nothing."""
        model = super().fit(data, context)
        model.layer = nn.Linear(2, 2, device="meta")  # type: ignore[attr-defined]
        return model


class Forgetful(Method):
    """Averages its head's weights along the training outside the modules, which no checkpoint keeps."""

    name = "forgetful"
    title = "an average that a kill loses"
    ranked_by = "head"
    Config = TrainingConfig

    def fit(self, data: TrainingView, context: Context) -> Model:
        """Train a head on a frozen backbone, and return the average of its weights."""
        backbone = context.build_backbone()
        head = nn.Linear(backbone.embedding_size, len(data.classes))
        average = torch.zeros_like(head.weight)

        def loss(step: Step) -> torch.Tensor:
            with torch.no_grad():
                average.mul_(0.9).add_(head.weight, alpha=0.1)
            return nn.functional.cross_entropy(head(backbone(step.batch)), step.labels)

        record = train({"backbone": backbone, "head": head}, loss, data, self.config, context)
        with torch.no_grad():
            head.weight.copy_(average)
        return NetworkModel(backbone, data, context, record, head=head)
