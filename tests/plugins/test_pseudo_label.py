from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shifted_domain import accuracy, fit, small_context, small_view

from nubench_plugins.pseudo_label import PseudoLabel, surer_than, surest_of_each_class

pytestmark = pytest.mark.usefixtures("one_thread")

PROBABILITIES = np.array(
    [[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.05, 0.0, 0.95], [0.7, 0.2, 0.1]]
)
with np.errstate(divide="ignore"):
    SCORES = np.log(PROBABILITIES).astype(np.float32)


def test_which_events_are_kept_by_hand() -> None:
    # Four events are predicted as class 0 and two as class 2; nothing is as class 1.
    assert surest_of_each_class(SCORES, 0.5).tolist() == [0, 2, 4]
    assert surest_of_each_class(SCORES, 0.01).tolist() == [0, 4]
    assert surest_of_each_class(SCORES, 1.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert surer_than(SCORES, 0.75).tolist() == [0, 2, 4]
    assert surer_than(SCORES, 0.99).tolist() == []


def test_of_equally_sure_events_the_first_are_kept() -> None:
    assert surest_of_each_class(np.log(np.full((4, 2), 0.5, np.float32)), 0.5).tolist() == [0, 1]


def test_self_training_helps_on_the_target(tmp_path: Path) -> None:
    data = small_view(PseudoLabel, displaced=2.0)
    found = {}
    for weight in (0.0, 1.0):
        context = small_context(tmp_path / str(weight))
        model = fit(PseudoLabel, data, context, views=12800, adaptation_learning_rate=5e-3, weight=weight)
        found[weight] = accuracy(model, displaced=2.0)
    assert found[1.0] > found[0.0] + 0.1


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, [1600, 512, 512, 512]),
        ({"rounds": 1, "source_fraction": 0.75}, [2400, 800]),
        # Nothing is ever this sure after so short a training.
        ({"selection": "threshold", "threshold": 0.999999}, [1600]),
    ],
)
def test_the_budget_is_shared(settings: dict[str, Any], views: list[int], tmp_path: Path) -> None:
    context = small_context(tmp_path)
    model = fit(PseudoLabel, small_view(PseudoLabel), context, views=3200, batch_size=32, **settings)
    assert model.training_record["views"] == sum(views)
    assert len(list(tmp_path.glob("round*"))) == len(views) - 1
    shown = [views for views, _ in model.training_record["history"]]
    assert shown == sorted(shown)
    assert shown[-1] == sum(views)
