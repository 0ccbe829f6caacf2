"""The whole response on a device, for thousands of events at once: the second back end of the LArTPC.

The same physics and random streams as :mod:`~nubench.simulation.lartpc.response`, in plain torch, for re-simulation
beside a training on a GPU. The two back ends differ by the rounding of their sums alone, which tips one comparison
with the threshold in many thousands.

What an event gives depends on its deposits, its id, its working point and the seed: not on the other events of the
call, their order or how they are cut into batches. All sums are of whole numbers, and all else is done number by
number, so that on a GPU results are the same bit for bit. Logarithms and powers may be rounded otherwise on another
kind of device, and on a CPU at another place of a vector: a last bit that only a comparison at its very edge can show.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch

from nubench.containers import Deposits, Int64
from nubench.errors import DataError, UsageError
from nubench.simulation.lartpc.drift import drift_velocity
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.quenching import Recombination, recombination_of
from nubench.simulation.lartpc.response import one_for_each
from nubench.simulation.lartpc.torch_batches import Reading, read_charge, reading_of
from nubench.simulation.lartpc.torch_deposits import DeviceDeposits
from nubench.simulation.lartpc.torch_hits import DeviceEvents, RawHits, no_hits, voxelise, with_defects
from nubench.simulation.lartpc.torch_induction import MAX_ELECTRONS, device_table
from nubench.simulation.lartpc.torch_transport import free_charge
from nubench.simulation.random_streams import SEED_LIMIT

# Pairs of a step and a pixel around it that are worked on at once: 300 events of up to 1 GeV and a few gigabytes on a
# GPU, which fewer would not keep busy; on a CPU the fewer, the more stays in its caches.
_PAIRS_AT_ONCE: Final = 1 << 19
_PAIRS_AT_ONCE_ON_A_GPU: Final = 1 << 24

_Table = tuple[float, float, float]
"""What chooses a table of the induced charge: transverse and longitudinal diffusion, cm2/us, drift velocity, cm/us."""


class _Charge(NamedTuple):
    """All that decides which charge arrives where."""

    table: _Table
    recombination: Recombination
    lifetime: float


class _Group(NamedTuple):
    """Draws of an event that share its charge, by their numbers, and the table that it is induced by."""

    table: _Table
    draws: tuple[int, ...]


def simulate_torch(
    deposits: Deposits | DeviceDeposits,
    event_id: Int64,
    parameters: LArTPCParameters | Sequence[LArTPCParameters],
    seed: int,
    device: torch.device | str = "cpu",
    pairs_at_once: int | None = None,
) -> DeviceEvents:
    """Simulate the read-out of a LArTPC and put its hits on the voxel grid; ``simulate`` on a device.

    Args:
        deposits: energy deposits of E events; those of a :class:`DeviceDeposits` decide the device.
        event_id: (E,) int64; with the seed it keys the event's noise.
        parameters: the detector's working point, or E of them.
        seed: from 0 to 2^64 - 1.
        device: where to compute, for deposits on the host.
        pairs_at_once: how many pairs of a step and a pixel around it to work on at once, which limits the memory but
            never splits an event; as the device likes it when None.

    Returns:
        E events on the device, in the order of ``deposits``.

    Raises:
        UsageError: when an argument cannot be accepted.
        DataError: when a deposit is not finite, negative or out of this world, or an event has more charge than can
            be counted.
    """
    on_device = deposits if isinstance(deposits, DeviceDeposits) else DeviceDeposits.of(deposits, device)
    return simulate_draws_torch(on_device, event_id, [parameters], [seed], pairs_at_once)[0]


def simulate_draws_torch(
    deposits: DeviceDeposits,
    event_id: Int64,
    parameters: Sequence[LArTPCParameters | Sequence[LArTPCParameters]],
    seeds: Sequence[int],
    pairs_at_once: int | None = None,
) -> list[DeviceEvents]:
    """Simulate the same events several times: each draw is what :func:`simulate_torch` gives, bit for bit.

    The drift and the induced current, most of the work, are computed once for an event whose draws differ in nothing
    but the front end, the defects, the calibration and the seed.

    Args:
        deposits: of E events.
        event_id: (E,) int64.
        parameters: of each of the K draws.
        seeds: (K,) of each draw.
        pairs_at_once: as :func:`simulate_torch`.

    Returns:
        K times the E events.

    Raises:
        UsageError, DataError: as :func:`simulate_torch`.
    """
    for seed in seeds:
        if not 0 <= seed < SEED_LIMIT:
            raise UsageError(f"seed must be from 0 to 2^64 - 1; got {seed!r}")
    if event_id.shape != (len(deposits),):
        raise UsageError(f"event_id must have one entry for each of {len(deposits)} events; got {event_id.shape}")
    if pairs_at_once is None:
        pairs_at_once = _PAIRS_AT_ONCE if deposits.device.type == "cpu" else _PAIRS_AT_ONCE_ON_A_GPU
    device = deposits.device
    points = [one_for_each(of_draw, len(deposits)) for of_draw in parameters]
    readings = [reading_of(event_id, of_draw, seed, device) for of_draw, seed in zip(points, seeds, strict=True)]
    found = [[no_hits(device)] for _ in seeds]
    for group, events in _groups(points).items():
        index = torch.tensor(events, device=device)
        of_group = [readings[draw].of(index) for draw in group.draws]
        charge = free_charge(deposits.select(np.array(events)), [points[group.draws[0]][event] for event in events])
        steps, electrons = charge.totals()
        for event in np.flatnonzero(electrons > MAX_ELECTRONS)[:1]:
            raise DataError(
                f"event {events[event]}: {electrons[event]:.3g} electrons; at most {MAX_ELECTRONS:.3g} can be counted"
            )
        for hits in read_charge(charge, steps, device_table(*group.table, device), of_group, pairs_at_once):
            for draw, of_draw in zip(group.draws, hits, strict=True):
                found[draw].append(of_draw._replace(event=index[of_draw.event]))
    return [
        _finished(RawHits.concatenate(hits), reading, of_draw, event_id, seed)
        for hits, reading, of_draw, seed in zip(found, readings, points, seeds, strict=True)
    ]


def _groups(points: Sequence[Sequence[LArTPCParameters]]) -> dict[_Group, list[int]]:
    """Sort events, and those of their draws that share a charge, by the table of the charge."""
    charges = {point: _charge_of(point) for point in set(itertools.chain.from_iterable(points))}
    groups: dict[_Group, list[int]] = {}
    for event, of_event in enumerate(zip(*points, strict=True)):
        draws: dict[_Charge, tuple[int, ...]] = {}
        for draw, point in enumerate(of_event):
            draws[charges[point]] = (*draws.get(charges[point], ()), draw)
        for charge, of_charge in draws.items():
            groups.setdefault(_Group(charge.table, of_charge), []).append(event)
    return groups


def _charge_of(point: LArTPCParameters) -> _Charge:
    table = (
        float(point.transverse_diffusion),
        float(point.longitudinal_diffusion),
        drift_velocity(point.electric_field),
    )
    return _Charge(table, recombination_of(point), float(point.electron_lifetime))


def _finished(
    hits: RawHits, reading: Reading, points: Sequence[LArTPCParameters], event_id: Int64, seed: int
) -> DeviceEvents:
    hits = with_defects(hits, points, event_id, seed, reading.key.device)
    offset = torch.tensor([point.adc_offset for point in points], dtype=torch.float64, device=reading.key.device)
    return voxelise(hits, reading.settings, offset)
