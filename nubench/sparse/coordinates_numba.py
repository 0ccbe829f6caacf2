"""Compiled coordinate maps: every event is worked out by itself, so events share the threads without talking.

Within an event a voxel is one integer, lexicographic in (x, y, z) relative to the event's corner. The functions
return False, and leave their outputs undefined, when that integer would not fit 63 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.generic]

_LIMIT = float(2**62)


@compiled
def order_children(
    coords: Array, offsets: Array, stride: int, children: Array, kernel_index: Array, new_parent: Array, fits: Array
) -> None:
    """Order the voxels of each event by the strided cell they fall in, then by their place in the cell.

    Args:
        coords: (N, 3) voxel indices.
        offsets: (B + 1,) rows of the events.
        stride: edge of a cell, in voxels.
        children: out (N,), rows in that order.
        kernel_index: out (N,), place in the cell, x slowest.
        new_parent: out (B,), number of cells of each event.
        fits: out (B,), 1 where the keys fit.
    """
    for event in parallel_range(len(offsets) - 1):
        start = offsets[event]
        rows = offsets[event + 1] - start
        low = np.empty(3, np.int64)
        extent = np.empty(3, np.int64)
        size = float(rows) * stride**3
        for axis in range(3):
            smallest = np.int64(coords[start, axis])
            largest = smallest
            for row in range(start, start + rows):
                value = np.int64(coords[row, axis])
                smallest = min(smallest, value)
                largest = max(largest, value)
            low[axis] = (smallest // stride) * stride
            extent[axis] = (largest - low[axis]) // stride + 1
            size *= float(extent[axis])
        fits[event] = size < _LIMIT
        if size >= _LIMIT:
            continue
        keys = np.empty(rows, np.int64)
        step = np.uint64(stride)
        for row in range(rows):
            x = np.uint64(coords[start + row, 0] - low[0])
            y = np.uint64(coords[start + row, 1] - low[1])
            z = np.uint64(coords[start + row, 2] - low[2])
            cell = (np.int64(x // step) * extent[1] + np.int64(y // step)) * extent[2] + np.int64(z // step)
            place = (np.int64(x % step) * stride + np.int64(y % step)) * stride + np.int64(z % step)
            keys[row] = (cell * stride**3 + place) * rows + row
        keys.sort()
        places = np.uint64(stride**3)
        divisor = np.uint64(rows)
        previous = np.uint64(2**63)
        cells = 0
        for position in range(rows):
            key = np.uint64(keys[position])
            voxel = key // divisor
            children[start + position] = start + np.int64(key - voxel * divisor)
            cell_key = voxel // places
            kernel_index[start + position] = np.int64(voxel - cell_key * places)
            if cell_key != previous:
                cells += 1
                previous = cell_key
        new_parent[event] = cells


@compiled
def fill_parents(
    coords: Array,
    offsets: Array,
    stride: int,
    children: Array,
    parent_offsets: Array,
    parent_coords: Array,
    pointers: Array,
    parent: Array,
) -> None:
    """Write the cells found by :func:`order_children`, in the order of their children.

    Args:
        coords, offsets, stride, children: as there.
        parent_offsets: (B + 1,) rows of the events among the M cells.
        parent_coords: out (M, 3), cell indices.
        pointers: out (M + 1,), first child of each cell, the last entry not written.
        parent: out (N,), cell of each child, in the order of ``children``.
    """
    for event in parallel_range(len(offsets) - 1):
        row = parent_offsets[event] - 1
        x = y = z = np.int64(0)
        for position in range(offsets[event], offsets[event + 1]):
            child = children[position]
            new_x = np.int64(coords[child, 0]) // stride
            new_y = np.int64(coords[child, 1]) // stride
            new_z = np.int64(coords[child, 2]) // stride
            if position == offsets[event] or new_x != x or new_y != y or new_z != z:
                x, y, z = new_x, new_y, new_z
                row += 1
                parent_coords[row, 0] = x
                parent_coords[row, 1] = y
                parent_coords[row, 2] = z
                pointers[row] = position
            parent[position] = row


@compiled
def find_neighbours(
    coords: Array,
    offsets: Array,
    kernel: int,
    fill: bool,
    pointers: Array,
    rows: Array,
    kernel_index: Array,
    fits: Array,
) -> None:
    """Count, or write, the neighbours of every voxel within a cube of edge ``kernel``, itself included.

    The voxels are sorted, so for each of the kernel's planes in x the voxels with a y in reach are one range, whose
    ends move forward as the voxel does: two pointers a plane walk the event once, and no search is needed.

    Args:
        coords: (N, 3) voxel indices, sorted within each event.
        offsets: (B + 1,) rows of the events.
        kernel: odd edge of the cube.
        fill: False to write the counts of row i to ``pointers[i + 1]``; True to write ``rows`` and ``kernel_index``.
        pointers: (N + 1,), the counts' running sum when ``fill``.
        rows: out (E,), the neighbours.
        kernel_index: out (E,), the neighbour's place in the kernel, x slowest.
        fits: out (B,), 1 where the keys fit.
    """
    radius = kernel // 2
    for event in parallel_range(len(offsets) - 1):
        start = offsets[event]
        count = offsets[event + 1] - start
        low_y = np.int64(coords[start, 1])
        high_y = low_y
        for row in range(start, start + count):
            low_y = min(low_y, np.int64(coords[row, 1]))
            high_y = max(high_y, np.int64(coords[row, 1]))
        # Columns along z are numbered; the margin keeps the end of one plane from touching the next.
        extent = high_y - low_y + 1 + radius
        low_x = np.int64(coords[start, 0])
        size = float(coords[start + count - 1, 0] - low_x + 1) * float(extent)
        fits[event] = size < _LIMIT
        if size >= _LIMIT:
            continue
        columns = np.empty(count + 1, np.int64)
        y = np.empty(count, np.int32)
        z = np.empty(count, np.int32)
        for row in range(count):
            columns[row] = (coords[start + row, 0] - low_x) * extent + coords[start + row, 1] - low_y
            y[row] = coords[start + row, 1]
            z[row] = coords[start + row, 2]
        columns[count] = np.int64(2**63 - 1)
        begins = np.zeros(kernel, np.int64)
        ends = np.zeros(kernel, np.int64)
        for row in range(count):
            edge = pointers[start + row]
            found = 0
            for plane in range(kernel):
                first = columns[row] + (plane - radius) * extent - radius
                begin = begins[plane]
                while columns[begin] < first:
                    begin += 1
                begins[plane] = begin
                end = max(begin, ends[plane])
                while columns[end] < first + kernel:
                    end += 1
                ends[plane] = end
                if fill:
                    for near in range(begin, end):
                        step = z[near] - z[row] + radius
                        if 0 <= step < kernel:
                            rows[edge] = start + near
                            kernel_index[edge] = (plane * kernel + y[near] - y[row] + radius) * kernel + step
                            edge += 1
                else:
                    for near in range(begin, end):
                        found += abs(z[near] - z[row]) <= radius
            if not fill:
                pointers[start + row + 1] = found
