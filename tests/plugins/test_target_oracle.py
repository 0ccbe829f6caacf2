from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from shifted_domain import accuracy, fit, small_context, small_view

from nubench.errors import PluginError
from nubench_plugins.target_oracle import TargetOracle

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_never_ranked() -> None:
    assert TargetOracle.target_access == "labelled"
    assert not TargetOracle.ranked


@pytest.mark.parametrize("source", [True, False])
def test_it_learns_the_target(source: bool, tmp_path: Path) -> None:
    model = fit(TargetOracle, small_view(TargetOracle, 3.0), small_context(tmp_path), source=source)
    assert accuracy(model, displaced=3.0) > 0.97
    assert (accuracy(model) > 0.97) or not source


def test_labels_that_are_not_given_cannot_be_read(tmp_path: Path) -> None:
    unlabelled = replace(small_view(TargetOracle), _target_labels=None)
    with pytest.raises(PluginError, match="reads the labels of target events"):
        fit(TargetOracle, unlabelled, small_context(tmp_path), views=640)
