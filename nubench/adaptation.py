"""What the methods that see target events share: settings, the views of a step, and a classifier of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from pydantic import Field
from torch import nn

from nubench.augment import Augmentation, augment
from nubench.backbone import Backbone
from nubench.containers import Events, Int64
from nubench.methods import Context, TrainingConfig, TrainingView
from nubench.sparse.batch import SparseBatch, concatenate
from nubench.training import Step, TrainingRecord, train


class AdaptationConfig(TrainingConfig):
    """Settings that all of them have."""

    augmented: bool = Field(True, description="the augmentations of classifier-augmented on every event shown")
    grn: bool = Field(False, description="global response normalisation in the backbone; off as in classifier")


class SourceClassifier(NamedTuple):
    """A network trained on the source: backbone, linear head, and the record of its training."""

    backbone: Backbone
    head: nn.Linear
    record: TrainingRecord


def new_classifier(data: TrainingView, config: AdaptationConfig, context: Context) -> tuple[Backbone, nn.Linear]:
    """Build backbone and linear head with weights that follow from the seed."""
    backbone = context.build_backbone(grn=config.grn)
    return backbone, nn.Linear(backbone.embedding_size, len(data.classes)).to(context.device)


def train_source_classifier(
    data: TrainingView, config: AdaptationConfig, context: Context, fraction: float
) -> SourceClassifier:
    """Minimise the cross entropy on the source, L = - (1/B) sum_i log softmax(W f(x_i) + b)[y_i].

    Nothing here depends on the target: the first target trains, the others load what it left in
    ``context.source_directory``.

    Args:
        data: the source events.
        config: budget, optimiser and network.
        context: seed, device and folder.
        fraction: of the budget ``config.views`` that this training gets.
    """
    backbone, head = new_classifier(data, config, context)

    def loss(step: Step) -> torch.Tensor:
        views = augmented(step.batch, step, data, config)
        return nn.functional.cross_entropy(head(backbone(views)), step.labels)

    record = train(
        {"backbone": backbone, "head": head},
        loss,
        data,
        with_views(config, fraction),
        # Snapshots are those of a method's last training.
        replace(context, directory=context.source_directory, snapshots=context.snapshots if fraction == 1 else 0),
    )
    return SourceClassifier(backbone, head, record)


def with_views(config: AdaptationConfig, fraction: float) -> AdaptationConfig:
    """The same settings with a part of the budget."""
    return config.model_copy(update={"views": max(1, round(config.views * fraction))})


def augmented(batch: SparseBatch, step: Step, data: TrainingView, config: AdaptationConfig) -> SparseBatch:
    """The batch with the step's random augmentations, or as it is when the settings say so."""
    return augment(batch, step.generator, Augmentation.for_data(data)) if config.augmented else batch


def source_and_target(step: Step, data: TrainingView, config: AdaptationConfig) -> SparseBatch:
    """2B views: first the B source events of a step, then its B target events."""
    assert step.target is not None
    return augmented(concatenate(step.batch, step.target), step, data, config)


def draw_labelled(step: Step, events: Events, labels: Int64, data: TrainingView) -> tuple[SparseBatch, torch.Tensor]:
    """Draw as many events as a step has, with replacement: (B events, features normalised), (B,) labels."""
    generator, device = step.generator, step.labels.device
    drawn = torch.randint(len(events), (step.batch.size,), generator=generator, device=device).cpu().numpy()
    batch = SparseBatch.from_events(events, drawn, data.normalisation.offset, data.normalisation.scale)
    return batch.to(device), torch.from_numpy(labels[drawn]).to(device)


def joined(records: Sequence[TrainingRecord]) -> TrainingRecord:
    """One record of trainings that followed one another."""
    history: list[tuple[int, float]] = []
    shown = 0
    for record in records:
        history += [(shown + views, loss) for views, loss in record.history]
        shown += record.views
    return TrainingRecord(
        steps=sum(record.steps for record in records),
        events=sum(record.events for record in records),
        views=shown,
        seconds=round(sum(record.seconds for record in records), 3),
        history=history,
    )
