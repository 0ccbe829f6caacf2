"""Charge that a drifting electron induces on a pixel, tabulated with its diffusion.

The weighting potential is that of a square pad in a grounded plane,

    W(x, y, z) = 1/(2 pi) sum_{sx, sy = +-1} atan2[(a/2 + sx x)(a/2 + sy y),
                                                   z sqrt((a/2 + sx x)^2 + (a/2 + sy y)^2 + z^2)],

with pad side and effective approach velocity fitted to larnd-sim's near-field response table (RMS 1.4% on the
cumulative charge; ``docs/physics.md``). A charge is followed for the last 8.9 us of its way; on arrival the potential
jumps to 1 inside the pixel that collects it and to 0 outside, so that the total is its charge or nothing.

Diffusion is linear too, so it is folded into the tables: one table for each of a few drift times. A step of charge
then costs one row of a table for each pixel around it, and no random numbers.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import convolve1d
from scipy.special import erf

from nubench.containers import Float32, Float64, Int64
from nubench.simulation.lartpc.drift import DRIFT_LENGTH_CM, PIXEL_PITCH_CM, diffusion_width
from nubench.simulation.lartpc.frontend import TICK_US

PAD_SIDE_CM: Final = 0.342
APPROACH_VELOCITY: Final = 0.180
"""Effective velocity near the pad, cm/us. It is kept at any drift field: charges do not depend on it."""

WINDOW_TICKS: Final = 89
"""Ticks before its arrival during which a charge induces current (8.9 us)."""

BINS_PER_PIXEL: Final = 12
"""Position bins of the table across a pixel; even, so that no bin straddles the pixel's edge."""

PHASES: Final = 2
"""Arrival times inside a tick that the table tells apart."""

DIFFUSION_LEVELS: Final = 12
"""Drift times the table holds, evenly spaced in the diffusion width."""

RING_SIGMAS: Final = 5.0
"""Pixels are read out as far as this many transverse diffusion widths around those crossed."""

_TAIL_SIGMAS = 4.0


@dataclass(frozen=True)
class InductionTable:
    """Induced charge for each tick by level, phase and position.

    Attributes:
        charge: (levels, phases, bins, bins, ticks) float32, share of the electrons that a tick sees. Bins count the
            distance to the pixel's centre in either transverse direction. Tick number WINDOW_TICKS is the one in which
            undiffused charge arrives.
        peak: (levels, phases, bins, bins) float32, largest share that has been induced by the end of any tick.
        rings: (levels,) int64, rings of neighbours that are read out around a crossed pixel.
    """

    charge: Float32
    peak: Float32
    rings: Int64


def weighting_potential(x: Float64, y: Float64, z: Float64) -> Float64:
    """Evaluate the weighting potential of a pad.

    Args:
        x, y: distance to the pad's centre, cm; any shapes that broadcast.
        z: height above the plane, cm, above 0.
    """
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape))
    half = PAD_SIDE_CM / 2.0
    for sign_x in (1.0, -1.0):
        for sign_y in (1.0, -1.0):
            u = half + sign_x * x
            w = half + sign_y * y
            total += np.arctan2(u * w, z * np.sqrt(u * u + w * w + z * z))
    return total / (2.0 * math.pi)


def cumulative_charge(x: Float64, y: Float64, time: Float64) -> Float64:
    """Compute the charge a unit charge has induced until ``time``, starting from 0 at the window's begin.

    Args:
        x, y: distance of the charge to the pixel's centre, cm, 0 or above.
        time: us after its arrival; negative before.
    """
    window = WINDOW_TICKS * TICK_US
    height = np.clip(-time, 1e-9, window) * APPROACH_VELOCITY
    far = np.asarray(window * APPROACH_VELOCITY)
    approaching = weighting_potential(x, y, height) - weighting_potential(x, y, far)
    half = PIXEL_PITCH_CM / 2.0
    collected = ((x < half) & (y < half)).astype(np.float64)
    return np.where(time < 0.0, approaching, collected)


def _folded_gaussian(centres: Float64, sources: Float64, width: float, sigma: float) -> Float64:
    """Weights (len(centres), len(sources)) that smear bins of |position| with a Gaussian, mirrored at 0."""
    sigma = max(sigma, 1e-6 * width)

    def share(source: Float64) -> Float64:
        upper = (source + width / 2.0 - centres[:, None]) / (math.sqrt(2.0) * sigma)
        lower = (source - width / 2.0 - centres[:, None]) / (math.sqrt(2.0) * sigma)
        return np.asarray(0.5 * (erf(upper) - erf(lower)))

    return share(sources[None, :]) + share(-sources[None, :])


def _level_widths(transverse: float, longitudinal: float, velocity: float) -> tuple[Float64, Float64]:
    """Diffusion widths of each level across (cm) and along the drift (us)."""
    fractions = np.linspace(0.0, 1.0, DIFFUSION_LEVELS, dtype=np.float64)
    full_time = DRIFT_LENGTH_CM / velocity
    across = fractions * diffusion_width(transverse, full_time)
    along = fractions * diffusion_width(longitudinal, full_time) / velocity
    return across, along


@functools.lru_cache(maxsize=4)
def induction_table(transverse_diffusion: float, longitudinal_diffusion: float, velocity: float) -> InductionTable:
    """Tabulate the induced charge for one setting of the drift.

    Args:
        transverse_diffusion, longitudinal_diffusion: cm2/us.
        velocity: drift velocity, cm/us.

    Returns:
        The table, of a few megabytes at nominal diffusion; the last few tables are kept.
    """
    across, along = _level_widths(transverse_diffusion, longitudinal_diffusion, velocity)
    # Even without diffusion a neighbour sees the charge that passes it.
    rings = np.maximum(np.ceil(RING_SIGMAS * across / PIXEL_PITCH_CM), 1.0).astype(np.int64)

    width = PIXEL_PITCH_CM / BINS_PER_PIXEL
    bins = int((rings.max() + 0.5) * BINS_PER_PIXEL)
    centres = (np.arange(bins, dtype=np.float64) + 0.5) * width
    source_bins = bins + math.ceil(_TAIL_SIGMAS * across[-1] / width)
    sources = (np.arange(source_bins, dtype=np.float64) + 0.5) * width

    # A tick's edges lie at whole ticks minus the phase, and phases are taken at the middle of their intervals.
    ticks_after = math.ceil(_TAIL_SIGMAS * along[-1] / TICK_US) + 1
    step = TICK_US / PHASES
    times = (np.arange(-(WINDOW_TICKS + 1) * PHASES, ticks_after * PHASES + PHASES) + 0.5) * step
    undiffused = cumulative_charge(sources[:, None, None], sources[None, :, None], times[None, None, :])

    charge = np.empty((DIFFUSION_LEVELS, PHASES, bins, bins, WINDOW_TICKS + ticks_after), np.float32)
    for level in range(DIFFUSION_LEVELS):
        spread = _folded_gaussian(centres, sources, width, float(across[level]))
        # Left to einsum's own loops: what a BLAS rounds may depend on the number of its threads.
        smeared = np.einsum("bx,xyt->byt", spread, undiffused)
        smeared = np.einsum("cy,byt->bct", spread, smeared)
        smeared = _smear_in_time(smeared, step, float(along[level]))
        for phase in range(PHASES):
            edges = smeared[:, :, PHASES - 1 - phase :: PHASES][:, :, : WINDOW_TICKS + ticks_after + 1]
            # The little that diffusion brings in before the window counts to its first tick.
            charge[level, phase] = np.diff(edges[:, :, 1:], axis=2, prepend=0.0)
    peak = np.maximum(np.cumsum(charge, axis=4).max(axis=4), 0.0)
    return InductionTable(charge, peak, rings)


def _smear_in_time(cumulative: Float64, step: float, sigma: float) -> Float64:
    """Convolve a cumulative charge (..., T), sampled every ``step``, with a Gaussian; its ends are held."""
    reach = math.ceil(RING_SIGMAS * sigma / step)
    edges = (np.arange(-reach, reach + 2) - 0.5) * step / (math.sqrt(2.0) * max(sigma, 1e-6 * step))
    kernel = np.diff(erf(edges))
    return np.asarray(convolve1d(cumulative, kernel / kernel.sum(), axis=-1, mode="nearest"))
