"""The whole response: deposits of many events in, hits or voxels out."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from nubench.containers import Deposits, Events, Float32, Float64, Int32, Int64
from nubench.errors import DataError, UsageError
from nubench.simulation.lartpc.drift import (
    DRIFT_LENGTH_CM,
    MODULE_LENGTH_CM,
    NOMINAL_ELECTRIC_FIELD,
    PIXEL_PITCH_CM,
    drift_velocity,
)
from nubench.simulation.lartpc.frontend import TICK_US, TIMESTAMP_LATENCY_US, FrontEnd, adc_of_charge, front_end_of
from nubench.simulation.lartpc.induction import InductionTable, induction_table
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.pixels import unpack_pixel
from nubench.simulation.lartpc.quenching import Recombination, recombination_of
from nubench.simulation.lartpc.transport import Drift, drift_charge, induce_charge, read_event
from nubench.simulation.random_streams import SEED_LIMIT, event_key

VOXEL_CM = 0.38
"""Edge of a voxel on all three axes, cm; across the drift a voxel is a pixel."""

MAX_COORDINATE_CM = 1e5
"""Deposits farther out are no detector's."""

_EVENTS_PER_TASK = 16


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits of many events, ragged; in an event they are in order of time, then of pixel.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events.
        pixel: (N, 3) int32: plane along the drift axis, position along y, position along z.
        tick: (N,) int32, the tick in which the charge was sampled, 0 at the birth of the primary.
        charge: (N,) float32, electrons as sampled, noise included.
        adc: (N,) int32, counts.
        position: (N, 3) float32, cm, reconstructed with the nominal drift velocity.
    """

    offsets: Int64
    pixel: Int32
    tick: Int32
    charge: Float32
    adc: Int32
    position: Float32

    def __len__(self) -> int:
        return len(self.offsets) - 1


def simulate_hits(
    deposits: Deposits,
    event_id: Int64,
    parameters: LArTPCParameters,
    seed: int,
    threads: int | None = None,
) -> Hits:
    """Simulate the charge read-out of a LArTPC.

    Only pixels that see current are read out, so a threshold lowered into the noise shows no noise hits elsewhere.
    Times are not corrected for the trigger's lead: a pixel fires before its last charge arrives, which places hits
    some 0.2 cm too near to their pixel plane, at any setting alike.

    Args:
        deposits: energy deposits of E events.
        event_id: (E,) int64; with the seed it keys the event's noise, which is the same whatever the parameters, the
            other events of the call, their order and the number of threads.
        parameters: the detector's working point.
        seed: from 0 to 2^64 - 1.
        threads: how many to use; all the process may use when None.

    Returns:
        The hits of the same E events; events without hits have no rows.

    Raises:
        UsageError: when ``seed``, ``threads`` or ``event_id`` cannot be accepted.
        DataError: when a deposit is not finite, negative or out of this world; the message names its row.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise UsageError(f"seed must be from 0 to 2^64 - 1; got {seed!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more; got {threads!r}")
    if event_id.shape != (len(deposits),):
        raise UsageError(f"event_id must have one entry for each of {len(deposits)} events; got {event_id.shape}")
    _check_deposits(deposits)

    simulate_event = _event_simulation(deposits, event_id, parameters, seed)
    starts = range(0, len(deposits), _EVENTS_PER_TASK)

    def simulate_some(first: int) -> list[tuple[Int64, Int64, Float64]]:
        return [simulate_event(event) for event in range(first, min(first + _EVENTS_PER_TASK, len(deposits)))]

    workers = min(threads or _available_cores(), max(len(starts), 1))
    if workers == 1:
        parts = [simulate_some(first) for first in starts]
    else:
        # The compiled code lets go of the interpreter's lock, so threads run side by side.
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(simulate_some, starts))
    return _collect_hits([hits for part in parts for hits in part], parameters)


def simulate(
    deposits: Deposits,
    event_id: Int64,
    parameters: LArTPCParameters,
    seed: int,
    threads: int | None = None,
) -> Events:
    """Simulate the read-out and quantise its hits on the 0.38 cm voxel grid.

    Of the hits that fall into one voxel the earliest stays. Arguments and errors as :func:`simulate_hits`.

    Returns:
        E events; the feature is the raw ADC count, pedestal included.
    """
    hits = simulate_hits(deposits, event_id, parameters, seed, threads)
    event = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
    coords = np.empty((len(event), 3), np.int32)
    coords[:, 0] = np.floor(hits.position[:, 0].astype(np.float64) / VOXEL_CM)
    coords[:, 1:] = hits.pixel[:, 1:]
    # A stable sort keeps hits of one voxel in order of time.
    order = np.lexsort((coords[:, 2], coords[:, 1], coords[:, 0], event))
    same_event = event[order][1:] == event[order][:-1]
    repeated = np.concatenate([[False], same_event & np.all(coords[order][1:] == coords[order][:-1], axis=1)])
    kept = np.sort(order[~repeated[: len(order)]])
    offsets = np.searchsorted(event[kept], np.arange(len(hits) + 1)).astype(np.int64)
    return Events(offsets, coords[kept], hits.adc[kept, None].astype(np.float32))


def _event_simulation(
    deposits: Deposits, event_id: Int64, parameters: LArTPCParameters, seed: int
) -> Callable[[int], tuple[Int64, Int64, Float64]]:
    """Bind all that events have in common; the result simulates the event of an index."""
    velocity = drift_velocity(parameters.electric_field)
    table: InductionTable = induction_table(
        float(parameters.transverse_diffusion), float(parameters.longitudinal_diffusion), velocity
    )
    recombination: Recombination = recombination_of(parameters)
    drift = Drift(velocity, float(parameters.electron_lifetime))
    front_end = front_end_of(parameters)

    def simulate_event(event: int) -> tuple[Int64, Int64, Float64]:
        rows = slice(deposits.offsets[event], deposits.offsets[event + 1])
        # Copies, so that read-only or strided input does not set off another compilation.
        start, end, energy, time = (
            np.array(column[rows], dtype=np.float32, order="C")
            for column in (deposits.start, deposits.end, deposits.energy, deposits.time)
        )
        where, offset, charge = drift_charge(start, end, energy, time, recombination, drift)
        key = np.uint64(event_key(np.uint64(seed), event_id[event].astype(np.uint64)))
        slots, begins, induced = induce_charge(
            where, offset, charge, table.charge, table.peak, table.rings, key, front_end
        )
        pixel, tick, sampled = read_event(slots, begins, induced, key, front_end)
        order = np.lexsort((pixel, tick))
        return pixel[order], tick[order], sampled[order]

    return simulate_event


def _collect_hits(parts: list[tuple[Int64, Int64, Float64]], parameters: LArTPCParameters) -> Hits:
    offsets = np.concatenate([[0], np.cumsum([len(pixel) for pixel, _, _ in parts], dtype=np.int64)]).astype(np.int64)
    packed = np.concatenate([np.empty(0, np.int64), *(pixel for pixel, _, _ in parts)])
    tick = np.concatenate([np.empty(0, np.int64), *(tick for _, tick, _ in parts)])
    charge = np.concatenate([np.empty(0), *(charge for _, _, charge in parts)])
    front_end = front_end_of(parameters)
    pixel, adc = _decode(packed, charge, front_end)
    return Hits(offsets, pixel, tick.astype(np.int32), charge.astype(np.float32), adc, _reconstruct(pixel, tick))


@njit(cache=True, nogil=True)
def _decode(packed: Int64, charge: Float64, front_end: FrontEnd) -> tuple[Int32, Int32]:
    pixel = np.empty((len(packed), 3), np.int32)
    adc = np.empty(len(packed), np.int32)
    for hit in range(len(packed)):
        plane, row, column = unpack_pixel(packed[hit])
        pixel[hit, 0] = plane
        pixel[hit, 1] = row
        pixel[hit, 2] = column
        adc[hit] = adc_of_charge(charge[hit], front_end)
    return pixel, adc


def _reconstruct(pixel: Int32, tick: Int64) -> Float32:
    """Place hits at their pixel's centre, and along the drift by their time and the nominal velocity."""
    plane = pixel[:, 0].astype(np.float64)
    module = np.floor(plane / 2.0)
    towards_anode = np.where(plane % 2 == 1, 1.0, -1.0)
    time = tick * TICK_US - TIMESTAMP_LATENCY_US
    anode = module * MODULE_LENGTH_CM + towards_anode * DRIFT_LENGTH_CM
    position = np.empty((len(pixel), 3), np.float32)
    position[:, 0] = anode - towards_anode * time * drift_velocity(NOMINAL_ELECTRIC_FIELD)
    position[:, 1:] = (pixel[:, 1:] + 0.5) * PIXEL_PITCH_CM
    return position


def _check_deposits(deposits: Deposits) -> None:
    energy = deposits.energy
    for row in np.flatnonzero(~np.isfinite(energy) | (energy < 0.0))[:1]:
        raise DataError(f"deposit {row}: energy must be finite and 0 MeV or above; got {energy[row]!r}")
    for row in np.flatnonzero(~np.isfinite(deposits.time))[:1]:
        raise DataError(f"deposit {row}: time must be finite; got {deposits.time[row]!r} us")
    for name, points in (("start", deposits.start), ("end", deposits.end)):
        # Written so that NaN fails too.
        plausible = np.all(np.abs(points) <= MAX_COORDINATE_CM, axis=1)
        for row in np.flatnonzero(~plausible)[:1]:
            raise DataError(
                f"deposit {row}: {name} must lie within {MAX_COORDINATE_CM:g} cm of the origin; got {points[row]}"
            )


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
