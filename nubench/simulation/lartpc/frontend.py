"""The pixel's front end: from induced charge to self-triggered, digitised hits.

One pixel at a time and sparse in time: the work and the memory go with the ticks in which charge moves. Where the
current rests, the integrated charge is constant, every tick triggers with the same probability, and the number of
ticks until the trigger is geometric: one draw instead of thousands, exact in distribution.

Noise comes from :mod:`nubench.simulation.random_streams`, keyed by the pixel, so that two settings of the detector
see the same noise. What is drawn once a trial (reset, sample, waiting time) is counted by the trial and not by the
tick: a threshold that moves a trigger by a tick does not redraw the rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.stats import norm

from nubench.containers import Float32, Float64, Int64
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.random_streams import normal_pair, random_words, uniform_of_quarter, uniform_pair

TICK_US = 0.1
"""Length of one clock tick, microseconds."""

INTEGRATION_TICKS = 18
"""Ticks integrated after the one that triggered."""

RESET_TICKS = 1
"""Ticks lost while the integrator is reset."""

BUSY_TICKS = 9
"""Ticks after a hit during which the pixel counts down before it may trigger again."""

MAX_HITS_PER_PIXEL = 10

TIMESTAMP_LATENCY_US = 2.0
"""What is subtracted from the time of the sample to give the hit's time, microseconds."""

ADC_COUNTS = 256

# A tick this many standard deviations below threshold fires with probability 4e-11 and is not drawn.
NEGLIGIBLE_SIGMAS = 6.5
# Below this many electrons a tick what the buffer still holds is no longer followed.
NEGLIGIBLE_BUFFER_ELECTRONS = 1e-3
# Runs of this many ticks without current are waited through in one draw; shorter ones are walked.
MIN_REST_TICKS = 16

# Probability that a standard normal number exceeds k, for k from -8 to 8: brackets that settle nearly every comparison
# without an error function.
_BRACKETS_PER_SIGMA = 16
BRACKET_RANGE = 8.0
_EXCEEDANCE = norm.sf(np.arange(-BRACKET_RANGE, BRACKET_RANGE + 0.001, 1.0 / _BRACKETS_PER_SIGMA))

PURPOSE_TRIGGER = np.uint64(1)
PURPOSE_SAMPLE = np.uint64(2)
PURPOSE_RESET = np.uint64(3)
PURPOSE_WAIT = np.uint64(4)


class FrontEnd(NamedTuple):
    """The settings of a pixel that compiled code needs: charges in electrons, potentials in mV, time in us."""

    gain: float
    buffer_risetime: float
    v_cm: float
    v_ref: float
    v_pedestal: float
    reset_noise: float
    uncorrelated_noise: float
    discriminator_noise: float
    discriminator_threshold: float


def front_end_of(parameters: LArTPCParameters) -> FrontEnd:
    """Pick the front end's nine settings from the parameters."""
    return FrontEnd(**{name: float(getattr(parameters, name)) for name in FrontEnd._fields})


@njit(cache=True, nogil=True)
def adc_of_charge(charge: float, front_end: FrontEnd) -> int:
    """Digitise a charge (e): min(255, round(256 max(0, G Q + V_ped - V_cm) / (V_ref - V_cm)))."""
    millivolt = front_end.gain * 1e-3 * charge + front_end.v_pedestal - front_end.v_cm
    counts = ADC_COUNTS * max(0.0, millivolt) / (front_end.v_ref - front_end.v_cm)
    # Clipped before it is rounded: the ratio may be too large for a whole number.
    return round(min(float(ADC_COUNTS - 1), counts))


def pedestal_counts(parameters: LArTPCParameters) -> float:
    """Compute what the digitiser reads without charge, averaged over many readings, in ADC counts.

    256 (V_ped - V_cm) / (V_ref - V_cm), kept within the digitiser's range of 0 to 255. An experiment measures it with
    random triggers; a calibration that brings a detector's counts to the nominal ones is
    ``adc_offset = pedestal_counts(nominal) - pedestal_counts(detector)``.

    Example:
        >>> round(pedestal_counts(LArTPCParameters()), 2)
        73.87
    """
    counts = ADC_COUNTS * (parameters.v_pedestal - parameters.v_cm) / (parameters.v_ref - parameters.v_cm)
    return min(max(counts, 0.0), float(ADC_COUNTS - 1))


@njit(cache=True, nogil=True)
def _ticks_until_trigger(
    key: np.uint64, pixel: np.uint64, trial: int, charge: float, front_end: FrontEnd, ticks: int
) -> int:
    """Draw how many of ``ticks`` ticks pass at constant charge before one triggers; ``ticks`` when none does."""
    sigma = math.hypot(front_end.uncorrelated_noise, front_end.discriminator_noise)
    below = front_end.discriminator_threshold - charge
    if below <= 0.0 and sigma == 0.0:
        return 0
    if ticks <= 0 or below >= NEGLIGIBLE_SIGMAS * sigma:
        return max(ticks, 0)
    probability = 0.5 * math.erfc(below / (sigma * math.sqrt(2.0)))
    if probability >= 1.0:
        return 0
    uniform, _ = uniform_pair(key, pixel, PURPOSE_WAIT, np.uint64(trial))
    waited = math.log(uniform) / math.log1p(-probability)
    return ticks if waited >= ticks else int(waited)


@njit(cache=True, nogil=True)
def _exceeds(uniform: float, sigmas: float) -> bool:
    """Tell whether a standard normal number, given by its upper tail ``uniform``, exceeds ``sigmas``."""
    if sigmas >= BRACKET_RANGE or sigmas <= -BRACKET_RANGE:
        return sigmas < 0.0
    bracket = int((sigmas + BRACKET_RANGE) * _BRACKETS_PER_SIGMA)
    if uniform > _EXCEEDANCE[bracket]:
        return False
    if uniform < _EXCEEDANCE[bracket + 1]:
        return True
    return uniform < 0.5 * math.erfc(sigmas / math.sqrt(2.0))


@njit(cache=True, nogil=True)
def _rest_length(charge: Float32, index: int) -> int:
    """Count the ticks without current from ``index`` on, up to the end of the window."""
    end = index
    while end < len(charge) and charge[end] == 0.0:
        end += 1
    return end - index


@njit(cache=True, nogil=True)
def _highest_sum(charge: Float32) -> float:
    """Find the most charge that has arrived at any time, 0 or above; the buffer only smooths it down."""
    total = 0.0
    highest = 0.0
    for index in range(len(charge)):
        total += charge[index]
        highest = max(highest, total)
    return highest


@njit(cache=True, nogil=True)
def may_trigger(highest_sum: float, key: np.uint64, pixel: np.uint64, front_end: FrontEnd) -> bool:
    """Tell whether a pixel can record a hit if no more than ``highest_sum`` electrons ever are on it at once."""
    sigma = math.hypot(front_end.uncorrelated_noise, front_end.discriminator_noise)
    lowest = front_end.discriminator_threshold - NEGLIGIBLE_SIGMAS * sigma
    if highest_sum < lowest:
        # Most pixels end here: even at the best angle their noise is too small (see normal_pair).
        uniform, _ = uniform_pair(key, pixel, PURPOSE_RESET, np.uint64(0))
        largest = math.sqrt(-2.0 * math.log(uniform)) * front_end.reset_noise
        if largest + highest_sum < lowest:
            return False
    noise, _ = normal_pair(key, pixel, PURPOSE_RESET, np.uint64(0))
    return noise * front_end.reset_noise + highest_sum >= lowest


@njit(cache=True, nogil=True)
def read_pixel(
    charge: Float32,
    first_tick: int,
    begin_tick: int,
    end_tick: int,
    key: np.uint64,
    pixel: np.uint64,
    front_end: FrontEnd,
    hit_tick: Int64,
    hit_charge: Float64,
) -> int:
    """Run one pixel through the read window and record its hits.

    Args:
        charge: (T,) induced charge in each tick of a window, electrons, before the buffer.
        first_tick: the tick of ``charge[0]``.
        begin_tick, end_tick: the read window; a tick at ``end_tick`` is outside. Charge outside it is lost.
        key: the event's key.
        pixel: the pixel's channel number.
        front_end: the settings.
        hit_tick: (10,) output, the tick in which each hit's charge was sampled.
        hit_charge: (10,) output, electrons.

    Returns:
        The number of hits.
    """
    sigma = math.hypot(front_end.uncorrelated_noise, front_end.discriminator_noise)
    walk_above = front_end.discriminator_threshold - NEGLIGIBLE_SIGMAS * sigma
    keep = math.exp(-TICK_US / front_end.buffer_risetime) if front_end.buffer_risetime > 0.0 else 0.0
    window_end = min(first_tick + len(charge), end_tick)

    hits = 0
    trial = 0
    tick = begin_tick
    words = (np.uint64(0), np.uint64(0))
    block = -1
    busy_until = begin_tick
    if not may_trigger(_highest_sum(charge), key, pixel, front_end):
        return 0
    noise, _ = normal_pair(key, pixel, PURPOSE_RESET, np.uint64(trial))
    collected = noise * front_end.reset_noise
    buffered = 0.0
    while tick < end_tick and hits < MAX_HITS_PER_PIXEL:
        resting = 0
        if buffered < NEGLIGIBLE_BUFFER_ELECTRONS and buffered > -NEGLIGIBLE_BUFFER_ELECTRONS:
            if tick < first_tick:
                resting = min(first_tick, end_tick) - tick
            elif tick >= window_end:
                resting = end_tick - tick
            elif charge[tick - first_tick] == 0.0:
                resting = _rest_length(charge, tick - first_tick)
                if tick + resting >= window_end:
                    resting = end_tick - tick
                elif resting < MIN_REST_TICKS:
                    resting = 0
        triggered = False
        if resting > 0:
            blocked = min(max(busy_until - tick, 0), resting)
            waited = blocked + _ticks_until_trigger(key, pixel, trial, collected, front_end, resting - blocked)
            tick += waited
            triggered = waited < resting
        else:
            arriving = charge[tick - first_tick] if first_tick <= tick < window_end else 0.0
            buffered = buffered * keep + arriving * (1.0 - keep)
            collected += buffered
            if collected >= walk_above and tick >= busy_until:
                # Both noises of a tick are used for this one comparison: their difference is one normal number.
                # A block of random bits serves four ticks.
                if (tick - begin_tick) >> 2 != block:
                    block = (tick - begin_tick) >> 2
                    words = random_words(key, pixel, PURPOSE_TRIGGER, np.uint64(block))
                uniform = uniform_of_quarter(words, (tick - begin_tick) & 3)
                below = front_end.discriminator_threshold - collected
                triggered = _exceeds(uniform, below / sigma) if sigma > 0.0 else below <= 0.0
            if not triggered:
                tick += 1
        if not triggered:
            continue

        for later in range(tick + 1, tick + 1 + INTEGRATION_TICKS):
            arriving = charge[later - first_tick] if first_tick <= later < window_end else 0.0
            buffered = buffered * keep + arriving * (1.0 - keep)
            collected += buffered
        tick += INTEGRATION_TICKS + 1
        noise, other = normal_pair(key, pixel, PURPOSE_SAMPLE, np.uint64(trial))
        sampled = collected + noise * front_end.uncorrelated_noise
        trial += 1
        noise, _ = normal_pair(key, pixel, PURPOSE_RESET, np.uint64(trial))
        collected = noise * front_end.reset_noise
        accepted = sampled >= front_end.discriminator_threshold + other * front_end.discriminator_noise
        if accepted:
            hit_tick[hits] = tick
            hit_charge[hits] = sampled
            hits += 1
        # What the buffer holds, and what arrives while it is reset, is lost.
        buffered = 0.0
        tick += RESET_TICKS
        if accepted:
            # The count-down stands before the comparison, so the last of its ticks may trigger.
            busy_until = tick + BUSY_TICKS - 1
    return hits


@njit(cache=True, nogil=True)
def hits_above_pedestal(hit_charge: Float64, hits: int, front_end: FrontEnd) -> int:
    """Count the leading hits that read more than no charge does; the first that fails drops the later ones."""
    pedestal = adc_of_charge(0.0, front_end)
    for index in range(hits):
        if adc_of_charge(hit_charge[index], front_end) <= pedestal:
            return index
    return hits
