"""Geometry of the drift volumes and transport of electrons to the pixel planes.

x is the drift axis. A module is centred on x = 0 with its cathode there and a pixel plane (anode) at either end;
modules repeat along x. No charge is lost between modules (a simplification). y and z span the pixel planes.
"""

from __future__ import annotations

import math
from typing import Final

DRIFT_LENGTH_CM: Final = 50.4
"""From the cathode to either pixel plane of a module, cm."""

MODULE_LENGTH_CM: Final = 2 * DRIFT_LENGTH_CM

PIXEL_PITCH_CM: Final = 0.38

NOMINAL_ELECTRIC_FIELD: Final = 0.5
"""kV/cm; the drift velocity at this field is what positions are reconstructed with, whatever the true field."""

ARGON_TEMPERATURE_K: Final = 87.17
_MOBILITY_TEMPERATURE_K: Final = 89.0
_MOBILITY: Final = (551.6, 7158.3, 4440.43, 4.29, 43.63, 0.2053)


def drift_velocity(electric_field: float) -> float:
    """Compute the drift velocity of electrons in liquid argon, cm/us.

    mu = (a0 + a1 E + a2 E^1.5 + a3 E^2.5) / (1 + (a1/a0) E + a4 E^2 + a5 E^3) (T/89 K)^-1.5 in cm2/(V s), from
    Y. Li et al., NIM A 816 (2016) 160; v = mu E.

    Args:
        electric_field: kV/cm.

    Example:
        >>> round(drift_velocity(0.5), 6)
        0.159645
    """
    a0, a1, a2, a3, a4, a5 = _MOBILITY
    field = electric_field
    mobility = (a0 + a1 * field + a2 * field**1.5 + a3 * field**2.5) / (
        1.0 + a1 / a0 * field + a4 * field**2 + a5 * field**3
    )
    mobility *= (ARGON_TEMPERATURE_K / _MOBILITY_TEMPERATURE_K) ** -1.5
    # kV/cm to V/cm is 1e3, cm/s to cm/us is 1e-6.
    return float(mobility * field * 1e-3)


def diffusion_width(coefficient: float, drift_time: float) -> float:
    """Compute the width sqrt(2 D t) of a diffused point, cm.

    Args:
        coefficient: cm2/us.
        drift_time: us.
    """
    return math.sqrt(2.0 * coefficient * drift_time)
