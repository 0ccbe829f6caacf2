from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nubench.containers import Events, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.methods import Context, Method, TrainingView
from nubench.progress import SilentProgress
from nubench_plugins.summary_features import (
    MinimumSubtracted,
    ShapeOnly,
    SummaryFeatures,
    VoxelCount,
    charge_summaries,
    shape_summaries,
)

VARIANTS = [SummaryFeatures, ShapeOnly, MinimumSubtracted, VoxelCount]


@pytest.fixture
def source(synthetic_events: Callable[..., LabelledEvents]) -> LabelledEvents:
    return synthetic_events(200, 1)


def _scores(method: type[SummaryFeatures], source: LabelledEvents, events: Events) -> np.ndarray:
    data = TrainingView(
        ("a", "b", "c"), source.events, source.labels, source.events, source.labels,
        Normalisation(offset=0, scale=1, unit="ADC counts", how="test"), 0.38, method.name, None,
    )  # fmt: skip
    context = Context(0, torch.device("cpu"), "smoke", "tiny", "native", Path(), SilentProgress())
    scores = method(method.Config()).fit(data, context).log_probabilities(events)
    assert scores is not None
    return scores


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_returns_normalised_scores(
    variant: type[SummaryFeatures], source: LabelledEvents
) -> None:
    scores = _scores(variant, source, source.events)
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert np.mean(scores.argmax(1) == source.labels) > 0.8


@pytest.mark.parametrize(
    ("variant", "blind_to_scale", "blind_to_offset"),
    [
        (SummaryFeatures, False, False),
        (ShapeOnly, True, True),
        (VoxelCount, True, True),
        (MinimumSubtracted, False, True),
    ],
)
def test_what_each_variant_is_blind_to(
    variant: type[SummaryFeatures], source: LabelledEvents, blind_to_scale: bool, blind_to_offset: bool
) -> None:
    scores = _scores(variant, source, source.events)
    stretched = replace(source.events, features=(source.events.features - 80) * 4)
    offset = replace(source.events, features=source.events.features + 32)
    assert np.array_equal(scores, _scores(variant, source, stretched)) == blind_to_scale
    assert np.allclose(scores, _scores(variant, source, offset), atol=1e-3) == blind_to_offset


def _one_event(coords: np.ndarray, charge: np.ndarray) -> Events:
    return Events(np.array([0, len(coords)]), coords.astype(np.int32), charge[:, None].astype(np.float32))


def test_summaries_of_a_straight_line_by_hand() -> None:
    coords = np.stack([np.arange(9), np.zeros(9), np.zeros(9)], axis=1)
    charge = np.array([10.0, 10, 10, 10, 10, 10, 10, 10, 28])
    event = _one_event(coords, charge)
    shape, of_charge = shape_summaries(event)[0], charge_summaries(event, charge)[0]
    # The variance of 0..8 is 60/9; the voxels stand in the blocks 0-3, 4-7 and 8.
    expected = [np.log(9), np.log1p(np.sqrt(60 / 9)), 0, 0, np.log(5), 3, np.log(3), 0]
    assert shape == pytest.approx(expected, abs=1e-6)
    distance = np.abs(np.arange(9) - 4)
    expected = [12, np.sqrt(32), 10, 10, 13.6, 28, np.corrcoef(distance, charge)[0, 1]]
    assert of_charge == pytest.approx(expected, abs=1e-6)


def test_an_event_s_summaries_do_not_depend_on_its_neighbours(source: LabelledEvents) -> None:
    together = np.column_stack(
        [shape_summaries(source.events), charge_summaries(source.events, source.events.features[:, 0].astype(float))]
    )
    for event in (0, 57, 199):
        alone = source.events.select(np.array([event]))
        row = np.column_stack([shape_summaries(alone), charge_summaries(alone, alone.features[:, 0].astype(float))])
        assert row[0] == pytest.approx(together[event], rel=1e-9, abs=1e-9)


def test_one_voxel_has_finite_summaries() -> None:
    event = _one_event(np.zeros((1, 3)), np.array([75.0]))
    assert np.isfinite(shape_summaries(event)).all()
    assert np.isfinite(charge_summaries(event, np.array([75.0]))).all()


def test_the_variants_are_methods_of_their_own() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert all(issubclass(variant, Method) and not variant.uses_backbone for variant in VARIANTS)
