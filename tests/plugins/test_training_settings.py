"""Settings of every training, seen through the methods: mixed precision and early stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shifted_domain import small_context, small_view

from nubench.methods import Method
from nubench_plugins.classifier import AugmentedClassifier, Classifier
from nubench_plugins.dann import Dann
from nubench_plugins.entropy import Entropy
from nubench_plugins.feature_alignment import Coral, Mmd
from nubench_plugins.pseudo_label import PseudoLabel
from nubench_plugins.simclr import SimCLR, SimCLRTarget
from nubench_plugins.supcon import SupCon
from nubench_plugins.target_oracle import TargetOracle

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS: list[type[Method]] = [
    AugmentedClassifier,
    Classifier,
    Coral,
    Dann,
    Entropy,
    Mmd,
    PseudoLabel,
    SimCLR,
    SimCLRTarget,
    SupCon,
    TargetOracle,
]


def _record(method: type[Method], directory: Path, **settings: Any) -> Any:
    config = method.Config(**{"views": 2560, "batch_size": 64, "learning_rate": 5e-3, **settings})
    return method(config).fit(small_view(method, displaced=1.0), small_context(directory)).training_record


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_train_in_mixed_precision(method: type[Method], tmp_path: Path) -> None:
    losses = [loss for _, loss in _record(method, tmp_path, precision="bf16")["history"]]
    assert np.isfinite(losses).all()
    if method in (AugmentedClassifier, Classifier, SimCLR, SimCLRTarget, SupCon, TargetOracle):
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_stop_early_when_asked(method: type[Method], tmp_path: Path) -> None:
    # No step changes anything that is scored, but for rounding: the first validation is the best.
    still = {"learning_rate": 1e-12, "schedule": "constant", "weight_decay": 0.0}
    if "adaptation_learning_rate" in method.Config.model_fields:
        still["adaptation_learning_rate"] = 1e-12
    whole = _record(method, tmp_path / "whole", **still)["steps"]
    stopped = _record(method, tmp_path / "stopped", early_stop=2, **still)["steps"]
    assert 0 < stopped < 0.75 * whole
