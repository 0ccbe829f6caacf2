from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nubench.containers import Events, LabelledEvents
from nubench.feature_maps import with_features
from nubench.methods import Context, Method, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench_plugins.alignment import (
    MinimumSubtraction,
    MomentAlignment,
    QuantileAlignment,
    moment_map,
    quantile_knots,
    quantile_map,
    smallest,
    subtract_smallest,
)
from training_views import training_view

Make = Callable[..., LabelledEvents]
METHODS: list[type[Method]] = [MinimumSubtraction, MomentAlignment, QuantileAlignment]

counts = st.lists(st.integers(0, 255), min_size=2, max_size=60)
scales, offsets = st.floats(0.25, 4), st.floats(-90, 90)


def _event(features: list[float] | np.ndarray) -> Events:
    """One event of a row of voxels."""
    coords = np.zeros((len(features), 3), np.int32)
    coords[:, 0] = np.arange(len(features))
    return with_features(
        Events(np.array([0, len(features)]), coords, np.zeros((len(features), 1), np.float32)), features
    )


@given(counts, scales, offsets)
def test_moments_undo_an_affine_change(values: list[int], scale: float, offset: float) -> None:
    source, target = _event(values), _event(np.array(values) * scale + offset)
    assert np.allclose(moment_map(target, source)(target).features, source.features, atol=2e-3)


@given(counts, scales, offsets, st.integers(2, 100))
def test_quantiles_undo_an_affine_change(values: list[int], scale: float, offset: float, quantiles: int) -> None:
    source, target = _event(values), _event(np.array(values) * scale + offset)
    assert np.allclose(quantile_map(target, source, quantiles)(target).features, source.features, atol=2e-3)


@given(counts, counts, st.integers(2, 100))
def test_the_quantile_map_is_monotone(target: list[int], source: list[int], quantiles: int) -> None:
    knots, values = quantile_knots(np.array(target, np.float32), np.array(source, np.float32), quantiles)
    assert np.all(np.diff(knots) >= 0)
    assert np.all(np.diff(values) >= 0)
    every = _event(np.arange(256))
    mapped = quantile_map(_event(target), _event(source), quantiles)(every).features[:, 0]
    assert np.all(np.diff(mapped) >= -1e-4)
    assert np.isfinite(mapped).all()


@pytest.mark.parametrize("align", [moment_map, lambda target, source: quantile_map(target, source, 100)])
def test_nothing_changes_where_target_and_source_agree(
    align: Callable[[Events, Events], Callable[[Events], Events]], synthetic_events: Make
) -> None:
    events = synthetic_events(30, 5).events
    assert np.allclose(align(events, events)(events).features, events.features, atol=1e-4)


def test_quantiles_undo_what_is_monotone_and_moments_do_not() -> None:
    rng = np.random.default_rng(2)
    bent = _event(np.sqrt(rng.gamma(4.0, 10.0, 20_000)))
    source = _event(rng.gamma(4.0, 10.0, 20_000))
    by_quantiles, by_moments = quantile_map(bent, source, 100)(bent), moment_map(bent, source)(bent)
    levels = np.linspace(0.02, 0.98, 25)
    wanted = np.quantile(source.features, levels)
    assert np.allclose(np.quantile(by_quantiles.features, levels), wanted, rtol=0.03)
    assert not np.allclose(np.quantile(by_moments.features, levels), wanted, rtol=0.1)


def test_beyond_the_quantiles_the_end_slopes_go_on() -> None:
    source, target = _event(np.arange(100.0)), _event(2 * np.arange(100.0) + 50)
    far = _event([-150.0, 450.0])
    assert quantile_map(target, source, 10)(far).features[:, 0] == pytest.approx([-100, 200], abs=1e-3)


def test_what_was_clipped_stays_in_one_value_inside_the_source() -> None:
    charge = np.random.default_rng(4).normal(200, 30, 5000).round()
    source, target = _event(charge - 100), _event(np.minimum(charge, 220))
    mapped = quantile_map(target, source, 100)(target).features[:, 0]
    clipped = mapped[target.features[:, 0] == 220]
    assert len(np.unique(clipped)) == 1
    above = charge[charge >= 220] - 100
    assert np.quantile(above, 0.3) <= clipped[0] <= np.quantile(above, 0.7)
    free = target.features[:, 0] < 219
    assert np.allclose(mapped[free], charge[free] - 100, atol=0.6)


def test_a_target_of_a_single_value_is_shifted() -> None:
    source, target = _event([90.0, 90.0, 90.0]), _event([70.0, 70.0])
    assert moment_map(target, source)(target).features[:, 0].tolist() == [90, 90]
    assert quantile_map(target, source, 100)(_event([70.0, 71.0])).features[:, 0].tolist() == [90, 91]


def test_the_smallest_of_every_event_is_brought_to_one_level(synthetic_events: Make) -> None:
    events = synthetic_events(40, 6).events
    shifts = np.random.default_rng(7).integers(-60, 60, 40)
    shifted = with_features(events, events.features[:, 0] + np.repeat(shifts, events.voxels_per_event))
    assert np.allclose(smallest(subtract_smallest(events, 82.0)), 82)
    assert np.allclose(subtract_smallest(events, 82).features, subtract_smallest(shifted, 82).features, atol=1e-4)


def _affine(events: Events) -> Events:
    return with_features(events, 1.25 * events.features - 30)


@pytest.fixture
def view(synthetic_events: Make) -> TrainingView:
    source, val = synthetic_events(192, 1), synthetic_events(48, 2)
    return training_view(source, val, _affine(synthetic_events(400, 3).events), method="test")


def _fit(method: type[Method], view: TrainingView, directory: Path, source_directory: Path | None = None) -> object:
    for folder in (directory, source_directory or directory):
        folder.mkdir(exist_ok=True)
    context = Context(
        3,
        torch.device("cpu"),
        "smoke",
        "tiny",
        "native",
        directory,
        SilentProgress(),
        _source_directory=source_directory or directory,
    )
    config = make_config(method, PROFILES["smoke"], {"views": 1024, "batch_size": 32, "learning_rate": 5e-3})
    return method(config).fit(view, context)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", METHODS)
def test_the_methods_learn_and_undo_the_change_of_the_target(
    method: type[Method], view: TrainingView, tmp_path: Path, synthetic_events: Make
) -> None:
    model = _fit(method, view, tmp_path)
    test = synthetic_events(90, 4)
    # A slope is not undone by the subtraction: there the pedestal alone moves.
    pedestal_only = method is MinimumSubtraction
    moved = with_features(test.events, test.events.features - 30) if pedestal_only else _affine(test.events)
    scores = model.log_probabilities(moved)
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    # What is left when charge differs by a class's constant alone is the length of the track.
    assert np.mean(scores.argmax(1) == test.labels) > (0.45 if pedestal_only else 0.6)
    if pedestal_only:
        assert np.allclose(scores, model.log_probabilities(test.events), atol=1e-3)
    again = _fit(method, view, tmp_path)
    assert np.array_equal(again.log_probabilities(moved), scores)
    assert model.number_of_parameters > model.backbone_parameters > 0
    assert model.training_record["views"] == 1024
    # Embeddings of source events behind a map for the target would spoil the probe.
    assert (model.embed(test.events) is None) == (method is not MinimumSubtraction)


@pytest.mark.usefixtures("one_thread")
def test_the_source_is_trained_once_for_all_targets(view: TrainingView, tmp_path: Path, synthetic_events: Make) -> None:
    shared, test = tmp_path / "source", synthetic_events(20, 4).events
    first = _fit(MomentAlignment, view, tmp_path / "one", shared)
    written = (shared / "weights.safetensors").stat().st_mtime_ns
    other = synthetic_events(300, 8).events
    second = _fit(MomentAlignment, TrainingView(**{**view.__dict__, "_target": other}), tmp_path / "two", shared)
    assert (shared / "weights.safetensors").stat().st_mtime_ns == written
    assert not np.array_equal(first.log_probabilities(test), second.log_probabilities(test))


def test_only_the_subtraction_does_without_the_target() -> None:
    assert [method.target_access for method in METHODS] == ["none", "unlabelled", "unlabelled"]
