"""Simulating the same truth again and again: what a draw depends on, and what is handed to the back end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.containers import Deposits, Events, Int64
from nubench.errors import UsageError
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, simulate, simulate_draws
from nubench.simulation.resimulation import Resimulator, draw_seed


def same(first: Events, second: Events) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name)) for field in dataclasses.fields(Events)
    )


@pytest.fixture(scope="module")
def resimulator(
    straight_muons: tuple[Deposits, np.ndarray],
) -> Resimulator[Deposits, LArTPCParameters, Events]:
    return Resimulator(*straight_muons, simulate_draws, draw_parameters)


def test_events_are_those_of_the_back_end(
    straight_muons: tuple[Deposits, np.ndarray], resimulator: Resimulator[Deposits, LArTPCParameters, Events]
) -> None:
    deposits, event_id = straight_muons
    index = np.array([5, 2, 11])
    points = [LArTPCParameters(gain=gain) for gain in (3.9, 4.0, 4.2)]
    expected = simulate(deposits.select(index), event_id[index], points, 9)
    assert same(resimulator.events(index, points, 9), expected)
    assert len(resimulator) == len(event_id)


def test_draws_differ_in_noise_and_working_point(
    resimulator: Resimulator[Deposits, LArTPCParameters, Events],
) -> None:
    index = np.arange(24)
    first, second = resimulator.draws(index, seed=0, step=3)
    later, _ = resimulator.draws(index, seed=0, step=4)
    reseeded, _ = resimulator.draws(index, seed=1, step=3)
    for other in (second, later, reseeded):
        pedestals = [
            np.median(one.features[one.offsets[i] : one.offsets[i + 1]]) for one in (first, other) for i in index
        ]
        moved = np.subtract(pedestals[:24], pedestals[24:])
        # Twice the 29 counts of a pedestal's sigma, in quadrature.
        assert np.std(moved) == pytest.approx(29.4 * 2**0.5, rel=0.45)
    assert same(first, resimulator.draws(index, seed=0, step=3)[0])


@settings(deadline=None, max_examples=8)
@given(st.permutations(range(24)), st.integers(1, 24), st.integers(1, 3))
def test_a_draw_does_not_depend_on_the_batch(
    resimulator: Resimulator[Deposits, LArTPCParameters, Events], order: list[int], size: int, number: int
) -> None:
    index = np.array(order[:size])
    everything = resimulator.draws(np.arange(24), seed=5, step=1, number=3)
    for whole, part in zip(everything, resimulator.draws(index, 5, 1, number), strict=False):
        assert same(whole.select(index), part)


def test_any_container_and_back_end_will_do() -> None:
    """Nothing is asked of the deposits but their number and a selection, of the results nothing at all."""

    class Elsewhere:
        def __init__(self, charge: list[float]) -> None:
            self.charge = charge

        def __len__(self) -> int:
            return len(self.charge)

        def select(self, index: np.ndarray) -> Elsewhere:
            return Elsewhere([self.charge[i] for i in index])

    def respond(
        deposits: Elsewhere, event_id: Int64, parameters: Sequence[Sequence[float]], seeds: Sequence[int]
    ) -> list[tuple[list[float], list[int], int]]:
        return [
            ([gain * charge for gain, charge in zip(gains, deposits.charge, strict=True)], event_id.tolist(), seed)
            for gains, seed in zip(parameters, seeds, strict=True)
        ]

    def draw(seed: int, event_id: Int64) -> list[float]:
        return [10.0 + seed % 7 + event for event in event_id.tolist()]

    resimulator = Resimulator(Elsewhere([1.0, 2.0, 3.0]), np.array([70, 80, 90]), respond, draw)
    assert resimulator.events(np.array([2, 0]), [5.0, 6.0], 4) == ([15.0, 6.0], [90, 70], 4)
    seeds = [draw_seed(1, 2, draw) for draw in (0, 1)]
    assert resimulator.draws(np.array([1]), seed=1, step=2) == [([2.0 * (90 + s % 7)], [80], s) for s in seeds]


def test_the_time_of_its_simulations_is_kept(resimulator: Resimulator[Deposits, LArTPCParameters, Events]) -> None:
    before = resimulator.seconds
    resimulator.draws(np.arange(2), seed=0, step=0)
    of_draws = resimulator.seconds
    resimulator.events(np.arange(2), [LArTPCParameters()] * 2, seed=0)
    assert resimulator.seconds > of_draws > before


def test_seeds_of_draws_are_all_different() -> None:
    seeds = [draw_seed(*numbers) for numbers in np.ndindex(10, 20, 3)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_impossible_arguments_are_refused(resimulator: Resimulator[Deposits, LArTPCParameters, Events]) -> None:
    with pytest.raises(UsageError, match="one entry for each of 24 events"):
        Resimulator(resimulator._deposits, np.arange(3), simulate_draws, draw_parameters)
    for arguments in ((-1, 0), (2**64, 0), (0, -1)):
        with pytest.raises(UsageError, match="must be 0 or above"):
            resimulator.draws(np.arange(2), *arguments)
    with pytest.raises(UsageError, match="one for each of 2 events; got 1"):
        resimulator.events(np.arange(2), [LArTPCParameters()], 1)
