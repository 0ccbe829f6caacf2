"""The whole response: determinism, coupling of the noise, voxels, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.containers import Deposits, Events
from nubench.errors import DataError, UsageError
from nubench.simulation.lartpc import Hits, LArTPCParameters, draw_throw, simulate, simulate_draws, simulate_hits

NOMINAL = LArTPCParameters()
SILENT = LArTPCParameters(reset_noise=0.0, uncorrelated_noise=0.0, discriminator_noise=0.0)


def track(start: list[float], end: list[float], energy: float, time: float = 0.0) -> Deposits:
    return Deposits(
        np.array([0, 1]),
        np.array([start], np.float32),
        np.array([end], np.float32),
        np.array([energy], np.float32),
        np.array([time], np.float32),
    )


def same(first: Events | Hits, second: Events | Hits) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name)) for field in dataclasses.fields(first)
    )


def test_a_minimum_ionising_track_gives_a_line_of_hits() -> None:
    hits = simulate_hits(track([20, 0.19, 640], [20, 0.19, 659], 2.1 * 19), np.array([1]), NOMINAL, 1)
    on_track = hits.pixel[:, 1] == 0
    assert on_track.mean() > 0.9
    assert len(np.unique(hits.pixel[on_track, 2])) == pytest.approx(50, abs=1)
    assert np.all(hits.pixel[:, 0] == 1)
    assert np.median(hits.position[:, 0]) == pytest.approx(20.0, abs=0.4)
    # 3.8 mm of track set free 24 ke and lose a tenth on the way; a hit may miss a part of it.
    assert np.median(hits.adc[on_track]) == pytest.approx(95, abs=3)


def test_positions_use_the_nominal_velocity_whatever_the_field() -> None:
    deposits = track([20, 0.19, 640], [20, 0.19, 659], 2.1 * 19)
    weaker = simulate_hits(deposits, np.array([1]), LArTPCParameters(electric_field=0.45), 1)
    nominal = simulate_hits(deposits, np.array([1]), NOMINAL, 1)
    # Slower charge comes later and is placed farther from its plane, at 50.4 cm.
    assert np.median(nominal.position[:, 0]) - np.median(weaker.position[:, 0]) > 1.0


@pytest.mark.parametrize("x", [-130.0, -75.0, -20.0, 20.0, 75.0, 130.0])
def test_every_module_reconstructs_where_the_charge_was(x: float) -> None:
    hits = simulate_hits(track([x, 0.19, 640], [x, 0.19, 659], 2.1 * 19), np.array([1]), SILENT, 1)
    assert len(hits.adc) >= 48
    assert np.median(hits.position[:, 0]) == pytest.approx(x, abs=0.4)
    assert hits.position[:, 2].min() == pytest.approx(640, abs=0.5)
    assert hits.position[:, 2].max() == pytest.approx(659, abs=0.5)


def test_same_event_whatever_batch_order_and_threads(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    everything = simulate(deposits, event_id, NOMINAL, 7, threads=1)
    assert same(everything, simulate(deposits, event_id, NOMINAL, 7, threads=3))
    assert same(everything, simulate(deposits, event_id, NOMINAL, 7))
    order = np.random.default_rng(0).permutation(len(event_id))
    assert same(everything.select(order), simulate(deposits.select(order), event_id[order], NOMINAL, 7, threads=2))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 23), max_size=4, unique=True))
def test_same_event_in_any_split(straight_muons: tuple[Deposits, np.ndarray], cuts: list[int]) -> None:
    deposits, event_id = straight_muons
    bounds = [0, *sorted(cuts), len(event_id)]
    parts = [
        simulate(deposits.select(index), event_id[index], NOMINAL, 7, threads=2)
        for index in (np.arange(a, b) for a, b in itertools.pairwise(bounds))
    ]
    assert same(Events.concatenate(parts), simulate(deposits, event_id, NOMINAL, 7))


def working_points(random: np.random.Generator, number: int) -> list[LArTPCParameters]:
    """Points that share their drift and points that do not, some of them more than once."""
    kinds = [
        {},
        draw_throw(1, 1),
        draw_throw(1, 2),
        {"electric_field": 0.45},
        {"electric_field": 0.45, "v_pedestal": 600.0},
        {"transverse_diffusion": 14e-6, "electron_lifetime": 800.0},
        {"electron_lifetime": 800.0, "noise_hits": 5.0},
        {"recombination": "box", "dead_fraction": 0.1, "adc_offset": 2.5},
        {"birks_k": 0.06, "longitudinal_diffusion": 1e-6, "reset_noise": 0.0},
    ]
    return [LArTPCParameters.from_mapping(kinds[random.integers(len(kinds))]) for _ in range(number)]


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_points_of_each_event_give_what_separate_calls_do(
    straight_muons: tuple[Deposits, np.ndarray], random_seed: int, threads: int
) -> None:
    deposits, event_id = straight_muons
    points = working_points(np.random.default_rng(random_seed), len(event_id))
    together = simulate(deposits, event_id, points, 7, threads)
    hits = simulate_hits(deposits, event_id, points, 7, threads)
    for event, point in enumerate(points):
        one = np.array([event])
        assert same(together.select(one), simulate(deposits.select(one), event_id[one], point, 7))
        alone = simulate_hits(deposits.select(one), event_id[one], point, 7)
        rows = slice(hits.offsets[event], hits.offsets[event + 1])
        for name in ("pixel", "tick", "charge", "adc", "position"):
            assert np.array_equal(getattr(hits, name)[rows], getattr(alone, name))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 2**64 - 1), max_size=4))
def test_draws_of_an_event_give_what_separate_calls_do(
    straight_muons: tuple[Deposits, np.ndarray], random_seed: int, seeds: list[int]
) -> None:
    """Charge that several draws share is induced once, in windows that fit all of them."""
    deposits, event_id = straight_muons[0].select(np.arange(8)), straight_muons[1][:8]
    random = np.random.default_rng(random_seed)
    points = [working_points(random, 8) if random.random() < 0.7 else NOMINAL for _ in seeds]
    draws = simulate_draws(deposits, event_id, points, seeds, threads=2)
    assert len(draws) == len(seeds)
    for draw, of_draw, seed in zip(draws, points, seeds, strict=True):
        assert same(draw, simulate(deposits, event_id, of_draw, seed))


def test_seed_and_event_id_change_the_noise(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    first = simulate_hits(deposits, event_id, NOMINAL, 7)
    assert not same(first, simulate_hits(deposits, event_id, NOMINAL, 8))
    assert not same(first, simulate_hits(deposits, event_id + 1, NOMINAL, 7))
    assert same(simulate_hits(deposits, event_id, SILENT, 7), simulate_hits(deposits, event_id + 1, SILENT, 8))


def test_affine_throws_change_the_counts_and_nothing_else(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    nominal = simulate_hits(deposits, event_id, NOMINAL, 7)
    raised = simulate_hits(deposits, event_id, LArTPCParameters(v_pedestal=580 * 1.2), 7)
    assert np.array_equal(nominal.charge, raised.charge)
    assert np.array_equal(nominal.position, raised.position)
    assert (raised.adc - nominal.adc).mean() == pytest.approx(256 * 116 / 1012, abs=0.1)


def test_throws_are_coupled_event_by_event(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    """A throw moves far fewer pixels than a new seed does."""
    deposits, event_id = straight_muons

    def fired(parameters: LArTPCParameters, seed: int) -> set[tuple[int, ...]]:
        hits = simulate_hits(deposits, event_id, parameters, seed)
        event = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
        return set(map(tuple, np.column_stack([event, hits.pixel])))

    nominal = fired(NOMINAL, 7)
    reseeded = len(nominal ^ fired(NOMINAL, 8))
    noisier = LArTPCParameters(discriminator_noise=650 * 1.1, uncorrelated_noise=550.0, reset_noise=990.0)
    assert 0 < len(nominal ^ fired(noisier, 7)) < 0.6 * reseeded
    assert len(nominal ^ fired(LArTPCParameters(discriminator_threshold=7140.0), 7)) < 0.6 * reseeded


def test_any_throw_of_table_i_runs(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    for index in range(5):
        events = simulate(deposits, event_id, LArTPCParameters.from_mapping(draw_throw(1, index)), 7)
        assert len(events) == len(event_id)
        assert events.features.min() >= 0
        assert events.features.max() <= 255


def test_voxels_are_unique_and_of_the_container_s_types(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    events = simulate(deposits, event_id, NOMINAL, 7)
    hits = simulate_hits(deposits, event_id, NOMINAL, 7)
    assert (events.coords.dtype, events.features.dtype, events.offsets.dtype) == (np.int32, np.float32, np.int64)
    assert events.features.shape == (len(events.coords), 1)
    for event in range(len(events)):
        coords = events.coords[events.offsets[event] : events.offsets[event + 1]]
        assert len(np.unique(coords, axis=0)) == len(coords)
    assert len(events.coords) <= len(hits.adc)
    assert np.all(np.diff(hits.tick)[np.diff(np.repeat(np.arange(len(hits)), np.diff(hits.offsets))) == 0] >= 0)


def test_of_two_hits_in_a_voxel_the_earliest_stays() -> None:
    """Charge on either side of a cathode reads the same pixel of two planes; late charge is placed on the other's."""
    one = track([0.15, 0.19, 640.19], [0.15, 0.19, 640.19], 1.0, 0.0)
    other = track([-0.75, 0.19, 640.19], [-0.75, 0.19, 640.19], 2.0, 7.0)
    both = Deposits(
        np.array([0, 2]),
        *(np.concatenate([getattr(one, n), getattr(other, n)]) for n in ("start", "end", "energy", "time")),
    )
    hits = simulate_hits(both, np.array([1]), SILENT, 1)
    events = simulate(both, np.array([1]), SILENT, 1)
    voxels = np.column_stack([np.floor(hits.position[:, 0] / 0.38), hits.pixel[:, 1:]]).astype(int)
    unique, first = np.unique(voxels, axis=0, return_index=True)
    assert len(unique) < len(voxels)
    kept = np.sort(first)
    assert np.array_equal(events.coords, voxels[kept])
    assert np.array_equal(events.features[:, 0], hits.adc[kept])


def test_events_without_charge_stay_as_empty_events() -> None:
    nothing = Deposits(
        np.array([0, 0, 1, 1]),
        *(np.zeros((1, 3), np.float32) for _ in range(2)),
        *(np.zeros(1, np.float32) for _ in range(2)),
    )
    events = simulate(nothing, np.arange(3), NOMINAL, 1)
    assert events.offsets.tolist() == [0, 0, 0, 0]
    none = Deposits(np.zeros(1, np.int64), nothing.start[:0], nothing.end[:0], nothing.energy[:0], nothing.time[:0])
    assert len(simulate(none, np.empty(0, np.int64), NOMINAL, 1)) == 0


def test_lifetime_and_recombination_lower_the_charge() -> None:
    deposits = track([5, 0.19, 640], [5, 0.19, 659], 2.1 * 19)
    charge = {
        name: np.median(simulate_hits(deposits, np.array([1]), parameters, 1).charge)
        for name, parameters in {
            "nominal": SILENT,
            "impure": dataclasses.replace(SILENT, electron_lifetime=500.0),
            "pure": dataclasses.replace(SILENT, electron_lifetime=1e9),
            "quenched": dataclasses.replace(SILENT, birks_k=0.2),
        }.items()
    }
    assert charge["impure"] < charge["nominal"] < charge["pure"]
    assert charge["quenched"] < charge["nominal"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("energy", np.nan),
        ("energy", -1.0),
        ("energy", np.inf),
        ("time", np.nan),
        ("start", np.nan),
        ("end", np.inf),
        ("end", 1e6),
    ],
)
def test_impossible_deposits_are_named_by_row_and_value(column: str, value: float) -> None:
    columns = {
        "start": np.zeros((3, 3), np.float32),
        "end": np.ones((3, 3), np.float32),
        "energy": np.ones(3, np.float32),
        "time": np.zeros(3, np.float32),
    }
    columns[column].reshape(3, -1)[1, -1] = value
    deposits = Deposits(np.array([0, 3]), **columns)
    with pytest.raises(DataError, match=f"deposit 1: {column} must") as error:
        simulate(deposits, np.array([1]), NOMINAL, 1)
    assert str(np.float32(value)).split("e")[0] in str(error.value)


def test_impossible_arguments_are_refused() -> None:
    deposits = track([20, 0, 640], [20, 0, 641], 2.0)
    for arguments, message in (
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"threads": 0}, "threads must be 1 or more"),
        ({"event_id": np.arange(2)}, "one entry for each of 1 events"),
        ({"parameters": [NOMINAL, NOMINAL]}, "one set, or one for each of 1 events; got 2"),
    ):
        with pytest.raises(UsageError, match=message):
            simulate(deposits, **{"event_id": np.array([1]), "parameters": NOMINAL, "seed": 1, **arguments})
    with pytest.raises(UsageError, match="seeds must be one for each of 2 draws; got 1"):
        simulate_draws(deposits, np.array([1]), [NOMINAL, NOMINAL], [1])


def test_read_only_input_is_accepted(straight_muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = straight_muons
    frozen = deposits.select(np.arange(len(event_id)))
    for name in ("start", "end", "energy", "time", "offsets"):
        getattr(frozen, name).flags.writeable = False
    assert same(simulate(frozen, event_id, NOMINAL, 7), simulate(deposits, event_id, NOMINAL, 7))
