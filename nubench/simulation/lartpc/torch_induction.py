"""The charge that many events induce on their pixels, added up in whole numbers.

On a GPU thousands of threads add to one tick of a pixel, in an order that changes from run to run. Sums of whole
numbers do not depend on it, so charge is counted in units of 2^-31 electrons: a step's charge in 2^-7, its share in
the table of the induced charge in 2^-24. Of a step's charge at most 0.004 e are rounded away, and of a share 3e-8: a
few hundredths of an electron on a pixel, where the noise is hundreds. With at most 2^31 electrons an event (checked
by the caller) a pixel's sum stays below 2^62 units, half of what int64 holds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nubench.simulation.lartpc.drift import PIXEL_PITCH_CM
from nubench.simulation.lartpc.induction import BINS_PER_PIXEL, PHASES, WINDOW_TICKS, induction_table
from nubench.simulation.lartpc.torch_pixels import Pixels, Surroundings
from nubench.simulation.lartpc.torch_transport import Steps

_SHARE_UNITS: Final = 1 << 24
_CHARGE_UNITS: Final = 1 << 7

ELECTRONS_A_UNIT: Final = 1.0 / (_SHARE_UNITS * _CHARGE_UNITS)

MAX_ELECTRONS: Final = float(1 << 31)
"""Electrons of one event that can be added up without overflow."""

# Numbers of a block of the expansion (pairs of step and pixel, ticks): what a cache holds, or what keeps a GPU busy.
_CPU_BLOCK: Final = 1 << 17
_GPU_BLOCK: Final = 1 << 25


class DeviceTable(NamedTuple):
    """A table of the induced charge on a device; see :class:`~nubench.simulation.lartpc.induction.InductionTable`.

    Attributes:
        share: (levels x phases x bins x bins, ticks) int32, in 2^-24.
        peak: (levels x phases x bins x bins,) int64, no less than any sum of the shares from the first tick on.
        rings: (levels,) int64.
        bins: along either axis.
        reach: the most rings of any level.
        velocity: drift velocity, cm/us.
    """

    share: Tensor
    peak: Tensor
    rings: Tensor
    bins: int
    reach: int
    velocity: float

    @property
    def ticks(self) -> int:
        """Length of a row."""
        return self.share.shape[1]


class Pairs(NamedTuple):
    """Pairs of a step and a pixel that sees it: (K,) int64 slot of the pixel, row of the table, step."""

    slot: Tensor
    row: Tensor
    step: Tensor


@functools.lru_cache(maxsize=4)
def device_table(
    transverse_diffusion: float, longitudinal_diffusion: float, velocity: float, device: torch.device
) -> DeviceTable:
    """Bring the table of one setting of the drift to a device, rounded to whole numbers."""
    table = induction_table(transverse_diffusion, longitudinal_diffusion, velocity)
    exact = torch.from_numpy(table.charge).double().flatten(0, 3) * _SHARE_UNITS
    # The least current stays current: where there is none at all, the front end waits instead of walking.
    share = torch.where(exact.abs() < 1.0, exact.sign(), exact.round()).to(torch.int32)
    peak = (torch.from_numpy(table.peak).double().flatten() * _SHARE_UNITS).ceil().long() + share.shape[1]
    rings = torch.from_numpy(table.rings)
    reach = int(rings.max())
    return DeviceTable(share.to(device), peak.to(device), rings.to(device), table.charge.shape[2], reach, velocity)


@contextmanager
def _in_any_order() -> Iterator[None]:
    """Let whole numbers be added in any order: torch's deterministic mode does not tell them from others and sorts."""
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)


def charge_units(steps: Steps) -> Tensor:
    """Count the charge of steps in whole units, (S,) int64; the least charge stays charge."""
    return (steps.charge * _CHARGE_UNITS).round().long().maximum((steps.charge > 0.0).long())


def pair_rows(steps: Steps, around: Surroundings, table: DeviceTable) -> Tensor:
    """Find the row of the table by which each pixel around a step sees it, (S, K) int64."""
    distance = steps.offset[:, None, :] - around.shift.double() * PIXEL_PITCH_CM
    bins = (distance.abs() * (1.0 / (PIXEL_PITCH_CM / BINS_PER_PIXEL))).long().clamp(max=table.bins - 1)
    block = (steps.level * PHASES + steps.phase)[:, None]
    return (block * table.bins + bins[..., 0]) * table.bins + bins[..., 1]


def highest_sums(charge: Tensor, rows: Tensor, around: Surroundings, table: DeviceTable, pixels: int) -> Tensor:
    """Bound the electrons that are ever on each pixel by what each step brings at its best moment, (P,) float64."""
    # Steps that a pixel does not see are added to one pixel too many.
    highest = torch.zeros(pixels + 1, dtype=torch.int64, device=rows.device)
    with _in_any_order():
        highest.index_add_(0, around.slot.flatten(), (charge[:, None] * table.peak[rows]).flatten())
    return highest[:pixels].double() * ELECTRONS_A_UNIT


def pairs_of(live: Tensor, rows: Tensor, around: Surroundings) -> Pairs:
    """List the pairs of a step and a pixel that takes part.

    Args:
        live: (P,) bool, whether a pixel takes part.
        rows: (S, K), from :func:`pair_rows`.
        around: the pixels around each step.

    Returns:
        The pairs, their slots counted among the pixels that take part.
    """
    slot = torch.where(live, live.cumsum(0) - 1, -1)
    slots = torch.cat((slot, slot.new_full((1,), -1)))[around.slot].flatten()
    pair = (slots >= 0).nonzero()[:, 0]
    return Pairs(slots[pair], rows.flatten()[pair], pair // around.slot.shape[1])


def induce(
    steps: Steps, charge: Tensor, pairs: Pairs, pixels: Pixels, begin: Tensor, total: int, table: DeviceTable
) -> Tensor:
    """Add up the induced charge of every tick.

    Args:
        steps: S steps.
        charge: (S,) from :func:`charge_units`.
        pairs: the pairs of steps and pixels.
        pixels: the pixels that take part.
        begin: (P,) where the first tick of each of these stands in the result.
        total: length of the result.
        table: the table of the drift setting.

    Returns:
        (total,) int64, in units of :data:`ELECTRONS_A_UNIT`.
    """
    induced = torch.zeros(total, dtype=torch.int64, device=charge.device)
    # Short numbers where they do: to add them up, a GPU mostly moves memory.
    place = torch.int32 if total < 2**31 else torch.int64
    tick = torch.arange(table.ticks, dtype=place, device=charge.device)
    first = (begin - pixels.first)[pairs.slot] + steps.arrival[pairs.step] - WINDOW_TICKS
    first = first.to(place)
    scale = charge[pairs.step]
    at_once = max((_GPU_BLOCK if charge.is_cuda else _CPU_BLOCK) // table.ticks, 1)
    for some in range(0, len(first), at_once):
        block = slice(some, some + at_once)
        values = table.share.index_select(0, pairs.row[block]) * scale[block, None]
        with _in_any_order():
            induced.index_add_(0, (first[block, None] + tick).flatten(), values.flatten())
    return induced
