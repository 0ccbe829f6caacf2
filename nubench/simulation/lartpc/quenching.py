"""From energy to free electrons: recombination in liquid argon.

Birks' law (S. Amoruso et al., NIM A 523 (2004) 275) and the modified box model (R. Acciarri et al., JINST 8 (2013)
P08005), with the constants larnd-sim uses.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from numba import njit

from nubench.simulation.lartpc.parameters import LArTPCParameters

ARGON_DENSITY: Final = 1.38
"""g/cm3, the value the recombination constants are used with."""

IONISATION_ENERGY_MEV: Final = 23.6e-6
"""Energy of one electron-ion pair, MeV."""

POINT_LENGTH_CM: Final = 2e-4
"""Shorter segments are points: single-precision coordinates of a hall do not resolve their length."""


class Recombination(NamedTuple):
    """What compiled code needs to know: model, its two constants, and E rho in (kV/cm)(g/cm3)."""

    box: bool
    first: float
    second: float
    field_times_density: float


def recombination_of(parameters: LArTPCParameters) -> Recombination:
    """Pick the model's constants (A_b and k_b, or alpha and beta) from the parameters."""
    box = parameters.recombination == "box"
    first, second = (parameters.box_alpha, parameters.box_beta) if box else (parameters.birks_a, parameters.birks_k)
    return Recombination(box, float(first), float(second), parameters.electric_field * ARGON_DENSITY)


@njit(cache=True, nogil=True)
def surviving_fraction(energy_per_length: float, model: Recombination) -> float:
    """Compute the fraction R of electrons that escape recombination.

    Birks: R = A_b / (1 + k_b (dE/dx) / (E rho)). Box: R = max(0, ln(alpha + xi) / xi), xi = beta (dE/dx) / (E rho).

    Args:
        energy_per_length: dE/dx in MeV/cm; 0 is Birks' limit A_b, and for the box model, which has no limit there,
            its value at ``xi = 1``, about a minimum ionising particle's.
        model: constants from :func:`recombination_of`.
    """
    density = energy_per_length / model.field_times_density
    if not model.box:
        return model.first / (1.0 + model.second * density)
    ionisation = model.second * density
    if ionisation == 0.0:
        ionisation = 1.0
    return max(0.0, math.log(model.first + ionisation) / ionisation)


@njit(cache=True, nogil=True)
def free_electrons(energy: float, length: float, model: Recombination) -> float:
    """Compute the electrons a segment sets free: N = R dE / W.

    Args:
        energy: MeV.
        length: cm; a segment shorter than :data:`POINT_LENGTH_CM` counts as a point with dE/dx = 0, as in larnd-sim.
        model: constants from :func:`recombination_of`.
    """
    energy_per_length = energy / length if length >= POINT_LENGTH_CM else 0.0
    return surviving_fraction(energy_per_length, model) * energy / IONISATION_ENERGY_MEV
