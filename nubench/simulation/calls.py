"""What the responses of all detectors do with a call: check what they are given, and share out its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

from nubench.containers import Deposits, Int64
from nubench.cores import available_cores
from nubench.errors import DataError, UsageError
from nubench.simulation.random_streams import SEED_LIMIT

MAX_COORDINATE_CM: Final = 1e5
"""Deposits farther out are no detector's."""

MAX_ENERGY_MEV: Final = 1e6
"""A single deposit of more is no particle's."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_call(deposits: Deposits, event_id: Int64, seeds: Sequence[int], threads: int | None) -> None:
    """Check the arguments that every response has.

    Raises:
        UsageError: when a seed, ``threads`` or ``event_id`` cannot be accepted.
        DataError: when a deposit is not finite, negative or out of this world; the message names its row.
    """
    for seed in seeds:
        if not 0 <= seed < SEED_LIMIT:
            raise UsageError(f"seed must be from 0 to 2^64 - 1; got {seed!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more; got {threads!r}")
    if event_id.shape != (len(deposits),):
        raise UsageError(f"event_id must have one entry for each of {len(deposits)} events; got {event_id.shape}")
    check_deposits(deposits)


def check_deposits(deposits: Deposits) -> None:
    """Check that every deposit can be one.

    Raises:
        DataError: when one is not finite, negative or out of this world; the message names its row.
    """
    energy = deposits.energy
    # Written so that NaN fails too, here and below.
    for row in np.flatnonzero(~((energy >= 0.0) & (energy <= MAX_ENERGY_MEV)))[:1]:
        raise DataError(f"deposit {row}: energy must be finite, from 0 to {MAX_ENERGY_MEV:g} MeV; got {energy[row]!r}")
    for row in np.flatnonzero(~np.isfinite(deposits.time))[:1]:
        raise DataError(f"deposit {row}: time must be finite; got {deposits.time[row]!r} us")
    for name, points in (("start", deposits.start), ("end", deposits.end)):
        plausible = np.all(np.abs(points) <= MAX_COORDINATE_CM, axis=1)
        for row in np.flatnonzero(~plausible)[:1]:
            raise DataError(
                f"deposit {row}: {name} must lie within {MAX_COORDINATE_CM:g} cm of the origin; got {points[row]}"
            )


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int | None) -> list[Result]:
    """Call a function on every item, in threads, and return the results in the order of the items.

    It pays where the function's compiled code lets go of the interpreter's lock.

    Args:
        function: independent of the order in which it is called.
        items: what to call it on.
        threads: how many to use; all the process may use when None.
    """
    workers = min(threads or available_cores(), len(items))
    if workers <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))
