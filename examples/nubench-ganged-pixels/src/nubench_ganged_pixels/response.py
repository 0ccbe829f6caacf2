"""Squares of pixels that are read as one channel, on top of nubench's response of the LArTPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from nubench.containers import Deposits, Events, Int64, Response
from nubench.detectors import LArTPC
from nubench.errors import UsageError
from nubench.simulation.lartpc import LArTPCParameters, pedestal_counts

HIGHEST_COUNT = 255.0
LARGEST_GANG = 16


class GangedPixels:
    """Squares of ``gang`` x ``gang`` pixels read as one; see :class:`nubench.detectors.Detector`."""

    name: ClassVar[str] = "ganged-pixels"
    title: ClassVar[str] = "liquid-argon time projection chamber, squares of 0.38 cm pixels read as one"
    feature: ClassVar[str] = "ADC counts"
    voxel_size_cm: ClassVar[float] = LArTPC.voxel_size_cm
    version: ClassVar[int] = 1

    def respond(
        self, deposits: Deposits, event_id: Int64, parameters: Mapping[str, float | str], seed: int
    ) -> Response:
        """Simulate single pixels, then sum; see :meth:`nubench.detectors.Detector.respond`."""
        single = {name: value for name, value in parameters.items() if name != "gang"}
        gang = parameters.get("gang", 1.0)
        if isinstance(gang, str) or gang != int(gang) or not 1 <= gang <= LARGEST_GANG:
            raise UsageError(f"gang must be a whole number from 1 to {LARGEST_GANG}; got {gang!r}")
        events = LArTPC().respond(deposits, event_id, single, seed).events
        front_end = LArTPCParameters.from_mapping(single)
        return Response(ganged(events, int(gang), pedestal_counts(front_end) + front_end.adc_offset))


def ganged(events: Events, gang: int, pedestal: float) -> Events:
    """Sum the counts above the pedestal over squares of pixels.

    Args:
        events: E events; the first coordinate runs along the drift, the others count pixels.
        gang: side of the squares, in pixels.
        pedestal: counts without charge.

    Returns:
        E events. A square stands at its pixel of the lowest indices, so that positions keep their unit.
    """
    if gang == 1:
        return events
    event = np.repeat(np.arange(len(events)), events.voxels_per_event)
    squares = events.coords.copy()
    squares[:, 1:] -= squares[:, 1:] % gang
    keys = np.column_stack([event, squares])
    unique, where = np.unique(keys, axis=0, return_inverse=True)
    charge = np.bincount(where.ravel(), weights=events.features[:, 0].astype(np.float64) - pedestal)
    counts = np.minimum(pedestal + charge, HIGHEST_COUNT)
    offsets = np.searchsorted(unique[:, 0], np.arange(len(events) + 1)).astype(np.int64)
    return Events(offsets, unique[:, 1:].astype(np.int32), counts[:, None].astype(np.float32))
