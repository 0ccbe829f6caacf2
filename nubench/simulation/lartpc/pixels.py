"""Which pixels of an event see current, and when: a hash table from pixel to a window of ticks.

A pixel is the pair of its plane and its position on it. Planes are counted along the drift axis: plane 2 m is the one
at the lower end of module m, plane 2 m + 1 the one at its upper end.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nubench.containers import Int64

PIXEL_BITS = 22
"""Bits of a packed pixel for either position; its plane has the 19 bits left below the sign."""

PIXEL_ORIGIN = 1 << (PIXEL_BITS - 1)
PLANE_ORIGIN = 1 << 18
_POSITION_MASK = (1 << PIXEL_BITS) - 1

# Fibonacci hashing: the multiplier is 2^64 over the golden ratio, and the upper bits are the mixed ones.
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HASH_SHIFT = np.uint64(32)
_EMPTY = -1
_FIRST_CAPACITY = 256


@njit(cache=True, nogil=True)
def pack_pixel(plane: int, row: int, column: int) -> int:
    """Pack a pixel into one whole number, 0 or above."""
    return ((plane + PLANE_ORIGIN) << (2 * PIXEL_BITS)) | ((row + PIXEL_ORIGIN) << PIXEL_BITS) | (column + PIXEL_ORIGIN)


@njit(cache=True, nogil=True)
def unpack_pixel(pixel: int) -> tuple[int, int, int]:
    """Return plane, row (along y) and column (along z) of a packed pixel."""
    return (
        (pixel >> (2 * PIXEL_BITS)) - PLANE_ORIGIN,
        ((pixel >> PIXEL_BITS) & _POSITION_MASK) - PIXEL_ORIGIN,
        (pixel & _POSITION_MASK) - PIXEL_ORIGIN,
    )


@njit(cache=True, nogil=True)
def new_slots() -> tuple[Int64, Int64]:
    """Make an empty table: hash cells (-1 or a slot), and for each slot its pixel, first tick, end tick."""
    return np.full(2 * _FIRST_CAPACITY, _EMPTY, np.int64), np.empty((_FIRST_CAPACITY, 3), np.int64)


@njit(cache=True, nogil=True)
def find_cell(cells: Int64, slots: Int64, pixel: int) -> int:
    """Find the hash cell of a pixel, or the empty one where it belongs."""
    mask = len(cells) - 1
    cell = int((np.uint64(pixel) * _HASH_MULTIPLIER) >> _HASH_SHIFT) & mask
    while cells[cell] != _EMPTY and slots[cells[cell], 0] != pixel:
        cell = (cell + 1) & mask
    return cell


@njit(cache=True, nogil=True)
def grow_slots(cells: Int64, slots: Int64, used: int) -> tuple[Int64, Int64]:
    """Double a table whose ``used`` slots are all it has; slots keep their numbers."""
    more_cells = np.full(2 * len(cells), _EMPTY, np.int64)
    more_slots = np.empty((2 * len(slots), 3), np.int64)
    more_slots[:used] = slots[:used]
    for slot in range(used):
        more_cells[find_cell(more_cells, more_slots, more_slots[slot, 0])] = slot
    return more_cells, more_slots
