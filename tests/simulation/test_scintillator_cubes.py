"""Sharing of segments among cubes, against exact rational arithmetic."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.detectors import ScintillatorCubes
from nubench.simulation.scintillator import CUBE_CM, CUBES_A_SIDE, LOWEST_INDEX
from nubench.simulation.scintillator.cubes import cube_indices, cube_number, split_at_faces, sum_by_cube

Point = tuple[float, float, float]
Shares = dict[tuple[int, ...], float]


def exact_shares(start: Point, end: Point) -> Shares:
    """Share of the path in each cube: cut at every crossing, and ask the middle of each piece where it lies."""
    first, last = [Fraction(x) for x in start], [Fraction(x) for x in end]
    cuts = {Fraction(0), Fraction(1)}
    for a, b in zip(first, last, strict=True):
        if a != b:
            faces = range(math.ceil(min(a, b)), math.floor(max(a, b)) + 1)
            cuts |= {(face - a) / (b - a) for face in faces}
    bounds = sorted(cuts)
    shares: Shares = defaultdict(float)
    for low, high in itertools.pairwise(bounds):
        middle = (low + high) / 2
        cube = tuple(math.floor(a + middle * (b - a)) for a, b in zip(first, last, strict=True))
        if all(LOWEST_INDEX <= index < LOWEST_INDEX + CUBES_A_SIDE for index in cube):
            shares[cube] += float(high - low)
    return shares


def shares_of(start: Point, end: Point, amount: float = 1.0) -> Shares:
    cubes, parts = split_at_faces(np.array([start], np.float32), np.array([end], np.float32), np.array([amount]))
    shares: Shares = defaultdict(float)
    for cube, part in zip(cube_indices(cubes), parts, strict=True):
        shares[tuple(cube.tolist())] += part
    return shares


anywhere = st.floats(-104, 104, width=32)
on_a_grid = st.integers(-412, 412).map(lambda quarter: quarter / 4)
points = st.tuples(*[st.one_of(anywhere, on_a_grid)] * 3)
steps = st.tuples(*[st.one_of(st.floats(-3, 3, width=32), st.sampled_from([0.0, 0.5, -0.25, 1.0, -2.0]))] * 3)


@settings(deadline=None, max_examples=200)
@given(points, steps)
def test_short_segments_are_shared_as_exact_arithmetic_shares_them(start: Point, step: Point) -> None:
    end = tuple(float(np.float32(a + b)) for a, b in zip(start, step, strict=True))
    expected, found = exact_shares(start, end), shares_of(start, end)
    for cube in expected.keys() | found.keys():
        assert found[cube] == pytest.approx(expected[cube], abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(points, points)
def test_long_segments_are_shared_as_exact_arithmetic_shares_them(start: Point, end: Point) -> None:
    expected, found = exact_shares(start, end), shares_of(start, end)
    for cube in expected.keys() | found.keys():
        assert found[cube] == pytest.approx(expected[cube], abs=1e-12)


def test_a_face_belongs_to_the_cube_above_it() -> None:
    assert shares_of((3.0, 0.5, 0.5), (3.0, 0.5, 0.5)) == {(3, 0, 0): 1.0}
    assert shares_of((3.0, 0.25, 0.5), (3.0, 0.75, 0.5)) == {(3, 0, 0): 1.0}
    assert shares_of((-3.0, 0.5, 0.5), (-3.5, 0.5, 0.5)) == {(-4, 0, 0): 1.0}
    assert shares_of((2.5, 0.5, 0.5), (3.0, 0.5, 0.5)) == {(2, 0, 0): 1.0}


def test_a_diagonal_through_corners_touches_no_other_cube() -> None:
    assert shares_of((0.0, 0.0, 0.0), (4.0, 4.0, 4.0)) == {(n, n, n): 0.25 for n in range(4)}
    assert shares_of((4.0, 4.0, 4.0), (0.0, 0.0, 0.0)) == {(n, n, n): 0.25 for n in range(4)}


def test_the_box_has_its_stated_ends() -> None:
    assert shares_of((-100.0, 0.5, 0.5), (-100.0, 0.5, 0.5)) == {(-100, 0, 0): 1.0}
    assert shares_of((99.99, 0.5, 0.5), (99.99, 0.5, 0.5)) == {(99, 0, 0): 1.0}
    assert shares_of((100.0, 0.5, 0.5), (100.0, 0.5, 0.5)) == {}
    assert shares_of((0.5, 0.5, -100.01), (0.5, 0.5, -100.01)) == {}
    through = shares_of((0.5, -200.0, 0.5), (0.5, 200.0, 0.5))
    assert len(through) == CUBES_A_SIDE
    assert sum(through.values()) == pytest.approx(0.5)


def test_rows_with_nothing_to_share_are_left_out() -> None:
    assert shares_of((0.5, 0.5, 0.5), (5.5, 0.5, 0.5), amount=0.0) == {}


@given(*[st.integers(LOWEST_INDEX, LOWEST_INDEX + CUBES_A_SIDE - 1)] * 3)
def test_numbers_and_indices_belong_together(x: int, y: int, z: int) -> None:
    number = cube_number(x, y, z)
    assert 0 <= number < CUBES_A_SIDE**3
    assert cube_indices(np.array([number])).tolist() == [[x, y, z]]


def test_entries_of_a_cube_are_added_up_and_cubes_ordered() -> None:
    numbers, sums, marked = sum_by_cube(
        np.array([7, 3, 7, 5]), np.array([1.0, 2.0, 4.0, 8.0]), np.array([False, False, True, False])
    )
    assert (numbers.tolist(), sums.tolist(), marked.tolist()) == ([3, 5, 7], [2.0, 8.0, 5.0], [False, False, True])


def test_cubes_have_the_edge_that_the_detector_states() -> None:
    assert ScintillatorCubes.voxel_size_cm == CUBE_CM == 1.0
