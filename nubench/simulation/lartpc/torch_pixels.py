"""Which pixels see current, and when: what :mod:`~nubench.simulation.lartpc.pixels` does, by sorting.

A pixel of an event is one whole number, so that ``torch.unique`` lists the pixels of many events in order of event,
plane, row and column.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from nubench.simulation.lartpc.induction import WINDOW_TICKS
from nubench.simulation.lartpc.pixels import PIXEL_BITS, PIXEL_ORIGIN, PLANE_ORIGIN
from nubench.simulation.lartpc.torch_transport import Steps

POSITION_BITS: Final = 20
"""Bits of a position, in pixels, in a key: 10^5 cm, the largest coordinate accepted, is 263,158 pixels."""

POSITION_ORIGIN: Final = 1 << (POSITION_BITS - 1)

# 10^5 cm is 1,985 planes.
_PLANE_BITS: Final = 12
_PLANE_ORIGIN: Final = 1 << (_PLANE_BITS - 1)
_CHANNEL_MASK: Final = (1 << PIXEL_BITS) - 1

MAX_EVENTS: Final = 1 << (63 - _PLANE_BITS - 2 * POSITION_BITS)
"""Events that can be told apart in one call."""

_NEVER: Final = 1 << 62


def pack_channel(plane: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pack pixels into the numbers that key their noise, (N,) int64: those of ``pixels.pack_pixel``."""
    position = ((row + PIXEL_ORIGIN) << PIXEL_BITS) | (column + PIXEL_ORIGIN)
    return ((plane + PLANE_ORIGIN) << (2 * PIXEL_BITS)) | position


def unpack_channel(channel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return plane, row (along y) and column (along z) of packed pixels, (N,) int64 each."""
    plane = (channel >> (2 * PIXEL_BITS)) - PLANE_ORIGIN
    return plane, ((channel >> PIXEL_BITS) & _CHANNEL_MASK) - PIXEL_ORIGIN, (channel & _CHANNEL_MASK) - PIXEL_ORIGIN


class Pixels(NamedTuple):
    """Pixels that see current, in order of event, plane, row and column.

    Attributes:
        event: (P,) int64.
        channel: (P,) int64, the packed pixel.
        first, end: (P,) int64, the ticks with current; they may reach out of the read window.
    """

    event: Tensor
    channel: Tensor
    first: Tensor
    end: Tensor

    def of(self, index: Tensor) -> Pixels:
        """Pick some pixels, by (M,) int64 index."""
        return Pixels(*(column[index] for column in self))


class Surroundings(NamedTuple):
    """The pixels around each step.

    Attributes:
        shift: (K, 2) int64, rows and columns from the pixel a step arrives on to each of the K around it.
        slot: (S, K) int64, the pixel's place in the list of P pixels; P beyond the rings that a step reaches.
    """

    shift: Tensor
    slot: Tensor


def find_pixels(steps: Steps, rings: Tensor, reach: int, ticks: int) -> tuple[Pixels, Surroundings]:
    """List the pixels that see current, and those around each step.

    Args:
        steps: S steps of at most :data:`MAX_EVENTS` events.
        rings: (levels,) int64, rings of pixels that a step of each level reaches.
        reach: the largest of them.
        ticks: length of the table of the induced charge.
    """
    device = rings.device
    centre = steps.plane + _PLANE_ORIGIN
    for position in (steps.row, steps.column):
        centre = (centre << POSITION_BITS) | (position + POSITION_ORIGIN)
    centre = (steps.event << (_PLANE_BITS + 2 * POSITION_BITS)) | centre
    centres, centre_of = torch.unique(centre, return_inverse=True)

    # First and last arrival on each centre, by the ring that is still reached.
    ring = rings[steps.level]
    cell = centre_of * reach + ring - 1
    first = _extreme(steps.arrival, cell, len(centres) * reach, "amin").view(-1, reach)
    last = _extreme(steps.arrival, cell, len(centres) * reach, "amax").view(-1, reach)
    first = first.flip(1).cummin(1).values.flip(1)
    last = last.flip(1).cummax(1).values.flip(1)

    span = torch.arange(-reach, reach + 1, device=device)
    shift = torch.cartesian_prod(span, span)
    needed = shift.abs().amax(1).clamp(min=1) - 1
    keys = centres[:, None] + (shift[:, 0] << POSITION_BITS) + shift[:, 1]
    seen = first[:, needed] < _NEVER
    keys, slots = torch.unique(keys[seen], return_inverse=True)
    slot_of = torch.full_like(seen, len(keys), dtype=torch.int64)
    slot_of[seen] = slots
    pixels = Pixels(
        keys >> (_PLANE_BITS + 2 * POSITION_BITS),
        pack_channel(
            ((keys >> (2 * POSITION_BITS)) & ((1 << _PLANE_BITS) - 1)) - _PLANE_ORIGIN,
            ((keys >> POSITION_BITS) & ((1 << POSITION_BITS) - 1)) - POSITION_ORIGIN,
            (keys & ((1 << POSITION_BITS) - 1)) - POSITION_ORIGIN,
        ),
        _extreme(first[:, needed][seen], slots, len(keys), "amin") - WINDOW_TICKS,
        _extreme(last[:, needed][seen], slots, len(keys), "amax") - WINDOW_TICKS + ticks,
    )
    reached = needed < ring[:, None]
    return pixels, Surroundings(shift, torch.where(reached, slot_of[centre_of], len(keys)))


def _extreme(values: Tensor, group: Tensor, groups: int, reduce: str) -> Tensor:
    """Smallest or largest value of each group; beyond any tick for a group without values."""
    nothing = _NEVER if reduce == "amin" else -_NEVER
    out = torch.full((groups,), nothing, dtype=torch.int64, device=values.device)
    return out.scatter_reduce_(0, group, values, reduce)
