"""Response of a pixelated liquid-argon time projection chamber, from energy deposits to ADC counts."""

from nubench.simulation.lartpc.drift import drift_velocity
from nubench.simulation.lartpc.frontend import pedestal_counts
from nubench.simulation.lartpc.hits import VOXEL_CM, Hits
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.response import simulate, simulate_draws, simulate_hits
from nubench.simulation.lartpc.throws import TABLE_I, draw_parameters, draw_throw, draw_throws

__all__ = [
    "TABLE_I",
    "VOXEL_CM",
    "Hits",
    "LArTPCParameters",
    "draw_parameters",
    "draw_throw",
    "draw_throws",
    "drift_velocity",
    "pedestal_counts",
    "simulate",
    "simulate_draws",
    "simulate_hits",
]
