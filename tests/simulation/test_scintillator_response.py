"""The whole response: what a track looks like, determinism, coupling of the noise, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from nubench.containers import Bool, Deposits, Events, Primaries, Response
from nubench.detectors import ScintillatorCubes
from nubench.errors import DataError, UsageError
from nubench.simulation.geant4 import Geant4Data, generate
from nubench.simulation.particle_gun import ParticleGun, Species
from nubench.simulation.scintillator import ScintillatorParameters, simulate
from nubench.simulation.standin_data import STANDIN_VERSION, write_standin_data

NOMINAL = ScintillatorParameters()
YIELD = 84.0  # photoelectrons a MeV, three fibres


def one_event(start: object, end: object, energy: object, time: object) -> Deposits:
    columns = [np.array(column, np.float32) for column in (start, end, energy, time)]
    return Deposits(np.array([0, len(columns[2])]), *columns)


def repeat(deposits: Deposits, times: int) -> Deposits:
    return Deposits.concatenate([deposits] * times)


def same(first: Response, second: Response) -> bool:
    return (
        np.array_equal(first.from_track, second.from_track)
        and np.array_equal(first.events.offsets, second.events.offsets)
        and np.array_equal(first.events.coords, second.events.coords)
        and np.array_equal(first.events.features, second.events.features)
    )


def voxels(response: Response, chosen: Bool | slice = slice(None)) -> set[tuple[int, ...]]:
    event = np.repeat(np.arange(len(response)), response.events.voxels_per_event)
    return set(map(tuple, np.column_stack([event, response.events.coords])[chosen].tolist()))


@pytest.fixture(scope="module")
def tracks() -> tuple[Deposits, np.ndarray]:
    """40 straight tracks of 1 mm steps with fluctuating loss, some out of the box, and their event ids."""
    random = np.random.default_rng(4)
    starts, ends, offsets = [], [], [0]
    for _ in range(40):
        steps = int(random.integers(5, 800))
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        points = random.uniform(-70, 70, 3) + np.arange(steps + 1)[:, None] * 0.1 * direction
        starts.append(points[:-1])
        ends.append(points[1:])
        offsets.append(offsets[-1] + steps)
    deposits = Deposits(
        np.array(offsets, np.int64),
        np.concatenate(starts).astype(np.float32),
        np.concatenate(ends).astype(np.float32),
        random.gamma(4.0, 0.052, offsets[-1]).astype(np.float32),
        random.exponential(0.01, offsets[-1]).astype(np.float32),
    )
    return deposits, random.permutation(10_000)[:40].astype(np.int64)


def test_a_minimum_ionising_track_and_its_halo() -> None:
    """Along the middle of a row of cubes, 2 MeV a cm: the track and its four neighbours, as worked out by hand."""
    events, cubes = 40, 198
    deposits = repeat(one_event([[-99.5, 0.5, 0.5]], [[99.5, 0.5, 0.5]], [2.0 * 199], [0.0]), events)
    response = simulate(deposits, np.arange(events), NOMINAL, 1)
    coords, counted = response.events.coords, response.events.features[:, 0]
    inner = np.abs(coords[:, 0] + 0.5) < 99

    light = 2.0 / (1 + 0.0126 * 2.0)
    # A cube keeps 82% and gets 3% from the one before and the one behind; saturation takes under 1%.
    on_track = response.from_track & inner
    assert np.count_nonzero(on_track) == events * cubes
    expected = YIELD * light * 0.88
    saturated = 8004 * -np.expm1(-expected / 8004)
    assert 40 < expected / 3 < 60  # a fibre, the range of the prototypes
    assert counted[on_track].mean() == pytest.approx(saturated, abs=4 * np.sqrt(expected / (events * cubes)))

    leaked = YIELD * light * 0.03
    chance = poisson.sf(2, leaked)
    halo = ~response.from_track & inner
    trials = events * cubes * 4
    assert np.count_nonzero(halo) / trials == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / trials))
    assert set(map(tuple, coords[halo, 1:].tolist())) == {(-1, 0), (1, 0), (0, -1), (0, 1)}
    above = np.arange(3, 40)
    mean_of_hits = np.sum(above * poisson.pmf(above, leaked)) / chance
    assert counted[halo].mean() == pytest.approx(mean_of_hits, abs=4 * np.sqrt(leaked / np.count_nonzero(halo)))
    assert np.count_nonzero(halo) / np.count_nonzero(inner) == pytest.approx(4 * chance / (1 + 4 * chance), abs=0.005)


def test_without_leakage_there_is_no_crosstalk(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    closed = simulate(deposits, event_id, ScintillatorParameters(leakage=0.0), 7)
    assert np.all(closed.from_track)
    nominal = simulate(deposits, event_id, NOMINAL, 7)
    assert 0.5 < np.mean(~nominal.from_track) < 0.8


def test_leakage_moves_light_and_loses_none_inside(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    ideal = {"threshold": 0.0, "mppc_pixels": 0.0, "light_yield": 500.0}
    inside = np.array(
        [
            np.abs(deposits.end[a:b]).max(initial=0) < 98
            for a, b in zip(deposits.offsets[:-1], deposits.offsets[1:], strict=True)
        ]
    ).nonzero()[0]
    sums = [
        simulate(
            deposits.select(inside), event_id[inside], ScintillatorParameters(leakage=leakage, **ideal), 7
        ).events.features.sum()
        for leakage in (0.0, 0.03, 0.06)
    ]
    assert sums[1:] == pytest.approx([sums[0]] * 2, rel=float(5 / np.sqrt(sums[0])))


def test_crosstalk_levels_are_nested_and_keep_the_track(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    levels = {
        level: simulate(deposits, event_id, ScintillatorParameters(crosstalk=level), 7)
        for level in (0.0, 0.3, 0.4, 1.0)
    }
    assert voxels(levels[0.0]) < voxels(levels[0.3]) < voxels(levels[0.4]) < voxels(levels[1.0])
    full = levels[1.0]
    assert voxels(levels[0.0]) == voxels(full, full.from_track)
    charge = dict(zip(sorted(voxels(full)), full.events.features[:, 0], strict=True))
    some = levels[0.3]
    assert all(charge[v] == q for v, q in zip(sorted(voxels(some)), some.events.features[:, 0], strict=True))
    crosstalk = np.mean(~some.from_track) / np.mean(some.from_track) / np.mean(~full.from_track)
    assert crosstalk * np.mean(full.from_track) == pytest.approx(0.3, abs=0.02)


def test_settings_are_coupled_event_by_event(tracks: tuple[Deposits, np.ndarray]) -> None:
    """A change of leakage moves hits far less than a new seed does, and always in the direction of the light."""
    deposits, event_id = tracks
    nominal = simulate(deposits, event_id, NOMINAL, 7)
    brighter = simulate(deposits, event_id, ScintillatorParameters(light_yield=28.5), 7)
    assert voxels(nominal) <= voxels(brighter)
    new_seed = simulate(deposits, event_id, NOMINAL, 8)
    assert len(voxels(nominal) ^ voxels(brighter)) < 0.3 * len(voxels(nominal) ^ voxels(new_seed))


def test_seed_and_event_id_change_the_noise(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    first = simulate(deposits, event_id, NOMINAL, 7)
    assert not same(first, simulate(deposits, event_id, NOMINAL, 8))
    assert not same(first, simulate(deposits, event_id + 1, NOMINAL, 7))


def test_same_event_whatever_batch_order_and_threads(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    everything = simulate(deposits, event_id, NOMINAL, 7, threads=1)
    assert same(everything, simulate(deposits, event_id, NOMINAL, 7, threads=3))
    assert same(everything, simulate(deposits, event_id, NOMINAL, 7))
    order = np.random.default_rng(0).permutation(len(event_id))
    shuffled = simulate(deposits.select(order), event_id[order], NOMINAL, 7, threads=2)
    assert np.array_equal(everything.events.select(order).coords, shuffled.events.coords)
    assert np.array_equal(everything.events.select(order).features, shuffled.events.features)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 39), max_size=4, unique=True))
def test_same_event_in_any_split(tracks: tuple[Deposits, np.ndarray], cuts: list[int]) -> None:
    deposits, event_id = tracks
    bounds = [0, *sorted(cuts), len(event_id)]
    parts = [
        simulate(deposits.select(index), event_id[index], NOMINAL, 7, threads=2)
        for index in (np.arange(a, b) for a, b in itertools.pairwise(bounds))
    ]
    joined = Response(
        Events.concatenate([part.events for part in parts]), np.concatenate([part.from_track for part in parts])
    )
    assert same(joined, simulate(deposits, event_id, NOMINAL, 7))


def test_voxels_are_unique_ordered_and_of_the_container_s_types(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    response = simulate(deposits, event_id, NOMINAL, 7)
    events = response.events
    assert (events.coords.dtype, events.features.dtype, events.offsets.dtype) == (np.int32, np.float32, np.int64)
    assert events.features.shape == (len(events.coords), 1)
    assert response.from_track.dtype == np.bool_
    assert events.coords.min() >= -100
    assert events.coords.max() <= 99
    for first, last in itertools.pairwise(events.offsets):
        rows = list(map(tuple, events.coords[first:last].tolist()))
        assert rows == sorted(set(rows))


def test_events_without_light_stay_as_empty_events() -> None:
    outside = one_event([[0, 0, 640.0]], [[0, 0, 641.0]], [5.0], [0.0])
    late = one_event([[0, 0, 0.0]], [[0, 0, 1.0]], [5.0], [11.0])
    nothing = one_event(np.empty((0, 3)), np.empty((0, 3)), [], [])
    response = simulate(Deposits.concatenate([outside, late, nothing]), np.arange(3), NOMINAL, 1)
    assert response.events.offsets.tolist() == [0, 0, 0, 0]
    assert len(simulate(nothing.select(np.empty(0, np.int64)), np.empty(0, np.int64), NOMINAL, 1)) == 0


def test_the_detector_runs_the_same_chain(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    expected = simulate(deposits, event_id, ScintillatorParameters(leakage=0.05), 7)
    assert same(ScintillatorCubes().respond(deposits, event_id, {"leakage": 0.05}, 7), expected)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("energy", np.nan),
        ("energy", -1.0),
        ("energy", np.inf),
        ("energy", 2e6),
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
    with pytest.raises(DataError, match=f"deposit 1: {column} must") as error:
        simulate(Deposits(np.array([0, 3]), **columns), np.array([1]), NOMINAL, 1)
    assert str(np.float32(value)).split("e")[0] in str(error.value)


def test_impossible_arguments_are_refused() -> None:
    deposits = one_event([[0, 0, 0]], [[0, 0, 1]], [2.0], [0.0])
    for arguments, message in (
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"threads": 0}, "threads must be 1 or more"),
        ({"event_id": np.arange(2)}, "one entry for each of 1 events"),
    ):
        with pytest.raises(UsageError, match=message):
            simulate(deposits, **{"event_id": np.array([1]), "parameters": NOMINAL, "seed": 1, **arguments})


def test_read_only_input_is_accepted(tracks: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = tracks
    frozen = deposits.select(np.arange(len(event_id)))
    for field in dataclasses.fields(frozen):
        getattr(frozen, field.name).flags.writeable = False
    assert same(simulate(frozen, event_id, NOMINAL, 7), simulate(deposits, event_id, NOMINAL, 7))


@pytest.mark.slow
def test_muons_of_500_mev_give_the_light_of_their_path(tmp_path: Path) -> None:
    """From the centre they all leave the box, at a known distance; 2.1 MeV a cm is their mean loss (Bethe)."""
    gun = ParticleGun((Species(0, (13, -13), (500.0, 500.0)),), (0.0,) * 3, (0.0,) * 3)
    data = Geant4Data("standin", write_standin_data(tmp_path / "standin"), STANDIN_VERSION)
    primaries, _, deposits = zip(*generate(gun, "G4_POLYSTYRENE", 100, seed=5, data=data), strict=True)
    truth = Primaries.concatenate(primaries)
    response = simulate(Deposits.concatenate(deposits), truth.event_id, NOMINAL, 1)
    path = np.sum(100.0 / np.abs(truth.direction).max(axis=1))

    quenching = 1 + 0.0126 * 2.1
    assert response.events.features.sum() / path == pytest.approx(YIELD * 2.1 / quenching, rel=0.06)
    # A straight line of any direction crosses 1.5 cubes a cm on average; knock-on electrons and photons add some.
    assert 1.45 < np.count_nonzero(response.from_track) / path < 1.8
