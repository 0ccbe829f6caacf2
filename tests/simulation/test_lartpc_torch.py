"""The torch back end against the compiled one: the same random bits, the same triggers, the same voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from nubench.containers import Deposits, Events
from nubench.errors import DataError, UsageError
from nubench.simulation import random_streams
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, draw_throw, simulate, simulate_draws
from nubench.simulation.lartpc.frontend import front_end_of, hits_above_pedestal, read_pixel
from nubench.simulation.lartpc.torch_deposits import DeviceDeposits
from nubench.simulation.lartpc.torch_frontend import read_pixels
from nubench.simulation.lartpc.torch_hits import DeviceEvents
from nubench.simulation.lartpc.torch_induction import ELECTRONS_A_UNIT
from nubench.simulation.lartpc.torch_random import (
    coarse_uniforms,
    event_keys,
    normals,
    philox4x32,
    random_words,
    uniforms,
)
from nubench.simulation.lartpc.torch_response import simulate_draws_torch, simulate_torch
from nubench.simulation.lartpc.torch_settings import settings_of
from nubench.simulation.lartpc.torch_trials import Channels
from nubench.simulation.lartpc.torch_windows import lay_out, window_lengths
from nubench.simulation.resimulation import Resimulator

pytestmark = pytest.mark.usefixtures("one_thread")

NOMINAL = LArTPCParameters()
CPU = torch.device("cpu")
UINT64 = st.integers(0, 2**64 - 1)


def signed(number: int) -> torch.Tensor:
    """The bits of a uint64 as (1,) int64."""
    return torch.from_numpy(np.array([number], np.uint64).view(np.int64))


def voxels(events: Events) -> set[tuple[float, ...]]:
    """Event, position and count of every voxel."""
    event = np.repeat(np.arange(len(events)), events.voxels_per_event)
    return set(map(tuple, np.column_stack([event, events.coords, events.features]).tolist()))


def check_agreement(ours: Sequence[DeviceEvents], theirs: Sequence[Events], voxels_at_least: int) -> None:
    """At least 999 of 1,000 voxels of all draws are in both with the same ADC count; rounding may tip the others."""
    both = total = 0
    for events, expected in zip(ours, theirs, strict=True):
        first, second = voxels(events.to_events()), voxels(expected)
        both += len(first & second)
        total += len(first | second)
        if first == second:
            assert np.array_equal(events.to_events().coords, expected.coords)
    assert total >= voxels_at_least
    assert both >= 0.999 * total


def same(first: DeviceEvents, second: DeviceEvents) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("offsets", "coords", "features"))


@pytest.fixture(scope="module")
def muons(straight_muons: tuple[Deposits, np.ndarray]) -> tuple[Deposits, np.ndarray]:
    """Eight of the straight tracks."""
    deposits, event_id = straight_muons
    return deposits.select(np.arange(8)), event_id[:8]


# Random numbers


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter: list[int], key: list[int], words: list[int]) -> None:
    assert philox4x32(torch.tensor(key), torch.tensor(counter)).tolist() == words


@given(UINT64, UINT64, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_random_bits_are_those_of_the_compiled_streams(key: int, channel: int, purpose: int, counter: int) -> None:
    words = random_words(signed(key), signed(channel), purpose, counter)
    arguments = np.uint64(key), np.uint64(channel), np.uint64(purpose), np.uint64(counter)
    compiled = random_streams.random_words(*arguments)
    low, high = words[0::2, 0].tolist(), words[1::2, 0].tolist()
    assert [second << 32 | first for first, second in zip(low, high, strict=True)] == list(map(int, compiled))
    assert uniforms(words)[:, 0].tolist() == list(random_streams.uniform_pair(*arguments))
    assert coarse_uniforms(words)[:, 0].tolist() == [
        random_streams.uniform_of_quarter(compiled, quarter) for quarter in range(4)
    ]
    assert normals(words)[:, 0].tolist() == pytest.approx(random_streams.normal_pair(*arguments), rel=1e-12, abs=1e-12)


@given(UINT64, st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4))
def test_event_keys_are_those_of_the_compiled_streams(seed: int, event_id: list[int]) -> None:
    ids = np.array(event_id, np.int64)
    compiled = [int(random_streams.event_key(np.uint64(seed), one)) for one in ids.astype(np.uint64)]
    assert event_keys(seed, torch.from_numpy(ids)).numpy().astype(np.uint64).tolist() == compiled


def test_many_purposes_are_drawn_at_once() -> None:
    keys, channels = torch.arange(5), torch.arange(5) * 7
    words = random_words(keys, channels, torch.tensor([2, 9])[:, None], 3)
    assert torch.equal(words[:, 1], random_words(keys, channels, 9, 3))


# The front end alone


def read_by_torch(
    charges: list[np.ndarray], first: list[int], keys: np.ndarray, parameters: Sequence[LArTPCParameters]
) -> list[list[tuple[int, float]]]:
    """Hits, (tick, electrons), of each pixel."""
    point = settings_of(parameters, CPU)
    begins = torch.tensor(first)
    ends = begins + torch.tensor([len(charge) for charge in charges])
    highest = torch.tensor([float(np.cumsum(charge).max(initial=0.0)) + np.abs(charge).sum() for charge in charges])
    length = window_lengths(begins, ends, highest.double(), point.decay)
    row = length.cumsum(0) - length
    units = torch.zeros(int(length.sum()), dtype=torch.int64)
    for pixel, charge in enumerate(charges):
        exact = torch.from_numpy(charge.astype(np.float64) / ELECTRONS_A_UNIT).long()
        units[row[pixel] : row[pixel] + len(charge)] = exact
    windows = lay_out(units, ELECTRONS_A_UNIT, begins, row, length)
    channels = Channels(torch.from_numpy(keys), torch.arange(len(charges)), point)
    hits = read_pixels(windows, channels, float(point.decay.min()))
    found: list[list[tuple[int, float]]] = [[] for _ in charges]
    for pixel, tick, charge in zip(*(column.tolist() for column in hits), strict=True):
        found[pixel].append((tick, charge))
    return [sorted(of_pixel) for of_pixel in found]


def read_by_numba(
    charge: np.ndarray, first: int, key: int, pixel: int, parameters: LArTPCParameters
) -> list[tuple[int, float]]:
    tick, sampled = np.empty(10, np.int64), np.empty(10)
    front_end = front_end_of(parameters)
    # A window ends at the end of the read-out.
    charge = charge[: max(3201 - first, 0)]
    hits = read_pixel(charge, first, -100, 3201, np.uint64(key), np.uint64(pixel), front_end, tick, sampled)
    kept = hits_above_pedestal(sampled, hits, front_end)
    return list(zip(tick[:kept].tolist(), sampled[:kept].tolist(), strict=True))


# Times between pulses are near the lengths at which a pixel rests or is walked, pulses near the threshold.
PULSES = st.lists(
    st.tuples(st.sampled_from([0, 1, 5, 14, 16, 17, 20, 33, 70, 400]), st.integers(1, 60), st.integers(-3000, 30_000)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(-100, 3150), PULSES), min_size=1, max_size=6),
    st.integers(0, 2**40),
    st.sampled_from(
        [
            {},
            {"buffer_risetime": 0.0},
            {"buffer_risetime": 0.8},
            {"discriminator_threshold": 2500.0},
            {"reset_noise": 2500.0, "uncorrelated_noise": 900.0},
            {"v_pedestal": 280.0},
        ]
    ),
)
def test_pixels_fire_as_in_the_compiled_front_end(
    pixels: list[tuple[int, list[tuple[int, int, int]]]], key: int, values: dict[str, float]
) -> None:
    parameters = LArTPCParameters.from_mapping(values)
    charges = []
    for _, pulses in pixels:
        pieces = [np.repeat([0.0, electrons / length], [gap, length]) for gap, length, electrons in pulses]
        # In whole units that single precision holds, so that both back ends start from the same numbers.
        charges.append((np.concatenate(pieces) * 64).round().astype(np.float32) / 64)
    first = [begin for begin, _ in pixels]
    keys = np.full(len(pixels), key)
    found = read_by_torch(charges, first, keys, [parameters] * len(pixels))
    for pixel, (charge, begin) in enumerate(zip(charges, first, strict=True)):
        expected = read_by_numba(charge, begin, key, pixel, parameters)
        assert [tick for tick, _ in found[pixel]] == [tick for tick, _ in expected]
        # What the buffer holds below a thousandth of an electron is not followed in the same way.
        assert [electrons for _, electrons in found[pixel]] == pytest.approx([q for _, q in expected], abs=0.02)


# The whole response


@pytest.mark.parametrize(
    "values",
    [
        {},
        draw_throw(9, 0),
        draw_throw(9, 1),
        draw_throw(9, 2),
        {"recombination": "box"},
        {"electric_field": 0.45, "electron_lifetime": 500.0},
        {"electric_field": 0.25, "longitudinal_diffusion": 1e-5},
        {"transverse_diffusion": 0.0, "longitudinal_diffusion": 0.0},
        pytest.param({"transverse_diffusion": 4e-5}, id="three rings", marks=pytest.mark.slow),
        {"buffer_risetime": 0.0},
        {"reset_noise": 0.0, "uncorrelated_noise": 0.0, "discriminator_noise": 0.0},
        {"discriminator_threshold": 3000.0},
        {"noise_hits": 20.0, "dead_fraction": 0.1, "adc_offset": 3.25},
        {"noise_hits": 3.0, "dead_fraction": 0.2, "dead_group": 8},
    ],
    ids=lambda values: ",".join(f"{name}" for name in list(values)[:2]) or "nominal",
)
def test_voxels_are_those_of_the_compiled_response(
    straight_muons: tuple[Deposits, np.ndarray], values: dict[str, float | str]
) -> None:
    deposits, event_id = straight_muons
    draws = [LArTPCParameters.from_mapping(values)] * 4, [7, 8, 9, 10]
    check_agreement(
        simulate_draws_torch(DeviceDeposits.of(deposits, "cpu"), event_id, *draws),
        simulate_draws(deposits, event_id, *draws),
        1000,
    )


def random_deposits(events: int, seed: int) -> Deposits:
    """Blobs of segments and points anywhere in two modules, some at the planes, at the cathode, early or late."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 60, events)
    rows = int(lengths.sum())
    start = np.repeat(random.uniform([-150, -20, -20], [150, 20, 20], (events, 3)), lengths, axis=0)
    start += random.normal(0.0, 1.0, (rows, 3))
    edge = random.random(rows) < 0.2
    start[edge, 0] = random.choice([-50.4, 0.0, 50.4, 100.8], edge.sum()) + random.normal(0.0, 0.05, edge.sum())
    end = start + random.normal(0.0, 0.3, (rows, 3)) * (random.random((rows, 1)) < 0.7)
    time = random.choice([-5.0, 0.0, 2.0, 100.0, 310.0, 1e5, 1e7], rows, p=[0.1, 0.5, 0.1, 0.1, 0.1, 0.05, 0.05])
    return Deposits(
        np.concatenate([[0], np.cumsum(lengths)]),
        start.astype(np.float32),
        end.astype(np.float32),
        random.exponential(0.8, rows).astype(np.float32) * (random.random(rows) < 0.95),
        (time + random.exponential(0.1, rows)).astype(np.float32),
    )


def test_charge_at_the_edges_of_space_and_time_gives_the_same_voxels() -> None:
    deposits = random_deposits(120, 3)
    ids, seed = np.arange(120) - 60, 2**64 - 1
    compiled = simulate(deposits, ids, NOMINAL, seed)
    check_agreement([simulate_torch(deposits, ids, NOMINAL, seed)], [compiled], 2000)


def test_an_event_is_the_same_in_any_batch(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = muons
    points = draw_parameters(3, event_id)
    # Another buffer in the call asks for more passes of the low pass.
    points[3] = LArTPCParameters(buffer_risetime=1.5)
    together = simulate_torch(deposits, event_id, points, 5)
    assert same(simulate_torch(deposits, event_id, points, 5, pairs_at_once=1), together)
    events = together.to_events()
    order = np.array([5, 2, 2, 7, 0])
    some = simulate_torch(deposits.select(order), event_id[order], [points[event] for event in order], 5).to_events()
    expected = events.select(order)
    assert np.array_equal(some.offsets, expected.offsets)
    assert np.array_equal(some.coords, expected.coords)
    assert np.array_equal(some.features, expected.features)


def test_draws_are_single_simulations(muons: tuple[Deposits, np.ndarray]) -> None:
    """Some share their charge, some share it for a part of the events, some have a table of their own."""
    deposits, event_id = muons
    mixed = [LArTPCParameters(electron_lifetime=1000.0 if event % 2 else 2200.0) for event in range(8)]
    points = [NOMINAL, draw_parameters(1, event_id), mixed, LArTPCParameters(electric_field=0.4)]
    seeds = [1, 2, 2, 3]
    on_device = DeviceDeposits.of(deposits, "cpu")
    draws = simulate_draws_torch(on_device, event_id, points, seeds)
    for draw, parameters, seed in zip(draws, points, seeds, strict=True):
        assert same(draw, simulate_torch(deposits, event_id, parameters, seed))


def test_resimulation_runs_on_a_device(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = muons
    resimulator = Resimulator(DeviceDeposits.of(deposits, "cpu"), event_id, simulate_draws_torch, draw_parameters)
    first, second = resimulator.draws(np.array([4, 1]), seed=3, step=2)
    assert len(first) == len(second) == 2
    assert not torch.equal(first.features, second.features)
    again = resimulator.draws(np.array([1, 4]), seed=3, step=2)[0].to_events()
    assert voxels(again.select(np.array([1, 0]))) == voxels(first.to_events())


def test_selected_deposits_are_those_of_the_container(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, _ = muons
    index = np.array([3, 3, 0, 6])
    expected, selected = deposits.select(index), DeviceDeposits.of(deposits, "cpu").select(index)
    assert np.array_equal(selected.offsets, expected.offsets)
    for name in ("start", "end", "energy", "time"):
        assert np.array_equal(getattr(selected, name).numpy(), getattr(expected, name))


def test_events_without_charge_stay_as_empty_events() -> None:
    deposits = random_deposits(3, 1)
    silent = Deposits(deposits.offsets, deposits.start, deposits.end, 0 * deposits.energy, deposits.time)
    late = Deposits(deposits.offsets, deposits.start, deposits.end, deposits.energy, deposits.time + np.float32(1e8))
    faint = Deposits(deposits.offsets, deposits.start, deposits.end, deposits.energy * np.float32(1e-6), deposits.time)
    none = deposits.select(np.empty(0, np.int64))
    for nothing in (silent, late, faint, none):
        events = simulate_torch(nothing, np.arange(len(nothing)), NOMINAL, 1).to_events()
        assert len(events) == len(nothing)
        assert len(events.coords) == 0
    empty = Deposits(np.array([0, 0, deposits.offsets[1], deposits.offsets[1]]), *first_rows(deposits))
    events = simulate_torch(empty, np.arange(3), NOMINAL, 1).to_events()
    assert events.voxels_per_event[[0, 2]].tolist() == [0, 0]


def first_rows(deposits: Deposits) -> list[np.ndarray]:
    return [column[: deposits.offsets[1]] for column in (deposits.start, deposits.end, deposits.energy, deposits.time)]


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_memory_goes_with_the_charge_and_not_with_the_volume(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits = muons[0].select(np.array([0]))
    half = len(deposits.energy) // 2

    def largest(distance: float) -> int:
        shift = np.where(np.arange(len(deposits.energy)) < half, 0.0, distance).astype(np.float32)[:, None]
        apart = Deposits(deposits.offsets, deposits.start + shift, deposits.end + shift, deposits.energy, deposits.time)
        with LargestTensor() as made:
            simulate_torch(apart, np.array([1]), NOMINAL, 1)
        return made.numbers

    assert largest(9e4) < 1.5 * largest(0.0)


def test_a_deterministic_mode_of_torch_is_left_as_it_was(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits, event_id = muons
    expected = simulate_torch(deposits, event_id, NOMINAL, 1)
    torch.use_deterministic_algorithms(True)
    try:
        assert same(simulate_torch(deposits, event_id, NOMINAL, 1), expected)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"event_id": np.arange(2)}, "one entry for each of 8 events"),
        ({"parameters": [NOMINAL]}, "one for each of 8 events"),
    ],
)
def test_impossible_arguments_are_refused(
    muons: tuple[Deposits, np.ndarray], arguments: dict[str, object], message: str
) -> None:
    deposits, event_id = muons
    with pytest.raises(UsageError, match=message):
        simulate_torch(deposits, **{"event_id": event_id, "parameters": NOMINAL, "seed": 1, **arguments})


def test_impossible_deposits_are_named(muons: tuple[Deposits, np.ndarray]) -> None:
    deposits = muons[0].select(np.arange(2))
    energy = deposits.energy.copy()
    energy[3] = np.nan
    with pytest.raises(DataError, match="deposit 3: energy must be finite"):
        DeviceDeposits.of(Deposits(deposits.offsets, deposits.start, deposits.end, energy, deposits.time), "cpu")
    energy[[3, -1]] = 1.0, 1e6
    # In a point, where recombination knows no density.
    huge = Deposits(deposits.offsets, deposits.start, deposits.start, energy, deposits.time)
    with pytest.raises(DataError, match=r"event 1: .* electrons; at most 2\.15e\+09"):
        simulate_torch(huge, np.arange(2), [NOMINAL, LArTPCParameters(electric_field=0.4)], 1)
