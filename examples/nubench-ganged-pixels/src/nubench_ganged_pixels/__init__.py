"""A liquid-argon time projection chamber whose pixels are read in squares, its data set, and two shifts."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

import nubench
from nubench.detectors import Detector
from nubench.shifts import Shift, ShiftAddition, ShiftPoint
from nubench_ganged_pixels.response import GangedPixels

PEDESTAL_DRIFTS = {"down-4": -4.0, "down-2": -2.0, "down-1": -1.0, "up-1": 1.0, "up-2": 2.0, "up-4": 4.0}


@nubench.hookimpl
def register_detectors() -> Iterable[Detector]:
    """Bring the response."""
    return [GangedPixels()]


@nubench.hookimpl
def register_datasets() -> Iterable[Traversable]:
    """Bring the data set, whose card holds the shift ``gangs``."""
    return [files("nubench_ganged_pixels") / "ganged-lartpc.toml"]


@nubench.hookimpl
def register_shifts() -> Iterable[ShiftAddition]:
    """Add a shift to a data set that is not ours."""
    points = tuple(
        ShiftPoint(name=name, strength=counts, parameters={"adc_offset": counts})
        for name, counts in PEDESTAL_DRIFTS.items()
    )
    drift = Shift(
        name="pedestal-drift",
        title="pedestals have drifted since they were measured, all alike",
        strength_unit="ADC counts (signed)",
        points=points,
    )
    return [ShiftAddition("lartpc", drift)]
