"""Hits of many events on a device: defects, digitisation, voxels; see :mod:`~nubench.simulation.lartpc.hits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nubench.containers import Events, Int64
from nubench.simulation.lartpc.defects import DEAD_KEY, PURPOSE_DEAD, defects_of, spurious_hits
from nubench.simulation.lartpc.drift import (
    DRIFT_LENGTH_CM,
    MODULE_LENGTH_CM,
    NOMINAL_ELECTRIC_FIELD,
    drift_velocity,
)
from nubench.simulation.lartpc.frontend import TICK_US, TIMESTAMP_LATENCY_US, front_end_of
from nubench.simulation.lartpc.hits import VOXEL_CM
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.torch_pixels import POSITION_BITS, POSITION_ORIGIN, pack_channel, unpack_channel
from nubench.simulation.lartpc.torch_random import random_words, uniforms
from nubench.simulation.lartpc.torch_settings import Settings
from nubench.simulation.lartpc.transport import LEAD_TICKS
from nubench.simulation.random_streams import event_key

_TICK_BITS = 13


class RawHits(NamedTuple):
    """Hits as the front end gives them: (H,) int64 event, channel, tick, and float64 electrons."""

    event: Tensor
    channel: Tensor
    tick: Tensor
    charge: Tensor

    def of(self, index: Tensor) -> RawHits:
        """Pick some hits, by (M,) int64 index."""
        return RawHits(*(column[index] for column in self))

    @staticmethod
    def concatenate(parts: Sequence[RawHits]) -> RawHits:
        """Join one or more pieces."""
        return RawHits(*(torch.cat(column) for column in zip(*parts, strict=True)))


def no_hits(device: torch.device) -> RawHits:
    """Make an empty list of hits."""
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return RawHits(nothing, nothing, nothing, nothing.double())


@dataclass(frozen=True, eq=False)
class DeviceEvents:
    """:class:`~nubench.containers.Events` on a device.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events.
        coords: (N, 3) int32 voxel indices.
        features: (N, 1) float32, ADC counts.
    """

    offsets: Tensor
    coords: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def to_events(self) -> Events:
        """Copy to the memory of the host."""
        return Events(*(column.cpu().numpy() for column in (self.offsets, self.coords, self.features)))


def with_defects(
    hits: RawHits, points: Sequence[LArTPCParameters], event_id: Int64, seed: int, device: torch.device
) -> RawHits:
    """Add the spurious hits of each event, and drop the hits of dead pixels.

    Args:
        hits: of E events.
        points: E working points.
        event_id: (E,) int64.
        seed: of the noise.
        device: where the hits are.
    """
    defects = [defects_of(point) for point in points]
    noisy = [event for event, of_event in enumerate(defects) if of_event.noise_hits > 0.0]
    if noisy:
        # A few numbers an event, drawn on the host.
        keys = (np.uint64(event_key(np.uint64(seed), event_id[event].astype(np.uint64))) for event in noisy)
        drawn = [
            spurious_hits(key, front_end_of(points[event]), defects[event])
            for event, key in zip(noisy, keys, strict=True)
        ]
        event = np.repeat(noisy, [len(pixel) for pixel, _, _ in drawn])
        columns = (event, *(np.concatenate(column) for column in zip(*drawn, strict=True)))
        hits = RawHits.concatenate([hits, RawHits(*(torch.from_numpy(column).to(device) for column in columns))])
    if any(of_event.dead_fraction > 0.0 for of_event in defects):
        values = np.array([(of_event.dead_fraction, of_event.dead_group) for of_event in defects])
        fraction, side = torch.from_numpy(values).to(device)[hits.event].unbind(1)
        hits = hits.of((_vitality(hits.channel, side.long()) >= fraction).nonzero()[:, 0])
    return hits


def _vitality(channel: Tensor, side: Tensor) -> Tensor:
    """Draw the number of each pixel's group, below which it is dead: see ``defects.alive``."""
    plane, row, column = unpack_channel(channel)
    group = pack_channel(
        plane, torch.div(row, side, rounding_mode="floor"), torch.div(column, side, rounding_mode="floor")
    )
    key = torch.full_like(group, int(DEAD_KEY))
    return uniforms(random_words(key, group, int(PURPOSE_DEAD), side))[0]


def voxelise(hits: RawHits, settings: Settings, adc_offset: Tensor) -> DeviceEvents:
    """Digitise hits and put them on the voxel grid; of the hits that fall into one voxel the earliest stays.

    Args:
        hits: of E events, in any order.
        settings: of the E events.
        adc_offset: (E,) float64, what the calibration adds to the ADC counts.

    Returns:
        E events; voxels in order of time, then of pixel.
    """
    hits = hits.of(hits.channel.argsort(stable=True))
    hits = hits.of(((hits.event << _TICK_BITS) | (hits.tick + LEAD_TICKS)).argsort(stable=True))
    plane, row, column = unpack_channel(hits.channel)
    along = _voxel_along_drift(plane, hits.tick)

    # Rows and columns of the events, numbered, so that a voxel is one whole number; the sort keeps the order of time.
    line = torch.unique(
        (hits.event << (2 * POSITION_BITS)) | ((row + POSITION_ORIGIN) << POSITION_BITS) | (column + POSITION_ORIGIN),
        return_inverse=True,
    )[1]
    voxel, order = ((line << POSITION_BITS) | (along + POSITION_ORIGIN)).sort(stable=True)
    first = torch.ones_like(voxel, dtype=torch.bool)
    first[1:] = voxel[1:] != voxel[:-1]
    kept = order[first].sort().values

    event = hits.event[kept]
    counts = settings.of(event).adc(hits.charge[kept]) + adc_offset[event]
    coords = torch.stack((along[kept], row[kept], column[kept]), dim=1).int()
    lengths = torch.bincount(event, minlength=len(adc_offset))
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return DeviceEvents(offsets, coords, counts.float()[:, None])


def _voxel_along_drift(plane: Tensor, tick: Tensor) -> Tensor:
    """Place hits along the drift by their time and the nominal velocity, (H,) int64."""
    module = torch.div(plane, 2, rounding_mode="floor")
    towards_anode = (2 * (plane - 2 * module) - 1).double()
    time = tick.double() * TICK_US - TIMESTAMP_LATENCY_US
    anode = module.double() * MODULE_LENGTH_CM + towards_anode * DRIFT_LENGTH_CM
    position = anode - towards_anode * time * drift_velocity(NOMINAL_ELECTRIC_FIELD)
    # Positions are kept in single precision, and a voxel is found from what is kept.
    return (position.float().double() / VOXEL_CM).floor().long()
