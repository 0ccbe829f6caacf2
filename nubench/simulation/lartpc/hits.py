"""Hits of many events: how they are collected, reconstructed and put on the voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from nubench.containers import Events, Float32, Float64, Int32, Int64
from nubench.simulation.lartpc.drift import (
    DRIFT_LENGTH_CM,
    MODULE_LENGTH_CM,
    NOMINAL_ELECTRIC_FIELD,
    PIXEL_PITCH_CM,
    drift_velocity,
)
from nubench.simulation.lartpc.frontend import TICK_US, TIMESTAMP_LATENCY_US, FrontEnd, adc_of_charge
from nubench.simulation.lartpc.pixels import unpack_pixel

VOXEL_CM: Final = 0.38
"""Edge of a voxel on all three axes, cm; across the drift a voxel is a pixel."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits of many events, ragged; in an event they are in order of time, then of pixel.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events.
        pixel: (N, 3) int32: plane along the drift axis, position along y, position along z.
        tick: (N,) int32, the tick in which the charge was sampled, 0 at the birth of the primary.
        charge: (N,) float32, electrons as sampled, noise included.
        adc: (N,) int32, counts.
        position: (N, 3) float32, cm, reconstructed with the nominal drift velocity.
    """

    offsets: Int64
    pixel: Int32
    tick: Int32
    charge: Float32
    adc: Int32
    position: Float32

    def __len__(self) -> int:
        return len(self.offsets) - 1


class EventHits(NamedTuple):
    """Hits of one event as the front end gives them: (H,) packed pixel, tick, electrons, and ADC counts."""

    pixel: Int64
    tick: Int64
    charge: Float64
    adc: Int32


def digitised(pixel: Int64, tick: Int64, charge: Float64, front_end: FrontEnd) -> EventHits:
    """Put one event's hits in order of time, then of pixel, and digitise them."""
    order = np.lexsort((pixel, tick))
    return EventHits(pixel[order], tick[order], charge[order], _adc_of_charges(charge[order], front_end))


@njit(cache=True, nogil=True)
def _adc_of_charges(charge: Float64, front_end: FrontEnd) -> Int32:
    adc = np.empty(len(charge), np.int32)
    for hit in range(len(charge)):
        adc[hit] = adc_of_charge(charge[hit], front_end)
    return adc


@njit(cache=True, nogil=True)
def _unpack_pixels(packed: Int64) -> Int32:
    pixel = np.empty((len(packed), 3), np.int32)
    for hit in range(len(packed)):
        pixel[hit] = unpack_pixel(packed[hit])
    return pixel


def collect_hits(parts: Sequence[EventHits]) -> Hits:
    """Join the hits of E events and reconstruct where they were."""
    offsets = np.concatenate([[0], np.cumsum([len(part.pixel) for part in parts], dtype=np.int64)]).astype(np.int64)
    pixel = _unpack_pixels(np.concatenate([np.empty(0, np.int64), *(part.pixel for part in parts)]))
    tick = np.concatenate([np.empty(0, np.int64), *(part.tick for part in parts)])
    charge = np.concatenate([np.empty(0), *(part.charge for part in parts)])
    adc = np.concatenate([np.empty(0, np.int32), *(part.adc for part in parts)])
    return Hits(offsets, pixel, tick.astype(np.int32), charge.astype(np.float32), adc, _reconstruct(pixel, tick))


def _reconstruct(pixel: Int32, tick: Int64) -> Float32:
    """Place hits at their pixel's centre, and along the drift by their time and the nominal velocity."""
    plane = pixel[:, 0].astype(np.float64)
    module = np.floor(plane / 2.0)
    towards_anode = np.where(plane % 2 == 1, 1.0, -1.0)
    time = tick * TICK_US - TIMESTAMP_LATENCY_US
    anode = module * MODULE_LENGTH_CM + towards_anode * DRIFT_LENGTH_CM
    position = np.empty((len(pixel), 3), np.float32)
    position[:, 0] = anode - towards_anode * time * drift_velocity(NOMINAL_ELECTRIC_FIELD)
    position[:, 1:] = (pixel[:, 1:] + 0.5) * PIXEL_PITCH_CM
    return position


def voxelise(hits: Hits, adc_offset: npt.NDArray[np.floating]) -> Events:
    """Put hits on the voxel grid; of the hits that fall into one voxel the earliest stays.

    Args:
        hits: of E events.
        adc_offset: (E,) what the calibration of each event adds to its ADC counts.

    Returns:
        E events; the feature is the ADC count plus the offset.
    """
    event = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
    coords = np.empty((len(event), 3), np.int32)
    coords[:, 0] = np.floor(hits.position[:, 0].astype(np.float64) / VOXEL_CM)
    coords[:, 1:] = hits.pixel[:, 1:]
    # A stable sort keeps hits of one voxel in order of time.
    order = np.lexsort((coords[:, 2], coords[:, 1], coords[:, 0], event))
    same_event = event[order][1:] == event[order][:-1]
    repeated = np.concatenate([[False], same_event & np.all(coords[order][1:] == coords[order][:-1], axis=1)])
    kept = np.sort(order[~repeated[: len(order)]])
    offsets = np.searchsorted(event[kept], np.arange(len(hits) + 1)).astype(np.int64)
    features = (hits.adc[kept] + adc_offset[event[kept]]).astype(np.float32)
    return Events(offsets, coords[kept], features[:, None])
