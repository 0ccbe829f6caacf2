"""The whole response: deposits of many events in, hit cubes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from nubench.containers import Bool, Deposits, Events, Float64, Int64, Response
from nubench.simulation.calls import check_call, in_threads
from nubench.simulation.random_streams import event_key
from nubench.simulation.scintillator.cubes import cube_indices
from nubench.simulation.scintillator.light import leak_light, light_of_deposits
from nubench.simulation.scintillator.parameters import ScintillatorParameters
from nubench.simulation.scintillator.photosensors import find_hits, photosensors_of

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
    check_call(deposits, event_id, [seed], threads)
    simulate_event = _event_simulation(deposits, event_id, parameters, seed)
    starts = range(0, len(deposits), _EVENTS_PER_TASK)

    def simulate_some(first: int) -> list[_Hits]:
        return [simulate_event(event) for event in range(first, min(first + _EVENTS_PER_TASK, len(deposits)))]

    parts = in_threads(simulate_some, starts, threads)
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
