"""Saturation, threshold, and the masking of crosstalk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import poisson

from nubench.simulation.random_streams import event_key
from nubench.simulation.scintillator import ScintillatorParameters
from nubench.simulation.scintillator.photosensors import find_hits, fired_pixels, photosensors_of

KEY = np.uint64(event_key(np.uint64(3), np.uint64(5)))


def test_saturation_is_the_mean_number_of_different_pixels() -> None:
    random = np.random.default_rng(2)
    for photoelectrons in (100, 3000, 20_000):
        fired = [len(np.unique(random.integers(0, 8004, photoelectrons))) for _ in range(50)]
        assert fired_pixels(photoelectrons, 8004.0) == pytest.approx(np.mean(fired), abs=1 + 0.005 * np.mean(fired))
    assert [fired_pixels(n, 8004.0) for n in (0.0, 1.0, 3.0, 1e9)] == [0.0, 1.0, 3.0, 8004.0]
    assert fired_pixels(1e6, 0.0) == 1e6


def hits(light: float, from_track: bool, cubes: int = 4000, **settings: float) -> tuple[np.ndarray, np.ndarray]:
    """Cubes that are hit of many with the same light, and their photoelectrons."""
    found, counted, own = find_hits(
        np.arange(cubes),
        np.full(cubes, light),
        np.full(cubes, from_track),
        KEY,
        photosensors_of(ScintillatorParameters(**settings)),
    )
    assert np.all(own == from_track)
    return found, counted


def test_the_yield_counts_all_three_fibres() -> None:
    _, counted = hits(2.0, True, light_yield=20.0, mppc_pixels=0.0)
    assert counted.mean() == pytest.approx(120.0, abs=4 * np.sqrt(120 / 4000))
    assert counted.var() == pytest.approx(120.0, rel=0.1)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.5, 3.0, 8.0])
def test_the_threshold_is_the_smallest_hit(threshold: float) -> None:
    found, counted = hits(0.06, True, threshold=threshold)
    smallest = max(int(np.ceil(threshold)), 1)
    assert counted.min() == smallest
    expected = poisson.sf(smallest - 1, 0.06 * 84)
    assert len(found) / 4000 == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000))


def test_fewer_crosstalk_hits_are_a_part_of_more() -> None:
    levels = (0.0, 0.1, 0.25, 0.3, 0.4, 0.75, 1.0)
    kept = [set(hits(0.06, False, crosstalk=level)[0].tolist()) for level in levels]
    for fewer, more in itertools.pairwise(kept):
        assert fewer < more
    everything = len(kept[-1])
    assert [len(some) / everything for some in kept] == pytest.approx(levels, abs=0.03)
    assert not kept[0]


def test_the_mask_is_blind_to_the_charge_and_leaves_it_alone() -> None:
    every, counted = hits(0.06, False)
    some, counted_of_some = hits(0.06, False, crosstalk=0.5)
    assert np.array_equal(counted[np.isin(every, some)], counted_of_some)
    assert counted_of_some.mean() == pytest.approx(counted.mean(), abs=4 * counted.std() / np.sqrt(len(some)))


def test_the_mask_keeps_every_hit_of_a_track() -> None:
    assert np.array_equal(hits(0.06, True, crosstalk=0.0)[0], hits(0.06, True)[0])
