"""Two small domains and a small network, in which what a method does to a shift is seen within a second.

An event is a handful of voxels with two features, which both tell its class. In the target the second is displaced or
stretched, as charge is by a shift of the electronics. A network trained on the source alone uses both, and how
badly it fails on the target depends on its first weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nubench.containers import Events, Int64
from nubench.datasets.cards import Normalisation
from nubench.methods import Context, Method, Model, TrainingView
from nubench.progress import Progress, SilentProgress
from nubench.sparse.batch import SparseBatch

VOXELS = 3
BLUR = 0.4


def draw_events(count: int, seed: int, displaced: float = 0.0, stretched: float = 1.0) -> tuple[Events, Int64]:
    """Events of two classes and their labels; the second feature is displaced and stretched."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    sign = 2.0 * labels - 1
    signal = sign + BLUR * rng.normal(size=count)
    stable = signal + 0.1 * rng.normal(size=count)
    moved = displaced + stretched * (signal + 0.1 * rng.normal(size=count))
    features = np.repeat(np.stack([stable, moved], axis=1), VOXELS, axis=0).astype(np.float32)
    coords = np.tile(np.arange(VOXELS)[:, None] * np.ones(3, int), (count, 1)).astype(np.int32)
    return Events(np.arange(count + 1) * VOXELS, coords, features), labels.astype(np.int64)


class SmallStage(nn.Module):
    """Linear, LayerNorm, GELU on each voxel, with the signature of a stage of the backbone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, features: Tensor, geometry: None) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return nn.functional.gelu(self.norm(self.linear(features)))


class SmallBackbone(nn.Module):
    """Two stages and the maximum over the event."""

    embedding_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([SmallStage(2, 16), SmallStage(16, 16)])

    def forward(self, batch: SparseBatch) -> Tensor:
        """(B, 16) embeddings."""
        features = batch.features
        for stage in self.stages:
            features = stage(features, None)
        return torch.segment_reduce(features, "max", lengths=batch.offsets.diff(), axis=0, unsafe=True)


class SmallContext(Context):
    """A training with the small network."""

    def build_backbone(self, **overrides: Any) -> Any:
        """Weights that follow from the seed."""
        torch.manual_seed(self.seed)
        return SmallBackbone()


def small_context(directory: Path, seed: int = 3, progress: Progress | None = None) -> SmallContext:
    """A training with the small network in a folder, which is made."""
    directory.mkdir(exist_ok=True, parents=True)
    return SmallContext(seed, torch.device("cpu"), "smoke", "tiny", "native", directory, progress or SilentProgress())


def small_view(method: type[Method], displaced: float = 0.0, stretched: float = 1.0) -> TrainingView:
    """What a method may see of the two domains."""
    train, train_labels = draw_events(512, 1)
    val, val_labels = draw_events(400, 2)
    target, target_labels = draw_events(256, 3, displaced, stretched)
    return TrainingView(
        classes=("a", "b"),
        train=train,
        train_labels=train_labels,
        val=val,
        val_labels=val_labels,
        normalisation=Normalisation(offset=0, scale=1, unit="ADC counts", how="test"),
        voxel_size_cm=0.38,
        _method=method.name,
        _target=target if method.target_access != "none" else None,
        _target_labels=target_labels if method.target_access == "labelled" else None,
    )


def fit(method: type[Method], data: TrainingView, context: Context, **settings: Any) -> Model:
    """Train on a small budget without augmentations."""
    small = {"views": 6400, "batch_size": 64, "learning_rate": 5e-3, "augmented": False}
    return method(method.Config(**{**small, **settings})).fit(data, context)


def accuracy(model: Model, displaced: float = 0.0, stretched: float = 1.0) -> float:
    """Fraction of other events whose class the model's head finds."""
    events, labels = draw_events(400, 4, displaced, stretched)
    scores = model.log_probabilities(events)
    assert scores is not None
    return float(np.mean(scores.argmax(axis=1) == labels))
