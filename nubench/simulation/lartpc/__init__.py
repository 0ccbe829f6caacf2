"""Response of a pixelated liquid-argon time projection chamber, from energy deposits to ADC counts."""

from nubench.simulation.lartpc.drift import drift_velocity
from nubench.simulation.lartpc.parameters import TABLE_I, LArTPCParameters, draw_throw
from nubench.simulation.lartpc.response import VOXEL_CM, Hits, simulate, simulate_hits

__all__ = [
    "TABLE_I",
    "VOXEL_CM",
    "Hits",
    "LArTPCParameters",
    "draw_throw",
    "drift_velocity",
    "simulate",
    "simulate_hits",
]
