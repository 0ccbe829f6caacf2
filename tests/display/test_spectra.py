"""Sums over the events at a point, against sums by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nubench.containers import LabelledEvents
from nubench.display.spectra import (
    PointSummary,
    by_parameter,
    charge_bins,
    charge_spectrum,
    hits_by_energy,
    summarise,
)


def _summary(
    charges: np.ndarray, point: str = "nominal", strength: float = 0.0, moved: tuple[str, ...] = ()
) -> PointSummary:
    """Two events that share these hits."""
    values, counts = np.unique(charges.astype(np.float64), return_counts=True)
    hits = np.array([len(charges) // 2, len(charges) - len(charges) // 2])
    return PointSummary(point, strength, moved, 0, values, counts, hits, np.array([0, 1]), np.array([100.0, 200.0]))


def test_a_summary_is_what_the_events_hold(synthetic_events: Callable[..., LabelledEvents]) -> None:
    events = synthetic_events(40, 1)
    summary = summarise(events, "throw1", 1.5, ("gain",), dropped=3)
    features = events.events.features[:, 0]
    assert summary.mean_charge == pytest.approx(float(features.astype(np.float64).mean()))
    assert summary.hits_of_charge.sum() == len(features)
    assert summary.events == 40
    assert summary.hit_quantiles[1] == np.median(np.diff(events.events.offsets))
    low, _, high = summary.hit_quantiles
    ordered = np.sort(summary.hits)
    assert ordered[6] <= low <= ordered[7]  # 0.16 of 39 steps from the least to the most
    assert ordered[32] <= high <= ordered[33]


def test_no_events_have_no_mean() -> None:
    empty = PointSummary("far", 9.0, (), 5, *(np.zeros(0) for _ in range(5)))
    assert np.isnan(empty.mean_charge)
    assert np.isnan(empty.hit_quantiles).all()
    assert charge_spectrum(empty, np.array([0.0, 1.0])).tolist() == [0.0]
    with pytest.raises(ValueError, match="no hits"):
        charge_bins([empty])


@given(arrays(np.int64, st.integers(2, 200), elements=st.integers(0, 255)))
def test_whole_numbers_fill_bins_of_equal_many(charges: np.ndarray) -> None:
    edges, logarithmic = charge_bins([_summary(charges)])
    assert len(edges) <= 91
    if not logarithmic:
        assert np.all(edges == np.floor(edges) + 0.5)
        assert len(set(np.diff(edges))) == 1
    assert edges[0] < charges.min()
    inside = np.sum(charges < edges[-1])
    assert np.sum(charge_spectrum(_summary(charges), edges) * np.diff(edges)) == pytest.approx(inside / 2)
    assert inside >= 0.99 * len(charges)


def test_bins_are_shared_and_reach_over_all_points() -> None:
    edges, _ = charge_bins([_summary(np.arange(80, 130)), _summary(np.arange(140, 200), "throw2")])
    assert edges[0] < 80
    assert edges[-1] > 199


def test_a_long_tail_gets_a_logarithmic_axis() -> None:
    charges = np.concatenate([np.full(900, 4), np.full(90, 40), np.full(10, 1000)])
    edges, logarithmic = charge_bins([_summary(charges)])
    assert logarithmic
    assert np.all(np.diff(edges) >= 1)  # no bin between two whole numbers
    assert charge_spectrum(_summary(charges), edges) @ np.diff(edges) == pytest.approx(500)


def test_charges_with_fractions_have_even_bins() -> None:
    edges, logarithmic = charge_bins([_summary(np.linspace(1.25, 9.5, 50))])
    assert not logarithmic
    assert np.allclose(np.diff(edges), np.diff(edges)[0])
    assert (edges[0], edges[-1]) == (1.25, 9.5)


def test_hits_follow_the_energy() -> None:
    energy = np.linspace(100, 1000, 100)
    labels = np.arange(100) % 2
    hits = (energy * (1 + labels)).astype(np.int64)
    summary = PointSummary("nominal", 0.0, (), 0, np.ones(1), np.ones(1, np.int64), hits, labels, energy)
    for label in (0, 1):
        centres, (low, median, high) = hits_by_energy(summary, label)
        assert len(centres) == 5  # 50 events, 10 in a bin
        assert np.all((low < median) & (median < high))
        assert median == pytest.approx(centres * (1 + label), rel=0.01)


@pytest.mark.parametrize(("events", "bins"), [(0, 0), (4, 0), (5, 1), (19, 1), (20, 2), (1000, 10)])
def test_few_events_make_few_bins(events: int, bins: int) -> None:
    energy = np.linspace(50, 60, events)
    hits, labels = np.full(events, 7), np.zeros(events, np.int64)
    summary = PointSummary("nominal", 0.0, (), 0, np.ones(1), np.ones(1, np.int64), hits, labels, energy)
    centres, quantiles = hits_by_energy(summary, 0)
    assert (len(centres), quantiles.shape) == (bins, (3, bins))


def test_points_are_sorted_by_the_one_parameter_that_they_move() -> None:
    charges = np.arange(5)
    up, down = _summary(charges, "up", 1, ("gain",)), _summary(charges, "down", -1, ("gain",))
    noise = _summary(charges, "noise", 1, ("reset_noise",))
    grouped = by_parameter([up, noise, down])
    assert grouped is not None
    assert {name: [point.point for point in points] for name, points in grouped.items()} == {
        "gain": ["up", "down"],
        "reset_noise": ["noise"],
    }
    assert by_parameter([up, _summary(charges, "throw", 1, ("gain", "reset_noise"))]) is None
