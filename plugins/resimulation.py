"""Re-simulation as augmentation: the same true deposits seen by other detectors, drawn at random.

Every training event is simulated ``draws`` times, each time with noise and a working point of its own, on the LArTPC a
throw of Table I of arXiv:2502.07724. Three methods train on these instead of the events themselves:

``resimulation``             the two views of a contrastive pair are two re-simulations of one event;
``resimulation-augmented``   they also get the random augmentations of the other contrastive methods;
``resimulation-classifier``  cross entropy on one re-simulation of each event, which is domain randomisation.

The contrastive loss is the mean over anchors i among the 2B views, with s_ij the cosine similarity of the projections
and t the temperature, of::

    L_i = - log  ( sum_{j != i} w_ij exp(s_ij / t) )  /  ( sum_{k != i} exp(s_ik / t) )

    w_ij = 1      where j is the other view of the same event
           alpha  where j is another event of the same class; 0 by default, so that no labels are used
           0      elsewhere

The idea is that of RS3L (Harris et al., Phys. Rev. D 111, 032010), with a fixed number of re-simulations as there. The
paper tried the first two: pairs of re-simulations alone gave it no useful features, and in addition to the
augmentations they were a marginal gain.

What is drawn is the very distribution that the target points of the shift ``throws`` come from. No method here sees
target events, but they are told how targets differ, which the others are not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from pydantic import Field
from torch import nn

import nubench
from nubench.augment import Augmentation, augment
from nubench.containers import Events, Int64
from nubench.losses import supervised_contrastive
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.sparse.batch import SparseBatch, concatenate
from nubench.training import NetworkModel, Step, train

EVENTS_A_CHUNK = 500


class Resimulations:
    """The re-simulations of all training events, made when the first batch is asked for.

    They follow from the training's seed and each event's id, so that a resumed training makes the same again. One
    without a voxel, where a throw has put the whole event below the threshold, is replaced by the event as it is in the
    training set.

    Args:
        data: the training events, which their detector must be able to simulate again.
        context: for the seed and the device.
        draws: how many re-simulations of each event.

    Raises:
        UsageError: when there is no re-simulation of these data; see :meth:`TrainingView.resimulator`.
    """

    def __init__(self, data: TrainingView, context: Context, draws: int) -> None:
        self._data = data
        self._context = context
        self._draws = draws
        self._made: tuple[Events, Int64] | None = None

    def batch(self, step: Step, number: int) -> list[SparseBatch]:
        """Take ``number`` different re-simulations of each event of a step, drawn from the step's generator.

        Returns:
            ``number`` batches with normalised features on the device, each of the step's events in their order.
        """
        if self._made is None:
            self._made = self._simulate()
        events, where = self._made
        chances = torch.rand((len(step.index), self._draws), generator=step.generator, device=self._context.device)
        chosen = chances.argsort(1)[:, :number].cpu().numpy()
        normalisation = self._data.normalisation
        return [
            SparseBatch.from_events(events, where[step.index, draw], normalisation.offset, normalisation.scale).to(
                self._context.device
            )
            for draw in chosen.T
        ]

    def _simulate(self) -> tuple[Events, Int64]:
        """Make all re-simulations, and a table (E, draws) of where in them each draw of an event is."""
        count = len(self._data.train)
        # One line and no bar of its own: it would stand in the training's.
        self._context.progress.say(f"simulating {count:,} training events again, {self._draws} times each")
        resimulator = self._data.resimulator()
        chunks = [
            resimulator.draws(np.arange(first, min(first + EVENTS_A_CHUNK, count)), self._context.seed, 0, self._draws)
            for first in range(0, count, EVENTS_A_CHUNK)
        ]
        drawn = Events.concatenate([chunk[draw] for draw in range(self._draws) for chunk in chunks])
        where = np.arange(len(drawn))
        empty = np.flatnonzero(drawn.voxels_per_event == 0)
        if len(empty):
            where[empty] = len(drawn) + np.arange(len(empty))
            drawn = Events.concatenate([drawn, self._data.train.select(empty % count)])
        return drawn, where.reshape(self._draws, count).T


class ResimulationConfig(TrainingConfig):
    """Settings of contrastive learning on re-simulations."""

    temperature: float = Field(0.1, gt=0, description="t of the loss")
    alpha: float = Field(0.0, ge=0, le=1, description="weight of same-class pairs: 0 no labels, 1 as supcon")
    draws: int = Field(4, ge=2, description="re-simulations of each event; a pair is any two of them")


class Resimulation(Method):
    """Contrastive pre-training on pairs of re-simulations."""

    name = "resimulation"
    title = "contrastive learning on pairs of re-simulations, probe on the frozen backbone"
    ranked_by = "probe"
    Config = ResimulationConfig
    # As for simclr and supcon.
    profiles = {
        "smoke": {"batch_size": 256},
        "laptop": {"batch_size": 256},
        "standard": {"batch_size": 512},
        "paper": {"learning_rate": 1e-4, "batch_size": 1344, "weight_decay": 0.0, "schedule": "constant"},
    }
    augmented = False

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and projection head; keep the backbone."""
        backbone = context.build_backbone()
        width = backbone.embedding_size
        projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        projection.to(context.device)
        resimulations = Resimulations(data, context, self.config.draws)
        augmentation = Augmentation.for_data(data)

        def loss(step: Step) -> torch.Tensor:
            first, second = resimulations.batch(step, 2)
            if self.augmented:
                first = augment(first, step.generator, augmentation)
                second = augment(second, step.generator, augmentation)
            projected = projection(backbone(concatenate(first, second)))
            return supervised_contrastive(projected, step.labels.repeat(2), self.config.temperature, self.config.alpha)

        modules = {"backbone": backbone, "projection": projection}
        record = train(modules, loss, data, self.config, context, views_per_event=2)
        return NetworkModel(backbone, data, context, record)


class AugmentedResimulation(Resimulation):
    """The same with three random augmentations of every view."""

    name = "resimulation-augmented"
    title = "contrastive learning on augmented pairs of re-simulations, probe on the frozen backbone"
    augmented = True


class ResimulationClassifierConfig(TrainingConfig):
    """Settings of the classifier on re-simulations."""

    draws: int = Field(4, ge=1, description="re-simulations of each event; each epoch shows one of them at random")
    augmented: bool = Field(False, description="add the random augmentations of classifier-augmented")
    grn: bool = Field(False, description="global response normalisation in the backbone; off, as in the classifiers")


class ResimulationClassifier(Method):
    """Cross entropy with a linear head on randomly re-simulated events.

    L = - (1/B) sum_i log softmax(W f(x_i) + b)[y_i]
    """

    name = "resimulation-classifier"
    title = "cross entropy on randomly re-simulated source events"
    ranked_by = "head"
    Config = ResimulationClassifierConfig
    # As for classifier.
    profiles = {"paper": {"learning_rate": 1e-4, "batch_size": 672, "weight_decay": 0.0, "schedule": "constant"}}

    def fit(self, data: TrainingView, context: Context) -> NetworkModel:
        """Train backbone and head together."""
        backbone = context.build_backbone(grn=self.config.grn)
        head = nn.Linear(backbone.embedding_size, len(data.classes)).to(context.device)
        resimulations = Resimulations(data, context, self.config.draws)
        augmentation = Augmentation.for_data(data)

        def loss(step: Step) -> torch.Tensor:
            (batch,) = resimulations.batch(step, 1)
            if self.config.augmented:
                batch = augment(batch, step.generator, augmentation)
            return nn.functional.cross_entropy(head(backbone(batch)), step.labels)

        record = train({"backbone": backbone, "head": head}, loss, data, self.config, context)
        return NetworkModel(backbone, data, context, record, head=head)


@nubench.hookimpl
def register_methods() -> Iterable[type[Method]]:
    """Bring all three."""
    return [Resimulation, AugmentedResimulation, ResimulationClassifier]
