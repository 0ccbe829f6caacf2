"""From light to hits: Poisson numbers of photoelectrons, saturation, threshold, and the masking of crosstalk.

Every random number belongs to (seed, event, cube) and a purpose. One event therefore sees the same numbers at every
setting, and more light never gives fewer photoelectrons.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from nubench.containers import Bool, Float64, Int64
from nubench.simulation.random_streams import poisson_quantile, uniform_pair
from nubench.simulation.scintillator.parameters import ScintillatorParameters

FIBRES: Final = 3
"""Fibres that read a cube, one along each axis."""

_PURPOSE_PHOTOELECTRONS: Final = np.uint64(1)
_PURPOSE_CROSSTALK: Final = np.uint64(2)


class Photosensors(NamedTuple):
    """What compiled code needs to know.

    Attributes:
        light_yield: photoelectrons for each MeV of quenched energy, all fibres together.
        pixels: of the photosensors of all fibres together; 0 for no limit.
        threshold: photoelectrons.
        crosstalk: share of the crosstalk hits that is kept.
    """

    light_yield: float
    pixels: float
    threshold: float
    crosstalk: float


def photosensors_of(parameters: ScintillatorParameters) -> Photosensors:
    """Pick what the photosensors need from the parameters."""
    return Photosensors(
        FIBRES * float(parameters.light_yield),
        FIBRES * float(parameters.mppc_pixels),
        float(parameters.threshold),
        float(parameters.crosstalk),
    )


@njit(cache=True, nogil=True)
def fired_pixels(photoelectrons: float, pixels: float) -> float:
    """Compute how many pixels fire: pixels (1 - exp(-photoelectrons / pixels)), rounded to a whole number.

    The mean for photoelectrons spread evenly over the pixels, each of which counts one only.

    Args:
        photoelectrons: 0 or above.
        pixels: 0 for no limit.
    """
    if pixels <= 0.0:
        return photoelectrons
    return math.floor(-pixels * math.expm1(-photoelectrons / pixels) + 0.5)


@njit(cache=True, nogil=True)
def find_hits(
    cubes: Int64, light: Float64, from_track: Bool, key: np.uint64, sensors: Photosensors
) -> tuple[Int64, Float64, Bool]:
    """Count the photoelectrons of each cube and keep what makes a hit.

    Args:
        cubes: (L,) cube numbers.
        light: (L,) quenched energy that shines in each, MeV.
        from_track: (L,) whether a part of it was set free there; the others are crosstalk.
        key: the event's key.
        sensors: the settings.

    Returns:
        For the H hits, in the order of the cubes: (H,) cube number, (H,) photoelectrons, (H,) ``from_track``.
    """
    kept = np.zeros(len(cubes), np.bool_)
    counted = np.empty(len(cubes))
    for cube in range(len(cubes)):
        channel = np.uint64(cubes[cube])
        uniform, _ = uniform_pair(key, channel, _PURPOSE_PHOTOELECTRONS, np.uint64(0))
        photoelectrons = poisson_quantile(light[cube] * sensors.light_yield, uniform)
        counted[cube] = fired_pixels(photoelectrons, sensors.pixels)
        if counted[cube] < max(sensors.threshold, 1.0):
            continue
        kept[cube] = from_track[cube] or keeps_crosstalk(key, channel, sensors.crosstalk)
    return cubes[kept], counted[kept], from_track[kept]


@njit(cache=True, nogil=True)
def keeps_crosstalk(key: np.uint64, channel: np.uint64, share: float) -> bool:
    """Decide over one crosstalk hit; what a smaller share keeps, a larger one keeps too.

    Args:
        key: the event's key.
        channel: number of the cube.
        share: of the crosstalk hits that are kept, 0 to 1.
    """
    uniform, _ = uniform_pair(key, channel, _PURPOSE_CROSSTALK, np.uint64(0))
    return uniform < share
