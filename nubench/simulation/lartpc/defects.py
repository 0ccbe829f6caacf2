"""What goes wrong beside the noise: pixels that are dead, and hits that nothing caused.

Both are drawn from :mod:`nubench.simulation.random_streams`. Dead pixels are a property of the detector: they are the
same in every event and for every seed, and those of a smaller fraction are among those of a larger one. Spurious
hits are keyed by seed and event: a larger mean adds hits to those of a smaller one.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from nubench.containers import Bool, Float64, Int64
from nubench.simulation.lartpc.drift import (
    DRIFT_LENGTH_CM,
    NOMINAL_ELECTRIC_FIELD,
    PIXEL_PITCH_CM,
    drift_velocity,
)
from nubench.simulation.lartpc.frontend import TICK_US, TIMESTAMP_LATENCY_US, FrontEnd, adc_of_charge
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.pixels import pack_pixel, unpack_pixel
from nubench.simulation.random_streams import normal_pair, poisson_quantile, uniform_pair

SPURIOUS_Y_CM: Final = (-100.0, 100.0)
SPURIOUS_Z_CM: Final = (550.0, 750.0)
"""Spurious hits lie in the module around x = 0 and between these y and z: 50 cm more than the vertices on all sides."""

_FIRST_ROW = math.floor(SPURIOUS_Y_CM[0] / PIXEL_PITCH_CM)
_ROWS = math.ceil(SPURIOUS_Y_CM[1] / PIXEL_PITCH_CM) - _FIRST_ROW
_FIRST_COLUMN = math.floor(SPURIOUS_Z_CM[0] / PIXEL_PITCH_CM)
_COLUMNS = math.ceil(SPURIOUS_Z_CM[1] / PIXEL_PITCH_CM) - _FIRST_COLUMN
# A hit at these ticks is reconstructed at the plane, and at the cathode.
_FIRST_TICK = math.ceil(TIMESTAMP_LATENCY_US / TICK_US)
_TICKS = int(DRIFT_LENGTH_CM / drift_velocity(NOMINAL_ELECTRIC_FIELD) / TICK_US)

# The detector's own key: neither seed nor event decides which pixels are dead.
DEAD_KEY = np.uint64(0x6465616470697865)
PURPOSE_DEAD = np.uint64(5)
_PURPOSE_SPURIOUS_NUMBER = np.uint64(6)
_PURPOSE_SPURIOUS_PLACE = np.uint64(7)
_PURPOSE_SPURIOUS_CHARGE = np.uint64(8)


class Defects(NamedTuple):
    """What compiled code needs to know: see the parameters of the same names."""

    dead_fraction: float
    dead_group: int
    noise_hits: float


def defects_of(parameters: LArTPCParameters) -> Defects:
    """Pick the settings of dead pixels and spurious hits from the parameters."""
    return Defects(float(parameters.dead_fraction), int(parameters.dead_group), float(parameters.noise_hits))


@njit(cache=True, nogil=True)
def alive(packed: Int64, defects: Defects) -> Bool:
    """Tell which pixels are alive.

    A square group of pixels dies as one. Each has its own number uniform in (0, 1), and is dead when that is below the
    fraction. Groups of another size have numbers of their own.

    Args:
        packed: (N,) packed pixels.
        defects: the settings.

    Returns:
        (N,) True where a pixel is alive.
    """
    living = np.empty(len(packed), np.bool_)
    side = defects.dead_group
    for item in range(len(packed)):
        plane, row, column = unpack_pixel(packed[item])
        group = pack_pixel(plane, row // side, column // side)
        uniform, _ = uniform_pair(DEAD_KEY, np.uint64(group), PURPOSE_DEAD, np.uint64(side))
        living[item] = uniform >= defects.dead_fraction
    return living


@njit(cache=True, nogil=True)
def spurious_hits(key: np.uint64, front_end: FrontEnd, defects: Defects) -> tuple[Int64, Int64, Float64]:
    """Draw the hits of an event that no charge caused.

    Their number is Poisson, their places are uniform over the pixels of the module around x = 0 within
    :data:`SPURIOUS_Y_CM` and :data:`SPURIOUS_Z_CM`, and over the times that are reconstructed between the plane and the
    cathode. A spurious hit reads the threshold and, above it, the size of a normal number as wide as the noise of reset
    and sample together (an assumption: a trigger by noise comes at the threshold, not far above).

    Args:
        key: the event's key.
        front_end: the settings of the pixels.
        defects: the mean number.

    Returns:
        As :func:`~nubench.simulation.lartpc.transport.read_event`: (H,) packed pixel, tick, and charge in electrons.
        Like any other hit, one that reads no more than the pedestal is not kept.
    """
    uniform, _ = uniform_pair(key, np.uint64(0), _PURPOSE_SPURIOUS_NUMBER, np.uint64(0))
    number = int(poisson_quantile(defects.noise_hits, uniform))
    width = math.hypot(front_end.reset_noise, front_end.uncorrelated_noise)
    pedestal = adc_of_charge(0.0, front_end)
    pixel = np.empty(number, np.int64)
    tick = np.empty(number, np.int64)
    charge = np.empty(number)
    used = 0
    for hit in range(number):
        excess, _ = normal_pair(key, np.uint64(hit), _PURPOSE_SPURIOUS_CHARGE, np.uint64(0))
        charge[used] = front_end.discriminator_threshold + abs(excess) * width
        if adc_of_charge(charge[used], front_end) <= pedestal:
            continue
        row, column = uniform_pair(key, np.uint64(hit), _PURPOSE_SPURIOUS_PLACE, np.uint64(0))
        plane, time = uniform_pair(key, np.uint64(hit), _PURPOSE_SPURIOUS_PLACE, np.uint64(1))
        pixel[used] = pack_pixel(
            int(2.0 * plane), _FIRST_ROW + int(_ROWS * row), _FIRST_COLUMN + int(_COLUMNS * column)
        )
        tick[used] = _FIRST_TICK + int(_TICKS * time)
        used += 1
    return pixel[:used], tick[:used], charge[:used]


@njit(cache=True, nogil=True)
def apply_defects(
    pixel: Int64, tick: Int64, charge: Float64, key: np.uint64, front_end: FrontEnd, defects: Defects
) -> tuple[Int64, Int64, Float64]:
    """Add an event's spurious hits to those of its charge, and drop the hits of dead pixels.

    Args:
        pixel, tick, charge: from :func:`~nubench.simulation.lartpc.transport.read_event`.
        key: the event's key.
        front_end: the settings of the pixels.
        defects: the settings of the defects.
    """
    if defects.noise_hits > 0.0:
        more_pixels, more_ticks, more_charge = spurious_hits(key, front_end, defects)
        pixel = np.concatenate((pixel, more_pixels))
        tick = np.concatenate((tick, more_ticks))
        charge = np.concatenate((charge, more_charge))
    if defects.dead_fraction > 0.0:
        living = alive(pixel, defects)
        pixel, tick, charge = pixel[living], tick[living], charge[living]
    return pixel, tick, charge
