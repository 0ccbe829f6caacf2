"""Dead pixels, spurious hits and the offset of an offline calibration."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nubench.containers import Deposits, Events
from nubench.simulation.lartpc import Hits, LArTPCParameters, pedestal_counts, simulate, simulate_hits
from nubench.simulation.lartpc.defects import (
    SPURIOUS_Y_CM,
    SPURIOUS_Z_CM,
    Defects,
    alive,
    spurious_hits,
)
from nubench.simulation.lartpc.drift import DRIFT_LENGTH_CM
from nubench.simulation.lartpc.frontend import front_end_of
from nubench.simulation.lartpc.pixels import pack_pixel
from nubench.simulation.random_streams import event_key

NOMINAL = LArTPCParameters()
FRONT_END = front_end_of(NOMINAL)
SIDE = 96
POINTS = [
    LArTPCParameters(adc_offset=-12.5),
    LArTPCParameters(dead_fraction=0.2),
    LArTPCParameters(dead_fraction=0.1, dead_group=8),
    LArTPCParameters(noise_hits=10.0),
    LArTPCParameters(adc_offset=3.25, dead_fraction=0.05, dead_group=8.0, noise_hits=3.0, v_pedestal=480.0),
]


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    """Packed pixels of a square around the origin of a plane, (96 x 96,), rows one after the other."""
    along = range(-SIDE // 2, SIDE // 2)
    return np.array([pack_pixel(1, row, column) for row in along for column in along])


def no_deposits(events: int) -> Deposits:
    nothing = np.zeros((0, 3), np.float32)
    return Deposits(np.zeros(events + 1, np.int64), nothing, nothing, nothing[:, 0], nothing[:, 0])


def spurious(parameters: LArTPCParameters, events: int, seed: int = 1) -> Hits:
    """Hits of events in which nothing happened."""
    return simulate_hits(no_deposits(events), np.arange(events), parameters, seed)


def hits_as_set(hits: Hits) -> set[tuple[int, ...]]:
    event = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
    return set(map(tuple, np.column_stack([event, hits.pixel, hits.tick, hits.adc]).tolist()))


def same(first: Events, second: Events) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name)) for field in dataclasses.fields(Events)
    )


@given(st.floats(0.0, 0.99), st.floats(0.0, 0.99), st.integers(1, 16))
def test_dead_pixels_of_a_smaller_fraction_are_among_those_of_a_larger(
    square: np.ndarray, one: float, other: float, group: int
) -> None:
    fewer, more = (~alive(square, Defects(share, group, 0.0)) for share in sorted((one, other)))
    assert not np.any(fewer & ~more)


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.2])
def test_the_share_of_dead_pixels_is_the_fraction(fraction: float, group: int) -> None:
    pixels = np.array([pack_pixel(0, row, column) for row in range(0, 800, 4) for column in range(-400, 400, 4)])
    groups = len(pixels) / max(group / 4, 1) ** 2
    dead = 1.0 - alive(pixels, Defects(fraction, group, 0.0)).mean()
    assert dead == pytest.approx(fraction, abs=4.5 * math.sqrt(fraction * (1 - fraction) / groups))


def test_pixels_of_a_group_die_together_and_groups_independently(square: np.ndarray) -> None:
    """Also where rows and columns are negative."""
    living = alive(square, Defects(0.5, 8, 0.0)).reshape(SIDE // 8, 8, SIDE // 8, 8)
    assert np.all(living == living[:, :1, :, :1])
    groups = living[:, 0, :, 0].astype(float)
    neighbours = np.corrcoef(groups[1:].ravel(), groups[:-1].ravel())[0, 1]
    assert abs(neighbours) < 4.5 / math.sqrt(groups.size)
    assert not np.array_equal(living.ravel(), alive(square, Defects(0.5, 1, 0.0)))


def test_dead_pixels_record_nothing_and_the_others_the_same(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    dead = LArTPCParameters(dead_fraction=0.2)
    silent = set()
    for seed in (7, 8):
        nominal, fewer = (simulate_hits(deposits, event_id, point, seed) for point in (NOMINAL, dead))
        lost = hits_as_set(nominal) - hits_as_set(fewer)
        assert hits_as_set(fewer) < hits_as_set(nominal)
        assert len(lost) / len(nominal.adc) == pytest.approx(0.2, abs=0.05)
        silent |= {hit[1:4] for hit in lost}
        # No pixel is dead in one event, or for one seed, and alive in another.
        assert not silent & {hit[1:4] for hit in hits_as_set(fewer)}


@settings(deadline=None)
@given(st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.integers(0, 2**32))
def test_a_larger_mean_adds_spurious_hits_to_those_of_a_smaller(one: float, other: float, event: int) -> None:
    key = np.uint64(event_key(np.uint64(3), np.uint64(event)))
    fewer, more = (spurious_hits(key, FRONT_END, Defects(0.0, 1, mean)) for mean in sorted((one, other)))
    for first, second in zip(fewer, more, strict=True):
        assert np.array_equal(first, second[: len(first)])


@pytest.mark.parametrize("mean", [1.0, 10.0])
def test_the_number_of_spurious_hits_is_poisson(mean: float) -> None:
    numbers = np.diff(spurious(LArTPCParameters(noise_hits=mean), 4000).offsets)
    assert numbers.mean() == pytest.approx(mean, abs=4.5 * math.sqrt(mean / 4000))
    assert numbers.var() == pytest.approx(mean, rel=0.15)


def test_spurious_hits_are_uniform_in_the_module_around_the_vertices() -> None:
    hits = spurious(LArTPCParameters(noise_hits=20.0), 500)
    bounds = [(-DRIFT_LENGTH_CM, DRIFT_LENGTH_CM), SPURIOUS_Y_CM, SPURIOUS_Z_CM]
    for axis, (lowest, highest) in enumerate(bounds):
        along = hits.position[:, axis]
        assert lowest - 0.38 <= along.min() < lowest + 0.5
        assert highest - 0.5 < along.max() <= highest + 0.38
        assert stats.kstest(along, stats.uniform(lowest, highest - lowest).cdf).pvalue > 1e-4
    assert np.abs(np.corrcoef(hits.position.T) - np.eye(3)).max() < 0.05


def test_spurious_hits_read_just_above_the_threshold_with_the_front_end_s_settings() -> None:
    nominal = spurious(LArTPCParameters(noise_hits=20.0), 100)
    assert nominal.charge.min() >= 7000.0
    # The mean of |N(0, s)| is s sqrt(2 / pi).
    assert nominal.charge.mean() - 7000.0 == pytest.approx(math.hypot(900, 500) * math.sqrt(2 / math.pi), rel=0.1)
    shifted = spurious(LArTPCParameters(noise_hits=20.0, v_pedestal=620.0, discriminator_threshold=9000.0), 100)
    assert np.array_equal(nominal.pixel, shifted.pixel)
    assert shifted.charge == pytest.approx(nominal.charge + 2000.0, rel=1e-6)
    assert np.mean(shifted.adc - nominal.adc) == pytest.approx(256 / 1012 * (40 + 4e-3 * 2000), abs=0.1)
    # What the digitiser cannot tell from no charge is no hit.
    assert len(spurious(LArTPCParameters(noise_hits=20.0, v_pedestal=100.0), 10).adc) == 0


def test_spurious_hits_come_on_top_of_the_others_and_not_on_dead_pixels(
    straight_muons: tuple[Deposits, np.ndarray],
) -> None:
    deposits, event_id = straight_muons
    noisy = LArTPCParameters(noise_hits=30.0)
    nominal, more = (hits_as_set(simulate_hits(deposits, event_id, point, 7)) for point in (NOMINAL, noisy))
    assert nominal < more
    assert len(more - nominal) == pytest.approx(30 * 24, rel=0.2)
    both = hits_as_set(
        simulate_hits(deposits, event_id, dataclasses.replace(noisy, dead_fraction=0.3, dead_group=8), 7)
    )
    assert both < more
    assert len(both - nominal) / len(more - nominal) == pytest.approx(0.7, abs=0.1)


def test_noise_of_an_event_goes_with_its_seed_and_id() -> None:
    noisy = LArTPCParameters(noise_hits=10.0)
    first = spurious(noisy, 2)
    assert not np.array_equal(first.pixel, spurious(noisy, 2, seed=2).pixel)
    assert first.pixel[: first.offsets[1]].tolist() != first.pixel[first.offsets[1] :].tolist()


@settings(deadline=None, max_examples=20)
@given(st.floats(-1e3, 1e3))
def test_the_offset_shifts_the_features_and_nothing_else(
    straight_muons: tuple[Deposits, np.ndarray], offset: float
) -> None:
    deposits, event_id = straight_muons[0].select(np.arange(4)), straight_muons[1][:4]
    raw = simulate(deposits, event_id, NOMINAL, 7)
    calibrated = simulate(deposits, event_id, LArTPCParameters(adc_offset=offset), 7)
    assert np.array_equal(raw.coords, calibrated.coords)
    assert np.array_equal(calibrated.features, (raw.features.astype(float) + offset).astype(np.float32))
    hits = simulate_hits(deposits, event_id, LArTPCParameters(adc_offset=offset), 7)
    assert np.array_equal(hits.adc, simulate_hits(deposits, event_id, NOMINAL, 7).adc)


def test_pedestal_is_what_the_digitiser_reads_without_charge() -> None:
    assert pedestal_counts(NOMINAL) == pytest.approx(256 * 292 / 1012)
    assert pedestal_counts(LArTPCParameters(v_pedestal=200.0)) == 0.0
    assert pedestal_counts(LArTPCParameters(v_pedestal=1400.0)) == 255.0


@pytest.mark.parametrize("v_pedestal", [380.0, 580.0, 700.0, 820.0])
def test_a_calibrated_pedestal_gives_the_nominal_events_within_rounding(
    straight_muons: tuple[Deposits, np.ndarray], v_pedestal: float
) -> None:
    deposits, event_id = straight_muons
    throw = LArTPCParameters(v_pedestal=v_pedestal)
    throw = dataclasses.replace(throw, adc_offset=pedestal_counts(NOMINAL) - pedestal_counts(throw))
    nominal, calibrated = (simulate(deposits, event_id, point, 7) for point in (NOMINAL, throw))
    assert np.array_equal(nominal.coords, calibrated.coords)
    difference = calibrated.features - nominal.features
    # Each of the two counts is rounded by half a count at most.
    assert np.abs(difference).max() <= 1.0 + 1e-4
    assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize("point", POINTS)
def test_same_event_whatever_batch_order_and_threads(
    straight_muons: tuple[Deposits, np.ndarray], point: LArTPCParameters
) -> None:
    deposits, event_id = straight_muons
    everything = simulate(deposits, event_id, point, 7, threads=1)
    assert same(everything, simulate(deposits, event_id, point, 7, threads=3))
    order = np.random.default_rng(0).permutation(len(event_id))
    assert same(everything.select(order), simulate(deposits.select(order), event_id[order], point, 7, threads=2))
    alone = [simulate(deposits.select(np.array([i])), event_id[i : i + 1], point, 7) for i in range(len(event_id))]
    assert same(everything, Events.concatenate(alone))
