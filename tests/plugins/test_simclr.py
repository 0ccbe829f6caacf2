from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nubench.containers import LabelledEvents
from nubench.errors import NubenchError, PluginError
from nubench.evaluation.scoring import Evaluator
from nubench.methods import Context, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench.training import NetworkModel
from nubench_plugins.simclr import SimCLR, SimCLRTarget
from training_views import training_view

Make = Callable[..., LabelledEvents]
BUDGET = {"views": 256, "batch_size": 64, "learning_rate": 3e-3}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def view(synthetic_events: Make) -> TrainingView:
    source, val = synthetic_events(192, 1), synthetic_events(48, 2)
    return training_view(source, val, synthetic_events(96, 3).events, method="simclr")


def _fit(method: type[SimCLR], view: TrainingView, directory: Path, **settings: float) -> NetworkModel:
    directory.mkdir(exist_ok=True)
    context = Context(3, torch.device("cpu"), "smoke", "tiny", "native", directory, SilentProgress())
    return method(make_config(method, PROFILES["smoke"], BUDGET | settings)).fit(view, context)


@pytest.mark.parametrize("method", [SimCLR, SimCLRTarget])
def test_training_without_labels_helps_the_probe(
    method: type[SimCLR], view: TrainingView, synthetic_events: Make, tmp_path: Path
) -> None:
    test = synthetic_events(300, 4)

    def accuracy(model: NetworkModel) -> float:
        scores = Evaluator.of(method.name, model, view).score(test, 3).get("probe")
        assert scores is not None
        return scores.accuracy

    untrained = _fit(method, view, tmp_path / "untrained", views=64, learning_rate=1e-9)
    model = _fit(method, view, tmp_path / "trained", views=6400)
    assert accuracy(model) > accuracy(untrained) + 0.1
    assert model.log_probabilities(view.val) is None
    assert model.training_record["events"] == 3200


def test_no_label_and_no_target_event_is_used_on_the_source(view: TrainingView, tmp_path: Path) -> None:
    model = _fit(SimCLR, view, tmp_path / "first")
    other = replace(view, train_labels=np.roll(view.train_labels, 1), _target=None)
    again = _fit(SimCLR, other, tmp_path / "second")
    assert np.array_equal(model.embed(view.val), again.embed(view.val))


def test_the_target_alone_trains_simclr_target(view: TrainingView, synthetic_events: Make, tmp_path: Path) -> None:
    model = _fit(SimCLRTarget, view, tmp_path / "first")
    other_source = synthetic_events(192, 8)
    other = replace(view, train=other_source.events, train_labels=other_source.labels)
    assert np.array_equal(model.embed(view.val), _fit(SimCLRTarget, other, tmp_path / "second").embed(view.val))
    other = replace(view, _target=synthetic_events(96, 9).events)
    assert not np.allclose(model.embed(view.val), _fit(SimCLRTarget, other, tmp_path / "third").embed(view.val))


def test_target_access_is_declared_and_needed(view: TrainingView, tmp_path: Path) -> None:
    assert (SimCLR.target_access, SimCLRTarget.target_access) == ("none", "unlabelled")
    with pytest.raises(PluginError, match="target_access"):
        _fit(SimCLRTarget, replace(view, _target=None), tmp_path)


def test_fewer_target_events_than_a_batch_are_refused(view: TrainingView, tmp_path: Path) -> None:
    few = replace(view, _target=view.target.select(np.arange(31)))
    with pytest.raises(NubenchError, match="a batch of 32 events is larger than the 31"):
        _fit(SimCLRTarget, few, tmp_path)
