"""The front end against a plain, dense, double-precision one, and its digitiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dense_front_end import dense_front_end
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from nubench.simulation.lartpc.frontend import adc_of_charge, front_end_of, hits_above_pedestal, read_pixel
from nubench.simulation.lartpc.parameters import LArTPCParameters

NOMINAL = front_end_of(LArTPCParameters())
NOISELESS = NOMINAL._replace(reset_noise=0.0, uncorrelated_noise=0.0, discriminator_noise=0.0)
READ_TICKS = 3201


@njit
def read_all(charge, first_tick, end_tick, key, front_end):  # type: ignore[no-untyped-def]
    hits = np.zeros(len(charge), np.int64)
    tick = np.zeros((len(charge), 10), np.int64)
    sampled = np.zeros((len(charge), 10))
    for pixel in range(len(charge)):
        hits[pixel] = read_pixel(
            charge[pixel], first_tick, 0, end_tick, key, np.uint64(pixel), front_end, tick[pixel], sampled[pixel]
        )
    return hits, tick, sampled


def pulses(pixels: int, electrons: float, begin: int, length: int, ticks: int) -> np.ndarray:
    charge = np.zeros((pixels, ticks), np.float32)
    charge[:, begin : begin + length] = electrons / length
    return charge


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 700), st.integers(1, 120), st.floats(-3e3, 6e4, width=32)), min_size=0, max_size=6
    )
)
def test_without_noise_it_is_the_dense_front_end(parts: list[tuple[int, int, float]]) -> None:
    charge = np.zeros((1, 900), np.float32)
    for begin, length, electrons in parts:
        charge[0, begin : begin + length] += np.float32(electrons / length)
    hits, tick, sampled = read_all(charge, 0, 900, np.uint64(1), NOISELESS)
    dense_hits, dense_tick, dense_sampled = dense_front_end(charge.astype(float), NOISELESS, np.random.default_rng(0))
    count = hits[0]
    assert count == dense_hits[0]
    assert tick[0, :count].tolist() == dense_tick[0, :count].tolist()
    # What the buffer holds below a thousandth of an electron is not followed.
    assert sampled[0, :count] == pytest.approx(dense_sampled[0, :count], abs=0.01)


@pytest.mark.parametrize("electrons", [4e3, 5.5e3, 6.5e3, 7.5e3, 9e3, 15e3, 40e3])
def test_with_noise_it_has_the_dense_front_end_s_distribution(electrons: float) -> None:
    pixels, ticks = 4000, 700
    charge = pulses(pixels, electrons, 100, 40, ticks)
    hits, tick, sampled = read_all(charge, 0, ticks, np.uint64(77), NOMINAL)
    dense_hits, dense_tick, dense_sampled = dense_front_end(charge.astype(float), NOMINAL, np.random.default_rng(5))
    for number in range(1, 4):
        share, dense_share = np.mean(hits >= number), np.mean(dense_hits >= number)
        error = math.sqrt((dense_share * (1 - dense_share) + 1 / pixels) * 2 / pixels)
        assert abs(share - dense_share) < 4.5 * error
    for number in range(2):
        ours, dense = hits > number, dense_hits > number
        if min(ours.sum(), dense.sum()) < 50:
            continue
        for values, others in (
            (tick[ours, number], dense_tick[dense, number]),
            (sampled[ours, number], dense_sampled[dense, number]),
        ):
            assert stats.ks_2samp(values, others).pvalue > 1e-4


def test_waiting_below_threshold_is_geometric() -> None:
    """A pixel that rests at 2.4 sigma fires late, at a tick that is geometrically distributed."""
    front_end = NOMINAL._replace(reset_noise=0.0)
    charge = pulses(20_000, 5000.0, 0, 1, 60)
    _, tick, sampled = read_all(charge, 0, READ_TICKS, np.uint64(3), front_end)
    probability = 0.5 * math.erfc(2000.0 / math.hypot(500.0, 650.0) / math.sqrt(2.0))
    fired_and_accepted = sampled[:, 0] > 0.0
    assert fired_and_accepted.mean() == pytest.approx(probability, rel=0.2)
    # The wait is independent of the sample, so the accepted ones show it.
    waited = tick[fired_and_accepted, 0]
    assert waited.mean() == pytest.approx(1.0 / probability + 20, rel=0.2)


def test_noise_is_the_same_for_two_settings() -> None:
    """An offset of the digitiser changes no trigger, and a higher threshold only drops hits or moves them."""
    charge = pulses(2000, 12e3, 100, 30, 300)
    nominal = read_all(charge, 0, 400, np.uint64(9), NOMINAL)
    offset = read_all(charge, 0, 400, np.uint64(9), NOMINAL._replace(v_pedestal=500.0, gain=4.1))
    for ours, theirs in zip(nominal, offset, strict=True):
        assert np.array_equal(ours, theirs)
    higher = read_all(charge, 0, 400, np.uint64(9), NOMINAL._replace(discriminator_threshold=7140.0))
    first, second = nominal[2][:, 0], higher[2][:, 0]
    both = (nominal[0] > 0) & (higher[0] > 0)
    assert np.corrcoef(first[both], second[both])[0, 1] > 0.9
    reseeded = read_all(charge, 0, 400, np.uint64(10), NOMINAL)
    assert not np.array_equal(nominal[2], reseeded[2])


def test_hits_of_a_pixel_keep_their_distance_and_number() -> None:
    charge = pulses(1, 4e7, 0, 2000, 2000)
    hits, tick, _ = read_all(charge, 0, READ_TICKS, np.uint64(1), NOMINAL)
    assert hits[0] == 10
    # 18 ticks of integration, one of reset, nine busy, the last of which may trigger.
    assert set(np.diff(tick[0])) == {28}


def test_charge_outside_the_read_window_is_lost() -> None:
    charge = pulses(1, 20e3, 50, 10, 100)
    assert read_all(charge, READ_TICKS, READ_TICKS, np.uint64(1), NOMINAL)[0][0] == 0
    assert read_all(charge, READ_TICKS - 50, READ_TICKS, np.uint64(1), NOMINAL)[0][0] == 0
    assert read_all(charge, READ_TICKS - 61, READ_TICKS, np.uint64(1), NOMINAL)[0][0] == 1


def test_digitiser_is_affine_until_it_clips() -> None:
    pedestal = 256 * (580 - 288) / (1300 - 288)
    electrons_per_count = (1300 - 288) / 256 / 4e-3
    assert pedestal == pytest.approx(73.9, abs=0.05)
    assert electrons_per_count == pytest.approx(988, abs=0.5)
    for charge in np.linspace(0.0, 178e3, 500):
        assert adc_of_charge(charge, NOMINAL) == pytest.approx(pedestal + charge / electrons_per_count, abs=0.501)
    assert adc_of_charge(178e3, NOMINAL) < 255
    assert adc_of_charge(180e3, NOMINAL) == adc_of_charge(1e9, NOMINAL) == adc_of_charge(1e300, NOMINAL) == 255
    assert adc_of_charge(-1e9, NOMINAL) == 0
    # A pedestal below the range hides the first charges.
    assert adc_of_charge(10e3, NOMINAL._replace(v_pedestal=200.0)) == 0


@given(st.lists(st.floats(-1e4, 2e5), min_size=0, max_size=10))
def test_the_first_hit_at_the_pedestal_drops_the_later_ones(charges: list[float]) -> None:
    kept = hits_above_pedestal(np.array(charges, float), len(charges), NOMINAL)
    above = [adc_of_charge(charge, NOMINAL) > 74 for charge in charges]
    assert kept == (above.index(False) if False in above else len(above))
