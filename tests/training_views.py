"""What a method is handed, made of synthetic events."""

from __future__ import annotations

from nubench.containers import Events, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.methods import TrainingView


def training_view(
    source: LabelledEvents, val: LabelledEvents, target: Events | None = None, method: str = "mine"
) -> TrainingView:
    """Events of three classes with the charge of ``synthetic_events``."""
    return TrainingView(
        classes=("a", "b", "c"),
        train=source.events,
        train_labels=source.labels,
        val=val.events,
        val_labels=val.labels,
        normalisation=Normalisation(offset=90, scale=10, unit="ADC counts", how="test"),
        voxel_size_cm=0.38,
        _method=method,
        _target=target,
    )
