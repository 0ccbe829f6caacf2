"""Deposits as differences: the same bits in two thirds of the space.

Most deposits start where the one before ended, or are so short that both ends agree in most of their digits. So each
position is kept as its difference from the one before, and a start only where it is a new position:

- the end of a deposit relative to its start,
- the start relative to the end of the deposit before, for the deposits whose start differs from it,
- the time relative to that of the deposit before.

What is subtracted are the 32 bits of the numbers, read as integers modulo 2^32. That loses nothing, whatever the
numbers are, and float32 numbers that are close have bits that are close. Differences are then folded (0, -1, 1, -2, ...
become 0, 1, 2, 3, ...), so that a small one of either sign has leading zero bytes, which compress to nothing. Before
the first deposit of an event stand zeros: each event can be unpacked alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nubench.containers import Deposits, Float32, Int64

UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class PackedDeposits:
    """N deposits of E events, J of which start at a new position.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events among the N.
        jump_offsets: (E + 1,) int64 row boundaries of the events among the J.
        is_jump: (N,) uint8, 1 for the J deposits, 0 for those that start where the one before ended.
        jump: (J, 3) uint32, folded difference of the start from the end before.
        step: (N, 3) uint32, folded difference of the end from the start; zeros for a point deposit.
        time_step: (N,) uint32, folded difference of the time from that before.
        energy: (N,) float32, MeV.
    """

    offsets: Int64
    jump_offsets: Int64
    is_jump: UInt8
    jump: UInt32
    step: UInt32
    time_step: UInt32
    energy: Float32


def pack(deposits: Deposits) -> PackedDeposits:
    """Replace positions and times by differences; :func:`unpack` gives back every bit."""
    start, end, time = (_bits(column) for column in (deposits.start, deposits.end, deposits.time))
    jump = start - _previous(end, deposits.offsets)
    is_jump = (jump[:, 0] | jump[:, 1] | jump[:, 2]) != 0
    jumps_before = np.concatenate([[0], np.cumsum(is_jump)]).astype(np.int64)
    return PackedDeposits(
        offsets=deposits.offsets,
        jump_offsets=jumps_before[deposits.offsets],
        is_jump=is_jump.view(np.uint8),
        jump=_fold(jump.take(np.flatnonzero(is_jump), axis=0)),
        step=_fold(end - start),
        time_step=_fold(time - _previous(time, deposits.offsets)),
        energy=deposits.energy,
    )


def unpack(packed: PackedDeposits) -> Deposits:
    """Add the differences up again.

    Raises:
        ValueError: when an event marks another number of jumps than it has.
    """
    jumps = np.flatnonzero(packed.is_jump)
    if len(jumps) != len(packed.jump) or np.any(np.searchsorted(jumps, packed.offsets) != packed.jump_offsets):
        raise ValueError("is_jump does not mark as many deposits of each event as jump_offsets says")
    step = _unfold(packed.step)
    from_end_to_end = np.zeros_like(step)
    from_end_to_end[jumps] = _unfold(packed.jump)
    from_end_to_end += step
    end = _accumulate(from_end_to_end, packed.offsets)
    start = np.subtract(end, step, out=step)
    return Deposits(
        offsets=packed.offsets,
        start=start.view(np.float32),
        end=end.view(np.float32),
        energy=packed.energy,
        time=_accumulate(_unfold(packed.time_step), packed.offsets).view(np.float32),
    )


def _bits(column: Float32) -> UInt32:
    return np.ascontiguousarray(column, dtype=np.float32).view(np.uint32)


def _previous(values: UInt32, offsets: Int64) -> UInt32:
    """Each row's predecessor in its event; zeros for the first of an event."""
    previous = np.zeros_like(values)
    previous[1:] = values[:-1]
    previous[_first_rows(offsets)] = 0
    return previous


def _accumulate(differences: UInt32, offsets: Int64) -> UInt32:
    """Sum the rows of each event modulo 2^32, in place."""
    first = _first_rows(offsets)
    sums = np.cumsum(differences, axis=0, dtype=np.uint32, out=differences)
    before = np.zeros_like(sums[first])
    before[1:] = sums[first[1:] - 1]
    sums -= np.repeat(before, np.diff(np.append(first, len(sums))), axis=0)
    return sums


def _first_rows(offsets: Int64) -> Int64:
    """The first row of each event that has any."""
    return offsets[:-1][np.diff(offsets) > 0]


def _fold(differences: UInt32) -> UInt32:
    folded: UInt32 = np.right_shift(differences, 31)
    np.negative(folded, out=folded)
    folded ^= differences << 1
    return folded


def _unfold(folded: UInt32) -> UInt32:
    differences: UInt32 = np.bitwise_and(folded, 1)
    np.negative(differences, out=differences)
    differences ^= folded >> 1
    return differences
