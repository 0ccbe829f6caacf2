"""The grid of cubes: where they are, how they are numbered, and which of them a deposit crosses.

200 cubes of 1 cm along each axis, the box centred on the origin. The cube of index c along an axis spans c cm to
(c + 1) cm, c from -100 to 99. A face belongs to the cube above it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from nubench.containers import Bool, Float32, Float64, Int32, Int64

CUBE_CM: Final = 1.0
"""Edge of a cube, cm. Positions in cm are positions in cubes: the code below divides by it nowhere."""

CUBES_A_SIDE: Final = 200
"""Cubes along each axis."""

LOWEST_INDEX: Final = -100
"""Index of the first cube along each axis."""


@njit(cache=True, nogil=True)
def is_inside(x: int, y: int, z: int) -> bool:
    """Tell whether a cube with these indices is part of the detector."""
    return bool(
        LOWEST_INDEX <= x < LOWEST_INDEX + CUBES_A_SIDE
        and LOWEST_INDEX <= y < LOWEST_INDEX + CUBES_A_SIDE
        and LOWEST_INDEX <= z < LOWEST_INDEX + CUBES_A_SIDE
    )


@njit(cache=True, nogil=True)
def cube_number(x: int, y: int, z: int) -> int:
    """Number a cube of the detector, 0 to 200^3 - 1; the order is that of the indices, x before y before z."""
    return ((x - LOWEST_INDEX) * CUBES_A_SIDE + (y - LOWEST_INDEX)) * CUBES_A_SIDE + (z - LOWEST_INDEX)


def cube_indices(numbers: Int64) -> Int32:
    """Return the indices (N, 3) of numbered cubes (N,)."""
    shape = (CUBES_A_SIDE,) * 3
    return (np.stack(np.unravel_index(numbers, shape), axis=1) + LOWEST_INDEX).astype(np.int32)


@njit(cache=True, nogil=True, inline="always")
def _path(start: Float32, end: Float32, row: int, axis: int) -> float:
    # In compiled code float() leaves single precision as it is.
    return np.float64(end[row, axis]) - np.float64(start[row, axis])


@njit(cache=True, nogil=True)
def segment_length(start: Float32, end: Float32, row: int) -> float:
    """Compute the length of one row of start (N, 3) and end (N, 3)."""
    squared = 0.0
    for axis in range(3):
        squared += _path(start, end, row, axis) ** 2
    return math.sqrt(squared)


@njit(cache=True, nogil=True)
def _most_pieces(start: Float32, end: Float32) -> int:
    """Bound the number of pieces that all segments are cut into."""
    total = len(start)
    for row in range(len(start)):
        for axis in range(3):
            total += abs(math.floor(end[row, axis]) - math.floor(start[row, axis]))
    return total


@njit(cache=True, nogil=True)
def _next_crossing(index: int, step: int, first: float, path: float) -> float:
    """Return the share of the path after which it leaves a cube along an axis; infinite when it stays level."""
    if step == 0:
        return math.inf
    face = index + 1 if step > 0 else index
    return (face - first) / path


@njit(cache=True, nogil=True)
def split_at_faces(start: Float32, end: Float32, amount: Float64) -> tuple[Int64, Float64]:
    """Share out what N segments carry among the cubes they cross, in proportion to the path in each.

    Each crossing is computed from the ends of the segment, not from the crossing before it, so nothing adds up along
    a long segment. A segment without length gives all to the cube it lies in.

    Args:
        start, end: (N, 3) cm.
        amount: (N,) what is shared; rows of 0 are left out.

    Returns:
        (P,) cube numbers and (P,) amounts above 0, in the order of the path; a cube may stand more than once. What
        lies outside the detector is in none.
    """
    capacity = _most_pieces(start, end)
    cubes = np.empty(capacity, np.int64)
    shares = np.empty(capacity)
    used = 0
    index = np.empty(3, np.int64)
    step = np.empty(3, np.int64)
    crossing = np.empty(3)
    for row in range(len(amount)):
        if amount[row] <= 0.0:
            continue
        for axis in range(3):
            path = _path(start, end, row, axis)
            index[axis] = math.floor(start[row, axis])
            step[axis] = (path > 0.0) - (path < 0.0)
            crossing[axis] = _next_crossing(index[axis], step[axis], np.float64(start[row, axis]), path)
        done = 0.0
        while done < 1.0:
            axis = int(np.argmin(crossing))
            reached = min(crossing[axis], 1.0)
            if reached > done and is_inside(index[0], index[1], index[2]):
                cube = cube_number(index[0], index[1], index[2])
                if used > 0 and cubes[used - 1] == cube:
                    shares[used - 1] += amount[row] * (reached - done)
                else:
                    cubes[used] = cube
                    shares[used] = amount[row] * (reached - done)
                    used += 1
            done = reached
            index[axis] += step[axis]
            path = _path(start, end, row, axis)
            crossing[axis] = _next_crossing(index[axis], step[axis], np.float64(start[row, axis]), path)
    return cubes[:used], shares[:used]


@njit(cache=True, nogil=True)
def sum_by_cube(cubes: Int64, amount: Float64, marked: Bool) -> tuple[Int64, Float64, Bool]:
    """Add up what belongs to the same cube.

    Args:
        cubes: (P,) cube numbers, in any order.
        amount: (P,) what is added up.
        marked: (P,) a property of the entries.

    Returns:
        (C,) cube numbers, ascending, (C,) sums, and (C,) whether any entry of the cube was marked.
    """
    order = np.argsort(cubes, kind="mergesort")  # stable: the sums do not depend on the sorting
    numbers = np.empty(len(cubes), np.int64)
    sums = np.empty(len(cubes))
    any_marked = np.zeros(len(cubes), np.bool_)
    used = 0
    for entry in order:
        if used == 0 or numbers[used - 1] != cubes[entry]:
            numbers[used] = cubes[entry]
            sums[used] = 0.0
            used += 1
        sums[used - 1] += amount[entry]
        any_marked[used - 1] |= marked[entry]
    return numbers[:used], sums[:used], any_marked[:used]
