"""Response of a plastic scintillator of optically separated cubes, from energy deposits to photoelectrons."""

from nubench.simulation.scintillator.cubes import CUBE_CM, CUBES_A_SIDE, LOWEST_INDEX
from nubench.simulation.scintillator.parameters import ScintillatorParameters
from nubench.simulation.scintillator.photosensors import FIBRES
from nubench.simulation.scintillator.response import simulate

__all__ = ["CUBES_A_SIDE", "CUBE_CM", "FIBRES", "LOWEST_INDEX", "ScintillatorParameters", "simulate"]
