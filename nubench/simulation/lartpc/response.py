"""The whole response: deposits of many events in, hits or voxels out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nubench.containers import Deposits, Events, Int64
from nubench.errors import UsageError
from nubench.simulation.calls import check_call, in_threads
from nubench.simulation.lartpc.defects import Defects, apply_defects, defects_of
from nubench.simulation.lartpc.drift import drift_velocity
from nubench.simulation.lartpc.frontend import FrontEnd, front_end_of
from nubench.simulation.lartpc.hits import EventHits, Hits, collect_hits, digitised, voxelise
from nubench.simulation.lartpc.induction import InductionTable, induction_table
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.quenching import Recombination, recombination_of
from nubench.simulation.lartpc.transport import Drift, drift_charge, induce_charge, read_event
from nubench.simulation.random_streams import event_key

_TASKS_A_BATCH = 8


class _Charge(NamedTuple):
    """All that decides which charge arrives where: what readings of an event must share to be induced once."""

    transverse_diffusion: float
    longitudinal_diffusion: float
    recombination: Recombination
    drift: Drift

    @property
    def table(self) -> InductionTable:
        return induction_table(self.transverse_diffusion, self.longitudinal_diffusion, self.drift.velocity)


class _Reading(NamedTuple):
    """One reading of one event: which draw it belongs to, its noise and its pixels."""

    draw: int
    key: np.uint64
    front_end: FrontEnd
    defects: Defects


class _Task(NamedTuple):
    """The readings of one event that share its charge."""

    event: int
    charge: _Charge
    readings: list[_Reading]


def simulate_hits(
    deposits: Deposits,
    event_id: Int64,
    parameters: LArTPCParameters | Sequence[LArTPCParameters],
    seed: int,
    threads: int | None = None,
) -> Hits:
    """Simulate the charge read-out of a LArTPC.

    Only pixels that see current are read out, so a threshold lowered into the noise shows no noise hits elsewhere; the
    spurious hits of ``noise_hits`` are drawn apart. Times are not corrected for the trigger's lead: a pixel fires
    before its last charge arrives, which places hits some 0.2 cm too near to their pixel plane, at any setting alike.

    Args:
        deposits: energy deposits of E events.
        event_id: (E,) int64; with the seed it keys the event's noise, which is the same whatever the parameters, the
            other events of the call, their order and the number of threads.
        parameters: the detector's working point, or E of them, one for each event.
        seed: from 0 to 2^64 - 1.
        threads: how many to use; all the process may use when None.

    Returns:
        The hits of the same E events; events without hits have no rows.

    Raises:
        UsageError: when ``parameters``, ``seed``, ``threads`` or ``event_id`` cannot be accepted.
        DataError: when a deposit is not finite, negative or out of this world; the message names its row.
    """
    points = one_for_each(parameters, len(deposits))
    return _simulate_draws(deposits, event_id, [points], [seed], threads)[0]


def simulate(
    deposits: Deposits,
    event_id: Int64,
    parameters: LArTPCParameters | Sequence[LArTPCParameters],
    seed: int,
    threads: int | None = None,
) -> Events:
    """Simulate the read-out and quantise its hits on the 0.38 cm voxel grid.

    Of the hits that fall into one voxel the earliest stays. Arguments and errors as :func:`simulate_hits`.

    Returns:
        E events; the feature is the ADC count, pedestal included, plus ``adc_offset``.
    """
    return simulate_draws(deposits, event_id, [parameters], [seed], threads)[0]


def simulate_draws(
    deposits: Deposits,
    event_id: Int64,
    parameters: Sequence[LArTPCParameters | Sequence[LArTPCParameters]],
    seeds: Sequence[int],
    threads: int | None = None,
) -> list[Events]:
    """Simulate the same events several times: each draw is what :func:`simulate` gives, bit for bit.

    The drift and the induced current, most of the work, are computed once for the draws of an event that differ in
    nothing but the front end, the defects, the calibration and the seed.

    Args:
        deposits, event_id, threads: as :func:`simulate_hits`.
        parameters: of each of the K draws.
        seeds: (K,) of each draw.

    Returns:
        K times the E events.

    Raises:
        UsageError, DataError: as :func:`simulate_hits`.
    """
    if len(seeds) != len(parameters):
        raise UsageError(f"seeds must be one for each of {len(parameters)} draws; got {len(seeds)}")
    points = [one_for_each(of_draw, len(deposits)) for of_draw in parameters]
    draws = _simulate_draws(deposits, event_id, points, seeds, threads)
    return [
        voxelise(hits, np.array([point.adc_offset for point in of_draw], np.float64))
        for hits, of_draw in zip(draws, points, strict=True)
    ]


def one_for_each(parameters: LArTPCParameters | Sequence[LArTPCParameters], events: int) -> Sequence[LArTPCParameters]:
    if isinstance(parameters, LArTPCParameters):
        return [parameters] * events
    if len(parameters) != events:
        raise UsageError(f"parameters must be one set, or one for each of {events} events; got {len(parameters)}")
    return parameters


def _simulate_draws(
    deposits: Deposits,
    event_id: Int64,
    points: Sequence[Sequence[LArTPCParameters]],
    seeds: Sequence[int],
    threads: int | None,
) -> list[Hits]:
    check_call(deposits, event_id, seeds, threads)

    # Tasks of one induction table stand together: only a few tables are kept.
    tasks = sorted(_tasks(event_id, points, seeds), key=lambda task: (task.charge[:2], task.charge.drift.velocity))
    batches = [tasks[first : first + _TASKS_A_BATCH] for first in range(0, len(tasks), _TASKS_A_BATCH)]

    def simulate_batch(batch: list[_Task]) -> list[list[EventHits]]:
        return [_simulate_task(deposits, task) for task in batch]

    done = in_threads(simulate_batch, batches, threads)
    hits = {
        (reading.draw, task.event): of_reading
        for task, of_task in zip(tasks, itertools.chain.from_iterable(done), strict=True)
        for reading, of_reading in zip(task.readings, of_task, strict=True)
    }
    return [collect_hits([hits[draw, event] for event in range(len(deposits))]) for draw in range(len(seeds))]


def _tasks(event_id: Int64, points: Sequence[Sequence[LArTPCParameters]], seeds: Sequence[int]) -> list[_Task]:
    """Sort the readings of each event by the charge that they share."""
    settings = {
        point: (_charge_of(point), front_end_of(point), defects_of(point))
        for point in set(itertools.chain.from_iterable(points))
    }
    tasks: dict[tuple[int, _Charge], _Task] = {}
    for draw, (of_draw, seed) in enumerate(zip(points, seeds, strict=True)):
        for event, point in enumerate(of_draw):
            charge, front_end, defects = settings[point]
            key = np.uint64(event_key(np.uint64(seed), event_id[event].astype(np.uint64)))
            task = tasks.setdefault((event, charge), _Task(event, charge, []))
            task.readings.append(_Reading(draw, key, front_end, defects))
    return list(tasks.values())


def _charge_of(parameters: LArTPCParameters) -> _Charge:
    return _Charge(
        float(parameters.transverse_diffusion),
        float(parameters.longitudinal_diffusion),
        recombination_of(parameters),
        Drift(drift_velocity(parameters.electric_field), float(parameters.electron_lifetime)),
    )


def _simulate_task(deposits: Deposits, task: _Task) -> list[EventHits]:
    """Induce an event's charge once and read it as often as it is asked for."""
    rows = slice(deposits.offsets[task.event], deposits.offsets[task.event + 1])
    # Copies, so that read-only or strided input does not set off another compilation.
    start, end, energy, time = (
        np.array(column[rows], dtype=np.float32, order="C")
        for column in (deposits.start, deposits.end, deposits.energy, deposits.time)
    )
    where, offset, charge = drift_charge(start, end, energy, time, task.charge.recombination, task.charge.drift)
    table = task.charge.table
    keys = np.array([reading.key for reading in task.readings])
    front_ends = np.array([reading.front_end for reading in task.readings])
    windows = induce_charge(where, offset, charge, table.charge, table.peak, table.rings, keys, front_ends)
    hits = []
    for _, key, front_end, defects in task.readings:
        found = apply_defects(*read_event(*windows, key, front_end), key, front_end, defects)
        hits.append(digitised(*found, front_end))
    return hits
