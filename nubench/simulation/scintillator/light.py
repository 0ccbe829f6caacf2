"""From energy to light: quenching in the plastic, and leakage through the faces of the cubes.

Birks' law (J. B. Birks, Proc. Phys. Soc. A 64 (1951) 874): a length dx that takes the energy dE gives light in
proportion to dE / (1 + kB dE/dx).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from nubench.containers import Bool, Float32, Float64, Int64
from nubench.simulation.scintillator.cubes import (
    CUBES_A_SIDE,
    LOWEST_INDEX,
    cube_number,
    is_inside,
    segment_length,
    split_at_faces,
    sum_by_cube,
)

POINT_LENGTH_CM: Final = 2e-4
"""Shorter segments are points: single-precision coordinates of a hall do not resolve their length."""

GATE_US: Final = 10.0
"""Light is collected from the birth of the primary until then."""

FACES: Final = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
"""Steps to the six neighbours of a cube."""


@njit(cache=True, nogil=True)
def quenched_energy(energy: float, length: float, birks_k: float) -> float:
    """Compute dE / (1 + kB dE/dx), the energy that shines, MeV.

    Args:
        energy: MeV.
        length: cm; a segment shorter than :data:`POINT_LENGTH_CM` counts as a point with dE/dx = 0.
        birks_k: cm/MeV.
    """
    energy_per_length = energy / length if length >= POINT_LENGTH_CM else 0.0
    return energy / (1.0 + birks_k * energy_per_length)


@njit(cache=True, nogil=True)
def light_of_deposits(
    start: Float32, end: Float32, energy: Float32, time: Float32, birks_k: float
) -> tuple[Int64, Float64]:
    """Turn one event's deposits into the light set free in each cube.

    Args:
        start, end: (N, 3) cm.
        energy: (N,) MeV.
        time: (N,) us; deposits before 0 or after :data:`GATE_US` give no light.
        birks_k: cm/MeV.

    Returns:
        (C,) numbers of the cubes with light, ascending, and (C,) quenched energy in each, MeV.
    """
    quenched = np.zeros(len(energy))
    for row in range(len(energy)):
        if 0.0 <= time[row] <= GATE_US:
            quenched[row] = quenched_energy(np.float64(energy[row]), segment_length(start, end, row), birks_k)
    cubes, light = split_at_faces(start, end, quenched)
    numbers, sums, _ = sum_by_cube(cubes, light, np.zeros(len(cubes), np.bool_))
    return numbers, sums


@njit(cache=True, nogil=True)
def leak_light(cubes: Int64, light: Float64, leakage: float) -> tuple[Int64, Float64, Bool]:
    """Let a share of each cube's light through each of its six faces.

    A cube keeps 1 - 6 ``leakage`` of its light. What has leaked does not leak again: ``leakage`` is what measurements
    of the crosstalk give, the light of a neighbour over that of the cube that was hit. Light that leaves the detector
    is lost.

    Args:
        cubes: (C,) numbers of different cubes.
        light: (C,) light set free in each.
        leakage: share a face.

    Returns:
        (L,) numbers of the cubes that have light, ascending, (L,) their light, and (L,) whether light was set free in
        the cube itself.
    """
    capacity = len(cubes) * (1 + len(FACES))
    receiver = np.empty(capacity, np.int64)
    received = np.empty(capacity)
    own = np.zeros(capacity, np.bool_)
    used = 0
    for source in range(len(cubes)):
        receiver[used] = cubes[source]
        received[used] = light[source] * (1.0 - len(FACES) * leakage)
        own[used] = True
        used += 1
        if leakage == 0.0:
            continue
        x = cubes[source] // (CUBES_A_SIDE * CUBES_A_SIDE) + LOWEST_INDEX
        y = cubes[source] // CUBES_A_SIDE % CUBES_A_SIDE + LOWEST_INDEX
        z = cubes[source] % CUBES_A_SIDE + LOWEST_INDEX
        for to_x, to_y, to_z in FACES:
            if is_inside(x + to_x, y + to_y, z + to_z):
                receiver[used] = cube_number(x + to_x, y + to_y, z + to_z)
                received[used] = light[source] * leakage
                used += 1
    return sum_by_cube(receiver[:used], received[:used], own[:used])
