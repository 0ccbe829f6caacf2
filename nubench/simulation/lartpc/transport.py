"""One event from deposits to hits: drift, induction on the pixels, front end.

Two passes over the charge. The first cuts the deposits into short steps, drifts them and notes which pixels see
current and in which ticks; the second adds the induced charge into one dense window for each pixel, from the pixel's
first to its last tick with current. Memory goes with the charge of one event.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from nubench.containers import Float32, Float64, Int64
from nubench.simulation.lartpc.drift import DRIFT_LENGTH_CM, MODULE_LENGTH_CM, PIXEL_PITCH_CM
from nubench.simulation.lartpc.frontend import (
    MAX_HITS_PER_PIXEL,
    TICK_US,
    FrontEnd,
    hits_above_pedestal,
    may_trigger,
    read_pixel,
)
from nubench.simulation.lartpc.induction import BINS_PER_PIXEL, DIFFUSION_LEVELS, PHASES, WINDOW_TICKS
from nubench.simulation.lartpc.pixels import find_cell, grow_slots, new_slots, pack_pixel
from nubench.simulation.lartpc.quenching import Recombination, free_electrons

STEP_CM = 0.034
"""Longest step of charge that is drifted as one point: an eleventh of the pixel pitch."""

READ_TICKS = 3201
"""Ticks read out from the birth of the primary; later charge is lost."""

LEAD_TICKS = 100
"""Ticks read out before it, for what charge close to a pixel plane induces on its way."""

LATEST_TIME_US = 1e6
"""Deposits farther from the primary's birth are left out before their ticks are counted."""

ROUNDING = 1.001
_BIN_CM = PIXEL_PITCH_CM / BINS_PER_PIXEL


class Drift(NamedTuple):
    """What compiled code needs to know of the drift: cm/us, us."""

    velocity: float
    lifetime: float


class _Step(NamedTuple):
    plane: int
    row: int
    column: int
    level: int
    phase: int
    arrival_tick: int


@njit(cache=True, nogil=True)
def _drift_step(x: float, y: float, z: float, time: float, drift: Drift) -> tuple[_Step, float]:
    """Find where and when a point of charge arrives, and the share of it that does."""
    module = math.floor((x + DRIFT_LENGTH_CM) / MODULE_LENGTH_CM)
    local = x - module * MODULE_LENGTH_CM
    upper = 1 if local >= 0.0 else 0
    drift_time = max(DRIFT_LENGTH_CM - abs(local), 0.0) / drift.velocity
    full_time = DRIFT_LENGTH_CM / drift.velocity
    level = min(int(math.sqrt(drift_time / full_time) * (DIFFUSION_LEVELS - 1) + 0.5), DIFFUSION_LEVELS - 1)
    arrival = (time + drift_time) / TICK_US
    arrival_tick = math.floor(arrival)
    phase = min(int((arrival - arrival_tick) * PHASES), PHASES - 1)
    step = _Step(
        2 * module + upper,
        math.floor(y / PIXEL_PITCH_CM),
        math.floor(z / PIXEL_PITCH_CM),
        level,
        phase,
        arrival_tick,
    )
    return step, math.exp(-drift_time / drift.lifetime)


@njit(cache=True, nogil=True)
def _count_steps(start: Float32, end: Float32, electrons: Float64) -> int:
    """Count the steps of all segments that carry charge."""
    total = 0
    for row in range(len(electrons)):
        if electrons[row] > 0.0:
            total += _steps_of(start, end, row)
    return total


@njit(cache=True, nogil=True)
def _length(start: Float32, end: Float32, row: int) -> float:
    squared = 0.0
    for axis in range(3):
        difference = float(end[row, axis]) - float(start[row, axis])
        squared += difference * difference
    return math.sqrt(squared)


@njit(cache=True, nogil=True)
def _steps_of(start: Float32, end: Float32, row: int) -> int:
    return max(1, math.ceil(_length(start, end, row) / STEP_CM))


@njit(cache=True, nogil=True)
def drift_charge(
    start: Float32, end: Float32, energy: Float32, time: Float32, recombination: Recombination, drift: Drift
) -> tuple[Int64, Float64, Float64]:
    """Quench one event's deposits, cut them into steps and drift the steps to their planes.

    Args:
        start, end: (N, 3) cm.
        energy: (N,) MeV.
        time: (N,) us.
        recombination: the model and its constants.
        drift: velocity and lifetime.

    Returns:
        For the S steps that are seen in the read window: (S, 6) plane, row, column, level, phase, arrival tick;
        (S, 2) distance to the centre of the pixel they arrive on along y and z, cm; (S,) electrons that arrive.
    """
    electrons = np.empty(len(energy))
    for row in range(len(energy)):
        electrons[row] = free_electrons(float(energy[row]), _length(start, end, row), recombination)
    capacity = _count_steps(start, end, electrons)
    where = np.empty((capacity, 6), np.int64)
    offset = np.empty((capacity, 2))
    charge = np.empty(capacity)
    used = 0
    for row in range(len(energy)):
        # Decays may be seconds or years late.
        if electrons[row] <= 0.0 or abs(time[row]) > LATEST_TIME_US:
            continue
        count = _steps_of(start, end, row)
        for index in range(count):
            along = (index + 0.5) / count
            x = start[row, 0] + along * (float(end[row, 0]) - float(start[row, 0]))
            y = start[row, 1] + along * (float(end[row, 1]) - float(start[row, 1]))
            z = start[row, 2] + along * (float(end[row, 2]) - float(start[row, 2]))
            step, share = _drift_step(x, y, z, float(time[row]), drift)
            if step.arrival_tick < -LEAD_TICKS or step.arrival_tick >= READ_TICKS + WINDOW_TICKS:
                continue
            for item in range(6):
                where[used, item] = step[item]
            offset[used, 0] = y - (step.row + 0.5) * PIXEL_PITCH_CM
            offset[used, 1] = z - (step.column + 0.5) * PIXEL_PITCH_CM
            charge[used] = electrons[row] / count * share
            used += 1
    return where[:used], offset[:used], charge[:used]


@njit(cache=True, nogil=True)
def _same_surroundings(where: Int64, rings: Int64, step: int, other: int) -> bool:
    """Tell whether two steps are seen by the same pixels."""
    return bool(
        where[step, 2] == where[other, 2]
        and where[step, 1] == where[other, 1]
        and where[step, 0] == where[other, 0]
        and rings[where[step, 3]] == rings[where[other, 3]]
    )


@njit(cache=True, nogil=True)
def _find_windows(where: Int64, rings: Int64, ticks: int) -> tuple[Int64, Int64, Int64]:
    """List the pixels that see current.

    Consecutive steps mostly arrive on one pixel; such a run of steps is looked up once.

    Returns:
        (P, 3) packed pixel, first and end tick of its window; (R + 1,) first step of each run; (R, pixels around) the
        slots of the pixels around each run, row by row.
    """
    around = 2 * rings.max() + 1
    runs = 0
    for step in range(len(where)):
        if step == 0 or not _same_surroundings(where, rings, step, step - 1):
            runs += 1
    begins = np.full(runs + 1, len(where), np.int64)
    nearby = np.full((runs, around * around), -1, np.int64)
    cells, slots = new_slots()
    used = 0
    run = 0
    step = 0
    while step < len(where):
        begins[run] = step
        first = where[step, 5]
        last = first
        end = step + 1
        while end < len(where) and _same_surroundings(where, rings, step, end):
            first = min(first, where[end, 5])
            last = max(last, where[end, 5])
            end += 1
        first = max(first - WINDOW_TICKS, -LEAD_TICKS)
        last = min(last - WINDOW_TICKS + ticks, READ_TICKS)
        ring = rings[where[step, 3]]
        neighbour = 0
        for row in range(where[step, 1] - ring, where[step, 1] + ring + 1):
            for column in range(where[step, 2] - ring, where[step, 2] + ring + 1):
                pixel = pack_pixel(where[step, 0], row, column)
                cell = find_cell(cells, slots, pixel)
                slot = cells[cell]
                if slot < 0:
                    slot = used
                    cells[cell] = slot
                    slots[slot, 0] = pixel
                    slots[slot, 1] = first
                    slots[slot, 2] = last
                    used += 1
                    if used == len(slots):
                        cells, slots = grow_slots(cells, slots, used)
                slots[slot, 1] = min(slots[slot, 1], first)
                slots[slot, 2] = max(slots[slot, 2], last)
                nearby[run, neighbour] = slot
                neighbour += 1
        run += 1
        step = end
    return slots[:used], begins, nearby


@njit(cache=True, nogil=True)
def _bin_of(distance: float, bins: int) -> int:
    return min(int(abs(distance) * (1.0 / _BIN_CM)), bins - 1)


@njit(cache=True, nogil=True, inline="always")
def _add_scaled(target: Float32, begin: int, source: Float32, source_begin: int, count: int, scale: np.float32) -> None:
    # One-dimensional slices are known to be contiguous, which lets the loop be vectorised.
    to = target[begin : begin + count]
    of = source[source_begin : source_begin + count]
    for index in range(count):
        to[index] += scale * of[index]


@njit(cache=True, nogil=True)
def _highest_sums(
    where: Int64, offset: Float64, charge: Float64, peak: Float32, rings: Int64, runs: Int64, nearby: Int64, slots: int
) -> Float64:
    """Bound the charge that is ever on each pixel by the sum of what each step brings at its best moment."""
    bins = peak.shape[2]
    peaks = peak.reshape(-1)
    highest = np.zeros(slots)
    for run in range(len(nearby)):
        for step in range(runs[run], runs[run + 1]):
            ring = rings[where[step, 3]]
            block = (where[step, 3] * PHASES + where[step, 4]) * bins
            neighbour = 0
            for ring_y in range(-ring, ring + 1):
                bin_y = _bin_of(offset[step, 0] - ring_y * PIXEL_PITCH_CM, bins)
                for ring_z in range(-ring, ring + 1):
                    bin_z = _bin_of(offset[step, 1] - ring_z * PIXEL_PITCH_CM, bins)
                    highest[nearby[run, neighbour]] += charge[step] * peaks[(block + bin_y) * bins + bin_z]
                    neighbour += 1
    return highest


@njit(cache=True, nogil=True)
def _front_end_of_row(row: Float64) -> FrontEnd:
    return FrontEnd(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8])


@njit(cache=True, nogil=True)
def induce_charge(
    where: Int64,
    offset: Float64,
    charge: Float64,
    table: Float32,
    peak: Float32,
    rings: Int64,
    keys: npt.NDArray[np.uint64],
    front_ends: Float64,
) -> tuple[Int64, Int64, Float32]:
    """Add up what the steps induce on the pixels around them, once for R readings of the same charge.

    Four pixels in five see so little that they cannot trigger in any reading, whatever their noise; they get no window.

    Args:
        where, offset, charge: from :func:`drift_charge`.
        table, peak, rings: from :class:`~nubench.simulation.lartpc.induction.InductionTable`.
        keys: (R,) the event's key in each reading.
        front_ends: (R, 9) settings of each reading, in the order of :class:`FrontEnd`.

    Returns:
        (P, 3) packed pixel, first and end tick of its window; (P + 1,) where each window begins in the last, the
        (sum of ticks,) induced charge in electrons a tick. A window without ticks is a pixel that cannot trigger. A
        window is the same, bit for bit, whatever the other readings.
    """
    ticks = table.shape[4]
    bins = table.shape[2]
    shares = table.reshape(-1)
    slots, runs, nearby = _find_windows(where, rings, ticks)
    highest = _highest_sums(where, offset, charge, peak, rings, runs, nearby, len(slots))
    begins = np.zeros(len(slots) + 1, np.int64)
    for slot in range(len(slots)):
        seen = False
        for reading in range(len(keys)):
            # The bound is widened by more than the single precision of the sums it bounds.
            bound = highest[slot] * ROUNDING + 1.0
            front_end = _front_end_of_row(front_ends[reading])
            seen = seen or may_trigger(bound, keys[reading], np.uint64(slots[slot, 0]), front_end)
        begins[slot + 1] = begins[slot] + (max(slots[slot, 2] - slots[slot, 1], 0) if seen else 0)
    induced = np.zeros(begins[-1], np.float32)
    for run in range(len(nearby)):
        for step in range(runs[run], runs[run + 1]):
            table_first = where[step, 5] - WINDOW_TICKS
            first = max(table_first, -LEAD_TICKS)
            count = min(table_first + ticks, READ_TICKS) - first
            if count <= 0:
                continue
            ring = rings[where[step, 3]]
            block = (where[step, 3] * PHASES + where[step, 4]) * bins
            neighbour = 0
            for ring_y in range(-ring, ring + 1):
                bin_y = _bin_of(offset[step, 0] - ring_y * PIXEL_PITCH_CM, bins)
                for ring_z in range(-ring, ring + 1):
                    slot = nearby[run, neighbour]
                    neighbour += 1
                    if begins[slot + 1] == begins[slot]:
                        continue
                    bin_z = _bin_of(offset[step, 1] - ring_z * PIXEL_PITCH_CM, bins)
                    _add_scaled(
                        induced,
                        begins[slot] + first - slots[slot, 1],
                        shares,
                        ((block + bin_y) * bins + bin_z) * ticks + first - table_first,
                        count,
                        np.float32(charge[step]),
                    )
    return slots, begins, induced


@njit(cache=True, nogil=True)
def read_event(
    slots: Int64, begins: Int64, induced: Float32, key: np.uint64, front_end: FrontEnd
) -> tuple[Int64, Int64, Float64]:
    """Run the front end of every pixel of an event.

    Args:
        slots, begins, induced: from :func:`induce_charge`.
        key: the event's key.
        front_end: the settings.

    Returns:
        For the H hits: (H,) packed pixel, (H,) tick of the sample, (H,) charge in electrons; pixels in the order in
        which the deposits reach them.
    """
    capacity = len(slots) + MAX_HITS_PER_PIXEL
    pixel = np.empty(capacity, np.int64)
    tick = np.empty(capacity, np.int64)
    charge = np.empty(capacity, np.float64)
    used = 0
    for slot in range(len(slots)):
        if begins[slot + 1] == begins[slot]:
            continue
        if used + MAX_HITS_PER_PIXEL > len(pixel):
            pixel = np.concatenate((pixel, np.empty_like(pixel)))
            tick = np.concatenate((tick, np.empty_like(tick)))
            charge = np.concatenate((charge, np.empty_like(charge)))
        hits = read_pixel(
            induced[begins[slot] : begins[slot + 1]],
            slots[slot, 1],
            -LEAD_TICKS,
            READ_TICKS,
            key,
            np.uint64(slots[slot, 0]),
            front_end,
            tick[used:],
            charge[used:],
        )
        hits = hits_above_pedestal(charge[used:], hits, front_end)
        pixel[used : used + hits] = slots[slot, 0]
        used += hits
    return pixel[:used], tick[:used], charge[:used]
