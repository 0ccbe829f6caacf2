"""Quenching, the time gate, and leakage between cubes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.simulation.scintillator.cubes import cube_indices, cube_number
from nubench.simulation.scintillator.light import GATE_US, leak_light, light_of_deposits, quenched_energy

BIRKS_K = 0.0126


@pytest.mark.parametrize(
    ("energy_per_cm", "expected"),
    [
        # A minimum ionising particle, a proton of 100 MeV and one of 10 MeV (dE/dx from PSTAR, rounded).
        (2.05, 1 / 1.02583),
        (7.5, 1 / 1.0945),
        (48.0, 1 / 1.6048),
    ],
)
def test_quenching_follows_birks_law(energy_per_cm: float, expected: float) -> None:
    for length in (0.001, 0.1, 3.0):
        energy = energy_per_cm * length
        assert quenched_energy(energy, length, BIRKS_K) / energy == pytest.approx(expected, rel=1e-6)


def test_points_are_not_quenched() -> None:
    assert quenched_energy(0.3, 0.0, BIRKS_K) == 0.3
    assert quenched_energy(0.3, 1e-4, BIRKS_K) == 0.3
    assert quenched_energy(0.3, 0.1, 0.0) == 0.3


def light(start: object, end: object, energy: object, time: object) -> dict[tuple[int, ...], float]:
    columns = (np.array(column, np.float32) for column in (start, end, energy, time))
    cubes, amount = light_of_deposits(*columns, BIRKS_K)
    assert np.all(np.diff(cubes) > 0)
    return dict(zip(map(tuple, cube_indices(cubes).tolist()), amount.tolist(), strict=True))


def test_the_loss_of_the_whole_segment_quenches_all_its_pieces() -> None:
    found = light([[0.5, 0.5, 0.5]], [[2.0, 0.5, 0.5]], [15.0], [0.0])
    quenched = 15.0 / (1 + BIRKS_K * 10.0)
    assert found == {(0, 0, 0): pytest.approx(quenched / 3), (1, 0, 0): pytest.approx(quenched * 2 / 3)}


def test_light_of_several_deposits_in_a_cube_is_added_up() -> None:
    point = [0.5, -0.5, 0.5]
    assert light([point] * 3, [point] * 3, [1.0, 2.0, 4.0], [0.0, 0.0, 1.0]) == {(0, -1, 0): 7.0}


def test_light_outside_the_gate_is_lost() -> None:
    places = [[float(x) + 0.5, 0.5, 0.5] for x in range(5)]
    times = [-0.1, 0.0, 2.2, GATE_US, 10.1]
    assert light(places, places, [1.0] * 5, times) == {(1, 0, 0): 1.0, (2, 0, 0): 1.0, (3, 0, 0): 1.0}


def leaked_one_by_one(lit: dict[tuple[int, int, int], float], leakage: float) -> dict[tuple[int, int, int], float]:
    found: dict[tuple[int, int, int], float] = defaultdict(float)
    for (x, y, z), amount in lit.items():
        found[x, y, z] += amount * (1 - 6 * leakage)
        for axis in range(3):
            for side in (-1, 1):
                neighbour = [x, y, z]
                neighbour[axis] += side
                if leakage > 0 and -100 <= neighbour[axis] <= 99:
                    found[tuple(neighbour)] += amount * leakage
    return found


near_a_corner = st.sampled_from([-100, -99, -98, 98, 99])
middle = st.integers(-2, 2)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.one_of(st.tuples(*[near_a_corner] * 3), st.tuples(*[middle] * 3)), st.floats(0.01, 50), max_size=20
    ),
    st.sampled_from([0.0, 0.03, 0.06, 0.16]),
)
def test_leakage_against_a_loop_over_faces(lit: dict[tuple[int, int, int], float], leakage: float) -> None:
    cubes = np.array([cube_number(*cube) for cube in lit], np.int64)
    numbers, amount, own = leak_light(cubes, np.array(list(lit.values()), np.float64), leakage)
    found = dict(zip(map(tuple, cube_indices(numbers).tolist()), amount.tolist(), strict=True))
    assert found == pytest.approx(leaked_one_by_one(lit, leakage))
    assert np.array_equal(own, np.isin(numbers, cubes))
    assert np.all(np.diff(numbers) > 0)


def test_inside_the_detector_no_light_is_lost() -> None:
    random = np.random.default_rng(0)
    cubes = np.unique([cube_number(*index) for index in random.integers(-50, 50, (400, 3))])
    amount = random.exponential(2.0, len(cubes))
    for leakage in (0.0, 0.01, 0.03, 0.06, 0.16):
        assert leak_light(cubes, amount, leakage)[1].sum() == pytest.approx(amount.sum(), rel=1e-12)


@pytest.mark.parametrize(("cube", "outer_faces"), [((-100, 0, 0), 1), ((99, 99, 0), 2), ((-100, 99, -100), 3)])
def test_light_through_the_outer_surface_is_lost(cube: tuple[int, int, int], outer_faces: int) -> None:
    _, amount, _ = leak_light(np.array([cube_number(*cube)]), np.array([1.0]), 0.03)
    assert amount.sum() == pytest.approx(1 - 0.03 * outer_faces)
    assert amount.max() == pytest.approx(0.82)
