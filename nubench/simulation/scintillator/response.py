"""The whole response: deposits of many events in, hit cubes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from nubench.containers import Bool, Deposits, Events, Float64, Int64, Response
from nubench.errors import DataError, UsageError
from nubench.simulation.random_streams import SEED_LIMIT, event_key
from nubench.simulation.scintillator.cubes import cube_indices
from nubench.simulation.scintillator.light import leak_light, light_of_deposits
from nubench.simulation.scintillator.parameters import ScintillatorParameters
from nubench.simulation.scintillator.photosensors import find_hits, photosensors_of

MAX_COORDINATE_CM: Final = 1e5
"""Deposits farther out are no detector's."""

MAX_ENERGY_MEV: Final = 1e6
"""More than any particle of an accelerator leaves in one step."""

_EVENTS_PER_TASK: Final = 16

_Hits = tuple[Int64, Float64, Bool]


def simulate(
    deposits: Deposits,
    event_id: Int64,
    parameters: ScintillatorParameters,
    seed: int,
    threads: int | None = None,
) -> Response:
    """Simulate the light of scintillator cubes and its read-out.

    Deposits outside the 2 m box, before the birth of the primary or more than 10 us after it give no light.

    Args:
        deposits: energy deposits of E events.
        event_id: (E,) int64; with the seed it keys the event's noise, which is the same whatever the parameters, the
            other events of the call, their order and the number of threads.
        parameters: the detector's working point.
        seed: from 0 to 2^64 - 1.
        threads: how many to use; all the process may use when None.

    Returns:
        E events; those without hits have no voxels. The hits of an event are in the order of their indices, x before
        y before z; the feature is the number of photoelectrons. ``from_track`` is True for a cube in which a particle
        left energy, False where all light leaked in.

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

    def simulate_some(first: int) -> list[_Hits]:
        return [simulate_event(event) for event in range(first, min(first + _EVENTS_PER_TASK, len(deposits)))]

    workers = min(threads or _available_cores(), max(len(starts), 1))
    if workers == 1:
        parts = [simulate_some(first) for first in starts]
    else:
        # The compiled code lets go of the interpreter's lock, so threads run side by side.
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(simulate_some, starts))
    return _collect([hits for part in parts for hits in part])


def _event_simulation(
    deposits: Deposits, event_id: Int64, parameters: ScintillatorParameters, seed: int
) -> Callable[[int], _Hits]:
    """Bind all that events have in common; the result simulates the event of an index."""
    sensors = photosensors_of(parameters)
    birks_k, leakage = float(parameters.birks_k), float(parameters.leakage)

    def simulate_event(event: int) -> _Hits:
        rows = slice(deposits.offsets[event], deposits.offsets[event + 1])
        # Copies, so that read-only or strided input does not set off another compilation.
        start, end, energy, time = (
            np.array(column[rows], dtype=np.float32, order="C")
            for column in (deposits.start, deposits.end, deposits.energy, deposits.time)
        )
        cubes, light = light_of_deposits(start, end, energy, time, birks_k)
        cubes, light, from_track = leak_light(cubes, light, leakage)
        key = np.uint64(event_key(np.uint64(seed), event_id[event].astype(np.uint64)))
        hits: _Hits = find_hits(cubes, light, from_track, key, sensors)
        return hits

    return simulate_event


def _collect(hits: list[_Hits]) -> Response:
    offsets = np.concatenate([[0], np.cumsum([len(cubes) for cubes, _, _ in hits], dtype=np.int64)]).astype(np.int64)
    cubes = np.concatenate([np.empty(0, np.int64), *(cubes for cubes, _, _ in hits)])
    photoelectrons = np.concatenate([np.empty(0), *(counted for _, counted, _ in hits)])
    from_track = np.concatenate([np.empty(0, np.bool_), *(own for _, _, own in hits)])
    events = Events(offsets, cube_indices(cubes), photoelectrons[:, None].astype(np.float32))
    return Response(events, from_track)


def _check_deposits(deposits: Deposits) -> None:
    energy = deposits.energy
    # Written so that NaN fails too.
    for row in np.flatnonzero(~((energy >= 0.0) & (energy <= MAX_ENERGY_MEV)))[:1]:
        raise DataError(f"deposit {row}: energy must be from 0 to {MAX_ENERGY_MEV:g} MeV; got {energy[row]!r}")
    for row in np.flatnonzero(~np.isfinite(deposits.time))[:1]:
        raise DataError(f"deposit {row}: time must be finite; got {deposits.time[row]!r} us")
    for name, points in (("start", deposits.start), ("end", deposits.end)):
        plausible = np.all(np.abs(points) <= MAX_COORDINATE_CM, axis=1)
        for row in np.flatnonzero(~plausible)[:1]:
            raise DataError(
                f"deposit {row}: {name} must lie within {MAX_COORDINATE_CM:g} cm of the origin; got {points[row]}"
            )


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
