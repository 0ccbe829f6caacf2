"""Compiled kernels that move the voxels of events and put them back on the grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.float32]
Index = npt.NDArray[np.integer]

_BITS = 21  # of each coordinate in a key, relative to the event's first voxel


@compiled
def move(
    coords: Index, offsets: Index, matrices: Array, shifts: Array, sigmas: Array, noise: Array, out: Index
) -> None:
    """Turn events about the mean of their voxels, shift and blur them, and return to whole voxels.

    Args:
        coords: (N, 3) voxel indices; positions are the voxels' middles.
        offsets: (B + 1,) rows of the events.
        matrices: (B, 3, 3), in voxels.
        shifts: (B, 3), in voxels.
        sigmas: (B, 3), of the blur, in voxels.
        noise: (N, 3) normal numbers.
        out: out (N, 3) voxel indices.
    """
    for event in parallel_range(len(offsets) - 1):
        start, end = offsets[event], offsets[event + 1]
        centre = np.zeros(3, np.float32)
        for axis in range(3):
            # Relative to the event's first voxel, so single precision is fine however far out the event is.
            total = np.int64(0)
            for row in range(start, end):
                total += np.int64(coords[row, axis] - coords[start, axis])
            centre[axis] = np.float32(total / (end - start))
        for row in range(start, end):
            x = np.float32(coords[row, 0] - coords[start, 0]) - centre[0]
            y = np.float32(coords[row, 1] - coords[start, 1]) - centre[1]
            z = np.float32(coords[row, 2] - coords[start, 2]) - centre[2]
            for axis in range(3):
                place = matrices[event, axis, 0] * x + matrices[event, axis, 1] * y + matrices[event, axis, 2] * z
                place += noise[row, axis] * sigmas[event, axis]
                place += centre[axis] + shifts[event, axis] + np.float32(0.5)
                out[row, axis] = coords[start, axis] + np.int64(np.floor(place))


@compiled
def unmark_repeated(coords: Index, offsets: Index, marked: npt.NDArray[np.bool_], fits: Index) -> None:
    """Of the marked voxels of an event that coincide, leave only the first marked.

    Each event fills a hash table of its own, at most half full, in the order of its rows.

    Args:
        coords: (N, 3) voxel indices.
        offsets: (B + 1,) rows of the events.
        marked: in and out (N,).
        fits: out (B,), 1 where every voxel is within 2^20 of the event's first.
    """
    half = np.int64(1) << (_BITS - 1)
    for event in parallel_range(len(offsets) - 1):
        start, end = offsets[event], offsets[event + 1]
        bits = 3
        while (1 << bits) < 2 * (end - start):
            bits += 1
        table = np.full(1 << bits, -1, np.int64)
        last = (1 << bits) - 1
        fits[event] = 1
        for row in range(start, end):
            if not marked[row]:
                continue
            key = np.int64(0)
            for axis in range(3):
                relative = np.int64(coords[row, axis]) - np.int64(coords[start, axis]) + half
                if relative < 0 or relative >= 2 * half:
                    fits[event] = 0
                key = (key << _BITS) + (relative & (2 * half - 1))
            # Fibonacci hashing: the high bits of the product depend on all bits of the key.
            slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
            while table[slot] != -1 and table[slot] != key:
                slot = (slot + 1) & last
            if table[slot] == key:
                marked[row] = False
            table[slot] = key
