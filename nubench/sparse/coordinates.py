"""Coordinate maps of sparse events: which voxels a strided cell holds and which voxels are neighbours.

The maps depend on coordinates only. They are built once a batch and level and shared by all blocks of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nubench.sparse import coordinates_numba as kernels
from nubench.sparse.batch import SparseBatch
from nubench.sparse.compilation import call, kernels_usable

_LIMIT = 2**62
_CHUNK = 256  # entries that one program of a GPU adds up
LARGEST_KERNEL = 31  # the place in the kernel is stored in 16 bits


Corners = tuple[list[int], list[int]]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Voxel coordinates of a batch at one level, sorted by (event, x, y, z) at every level but the first.

    Attributes:
        coords: (N, 3) int32 indices in units of the level's voxels.
        offsets: (B + 1,) int64 rows of the events.
        known_corners: lowest and highest index along each axis, where they are known already.
    """

    coords: Tensor
    offsets: Tensor
    known_corners: Corners | None = None

    @property
    def corners(self) -> Corners:
        """Lowest and highest index along each axis. Where they are not known, this waits for a GPU."""
        if self.known_corners is not None:
            return self.known_corners
        low, high = torch.stack([self.coords.amin(0), self.coords.amax(0)]).tolist()
        return low, high

    @cached_property
    def event(self) -> Tensor:
        """(N,) int64 event of each voxel."""
        lengths = self.offsets.diff()
        return torch.repeat_interleave(lengths, output_size=len(self.coords))


@dataclass(frozen=True, eq=False)
class StrideMap:
    """Which of N fine voxels each of M coarse voxels holds. "Child j" is entry j of ``children``.

    Attributes:
        stride: edge of a coarse voxel in fine voxels, K = stride^3.
        children: (N,) int64 rows of the fine voxels, sorted by parent, then by place in the parent.
        kernel_index: (N,) int16 place of each child in its parent, x slowest, 0 to K - 1.
        parent: (N,) int64 coarse row of each child.
        pointers: (M + 1,) int64; children ``pointers[i]:pointers[i + 1]`` belong to coarse row i.
    """

    stride: int
    children: Tensor
    kernel_index: Tensor
    parent: Tensor
    pointers: Tensor

    @cached_property
    def by_place(self) -> tuple[Tensor, Tensor, list[int]]:
        """Children grouped by place: their order (N,), its inverse (N,) and the K group sizes."""
        order = torch.argsort(self.kernel_index, stable=True)
        inverse = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        sizes = torch.bincount(self.kernel_index.long(), minlength=self.stride**3)
        return order, inverse, sizes.tolist()

    @cached_property
    def slots(self) -> Tensor:
        """(N,) int64 where each fine voxel stands among the M K places of all coarse voxels."""
        slots = self.parent * self.stride**3 + self.kernel_index
        return torch.empty_like(slots).index_copy_(0, self.children, slots)


@dataclass(frozen=True, eq=False)
class EdgesByPlace:
    """Entries of a neighbour map grouped by place, each group cut into chunks: a fixed order to add them up in.

    Attributes:
        rows, out_rows: (E,) int32 neighbouring row and row of each entry, sorted by place, then by row.
        pointers: (K + 1,) int64; entries ``pointers[k]:pointers[k + 1]`` stand at place k.
        chunk: most entries of a chunk.
        chunk_place: (T,) int64 place of each chunk. T follows from E and K alone, so that no number has to come from
            the device; chunks too many are empty.
        chunk_pointers: (K + 1,) int64; chunks ``chunk_pointers[k]:chunk_pointers[k + 1]`` hold place k.
    """

    rows: Tensor
    out_rows: Tensor
    pointers: Tensor
    chunk: int
    chunk_place: Tensor
    chunk_pointers: Tensor


@dataclass(frozen=True, eq=False)
class NeighbourMap:
    """Compressed rows of neighbours within a cube; entries of a row are sorted by place.

    Attributes:
        kernel: odd edge of the cube, K = kernel^3.
        pointers: (N + 1,) int64; entries ``pointers[i]:pointers[i + 1]`` belong to row i.
        rows: (E,) int32 neighbouring rows.
        kernel_index: (E,) int16 place of the neighbour, x slowest; K - 1 - place is the way back.
    """

    kernel: int
    pointers: Tensor
    rows: Tensor
    kernel_index: Tensor

    @cached_property
    def by_place(self) -> EdgesByPlace:
        """The entries grouped by place."""
        device, edges, places = self.rows.device, len(self.rows), self.kernel**3
        order = torch.argsort(self.kernel_index, stable=True)
        numbers = torch.arange(places + 1, dtype=self.kernel_index.dtype, device=device)
        pointers = torch.searchsorted(self.kernel_index[order], numbers)
        every_row = torch.arange(len(self.pointers) - 1, dtype=self.rows.dtype, device=device)
        out_rows = torch.repeat_interleave(every_row, self.pointers.diff(), output_size=edges)
        chunks = torch.div(pointers.diff() + _CHUNK - 1, _CHUNK, rounding_mode="floor")
        chunk_pointers = torch.cat([chunks.new_zeros(1), chunks.cumsum(0)])
        every_chunk = torch.arange(edges // _CHUNK + places, device=device)
        chunk_place = torch.searchsorted(chunk_pointers, every_chunk, right=True).sub_(1).clamp_(max=places - 1)
        return EdgesByPlace(self.rows[order], out_rows[order], pointers, _CHUNK, chunk_place, chunk_pointers)


def stride_map(voxels: Voxels, stride: int) -> tuple[Voxels, StrideMap]:
    """Coarsen voxels by an integer factor (floor division, also for negative indices).

    Args:
        voxels: N fine voxels in any order within their events.
        stride: edge of a coarse voxel.

    Returns:
        The M occupied coarse voxels, sorted by (event, x, y, z), and the map between the two.

    Raises:
        ValueError: when a voxel stands twice in its event, or the coordinates are too far apart for 63-bit keys.
    """
    if stride < 1 or stride > LARGEST_KERNEL:
        raise ValueError(f"stride must be from 1 to {LARGEST_KERNEL}; got {stride}")
    build = _stride_map_compiled if kernels_usable(voxels.coords) else _stride_map_torch
    return build(voxels, stride)


def neighbour_map(voxels: Voxels, kernel: int) -> NeighbourMap:
    """Find all pairs of voxels of one event within a cube of odd edge ``kernel``.

    Args:
        voxels: N voxels sorted by (event, x, y, z), none twice.
        kernel: edge of the cube.

    Raises:
        ValueError: when the kernel is even or too large, or the coordinates too far apart for 63-bit keys.
    """
    if kernel < 1 or kernel % 2 == 0 or kernel > LARGEST_KERNEL:
        raise ValueError(f"kernel must be odd and at most {LARGEST_KERNEL}; got {kernel}")
    build = _neighbour_map_compiled if kernels_usable(voxels.coords) else _neighbour_map_torch
    return build(voxels, kernel)


def first_of_each_voxel(voxels: Voxels) -> Tensor:
    """Find, of the rows with the same event and voxel, the first: (M,) rows, increasing.

    Args:
        voxels: N voxels in any order within their events, here alone perhaps more than once.

    Raises:
        ValueError: when the coordinates are too far apart for 63-bit keys.
    """
    keys, _ = _keys(voxels, voxels.coords.long(), voxels.corners, 0)
    ordered, rows = torch.sort(keys, stable=True)
    is_first = torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return rows[is_first].sort().values


def _too_far_apart(voxels: Voxels) -> ValueError:
    low, high = voxels.corners
    return ValueError(f"voxel coordinates from {low} to {high} are too far apart for 63-bit keys")


def _repeated(voxels: Voxels, second: Tensor) -> ValueError:
    """The error for voxels that stand twice, given the row of one."""
    event, voxel = int(voxels.event[second]), tuple(voxels.coords[second].tolist())
    return ValueError(f"no voxel may stand twice in an event; voxel {voxel} does in event {event} of the batch")


def _stride_map_compiled(voxels: Voxels, stride: int) -> tuple[Voxels, StrideMap]:
    coords, offsets = voxels.coords, voxels.offsets
    size, rows = len(offsets) - 1, len(coords)
    children = torch.empty(rows, dtype=torch.int64)
    kernel_index = torch.empty(rows, dtype=torch.int16)
    parent_offsets = torch.zeros(size + 1, dtype=torch.int64)
    fits = torch.empty(size, dtype=torch.uint8)
    call(kernels.order_children, coords, offsets, stride, children, kernel_index, parent_offsets[1:], fits)
    if not bool(fits.all()):
        raise _too_far_apart(voxels)
    parent_offsets.cumsum_(0)
    cells = int(parent_offsets[-1])
    parent_coords = torch.empty((cells, 3), dtype=coords.dtype)
    pointers = torch.empty(cells + 1, dtype=torch.int64)
    pointers[cells] = rows
    parent = torch.empty(rows, dtype=torch.int64)
    call(kernels.fill_parents, coords, offsets, stride, children, parent_offsets, parent_coords, pointers, parent)
    repeated = (parent[1:] == parent[:-1]) & (kernel_index[1:] == kernel_index[:-1])
    if bool(repeated.any()):
        raise _repeated(voxels, children[1:][repeated][0])
    return Voxels(parent_coords, parent_offsets), StrideMap(stride, children, kernel_index, parent, pointers)


def _neighbour_map_compiled(voxels: Voxels, kernel: int) -> NeighbourMap:
    coords, offsets = voxels.coords, voxels.offsets
    pointers = torch.zeros(len(coords) + 1, dtype=torch.int64)
    fits = torch.empty(len(offsets) - 1, dtype=torch.uint8)
    rows, kernel_index = torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=torch.int16)
    call(kernels.find_neighbours, coords, offsets, kernel, False, pointers, rows, kernel_index, fits)
    if not bool(fits.all()):
        raise _too_far_apart(voxels)
    pointers.cumsum_(0)
    edges = int(pointers[-1])
    rows, kernel_index = torch.empty(edges, dtype=torch.int32), torch.empty(edges, dtype=torch.int16)
    call(kernels.find_neighbours, coords, offsets, kernel, True, pointers, rows, kernel_index, fits)
    return NeighbourMap(kernel, pointers, rows, kernel_index)


def _keys(voxels: Voxels, coords: Tensor, corners: Corners, margin: int) -> tuple[Tensor, list[int]]:
    """Number the voxels of a batch: (N,) int64 keys, sorted as (event, x, y, z), and the three extents."""
    extents = [high - low + 1 + margin for low, high in zip(*corners, strict=True)]
    if (len(voxels.offsets) - 1) * extents[0] * extents[1] * extents[2] >= _LIMIT:
        raise _too_far_apart(voxels)
    keys = voxels.event
    for axis, extent in enumerate(extents):
        keys = keys * extent + (coords[:, axis] - corners[0][axis])
    return keys, extents


def _stride_map_torch(voxels: Voxels, stride: int) -> tuple[Voxels, StrideMap]:
    coords = voxels.coords.long()
    cells = torch.div(coords, stride, rounding_mode="floor")
    place = coords - cells * stride
    place = (place[:, 0] * stride + place[:, 1]) * stride + place[:, 2]
    low, high = voxels.corners
    corners = [index // stride for index in low], [index // stride for index in high]
    keys, extents = _keys(voxels, cells, corners, 0)
    if (len(voxels.offsets) - 1) * extents[0] * extents[1] * extents[2] * stride**3 >= _LIMIT:
        raise _too_far_apart(voxels)
    ordered, children = torch.sort(keys * stride**3 + place, stable=True)
    keys, repeated = keys[children], ordered[1:] == ordered[:-1]
    parent = torch.cat([keys.new_zeros(1), (keys[1:] != keys[:-1]).cumsum(0)])
    # One message from the device, since each waits for all that it was told to do.
    last_parent, any_repeated = torch.stack([parent[-1], repeated.any().long()]).tolist()
    if any_repeated:
        raise _repeated(voxels, children[1:][repeated][0])
    pointers = torch.searchsorted(parent, torch.arange(last_parent + 2, device=parent.device))
    first = children[pointers[:-1]]
    events = torch.arange(len(voxels.offsets), device=first.device)
    return (
        Voxels(cells[first].to(voxels.coords.dtype), torch.searchsorted(voxels.event[first], events), corners),
        StrideMap(stride, children, place[children].to(torch.int16), parent, pointers),
    )


def _neighbour_map_torch(voxels: Voxels, kernel: int) -> NeighbourMap:
    radius, device = kernel // 2, voxels.coords.device
    keys, extents = _keys(voxels, voxels.coords.long(), voxels.corners, radius)
    steps = torch.arange(-radius, radius + 1, device=device)
    shift = ((steps[:, None] * extents[1] + steps) * extents[2]).reshape(-1) - radius
    first = (keys[:, None] + shift).reshape(-1)
    begin = torch.searchsorted(keys, first)
    lengths = torch.searchsorted(keys, first + kernel) - begin
    edges = int(lengths.sum())
    line = torch.repeat_interleave(lengths, output_size=edges)
    within = torch.arange(edges, device=device) - (lengths.cumsum(0) - lengths)[line]
    rows = begin[line] + within
    kernel_index = line % kernel**2 * kernel + keys[rows] - first[line]
    per_row = lengths.view(-1, kernel**2).sum(1)
    pointers = torch.cat([per_row.new_zeros(1), per_row.cumsum(0)])
    return NeighbourMap(kernel, pointers, rows.to(torch.int32), kernel_index.to(torch.int16))


@dataclass(frozen=True, eq=False)
class Pyramid:
    """All coordinate maps of a batch for a backbone: one level a strided convolution.

    Attributes:
        size: number of events B.
        levels: the voxels after each strided convolution.
        strides: the map into each level.
        neighbours: the neighbour map of each level.
    """

    size: int
    levels: Sequence[Voxels]
    strides: Sequence[StrideMap]
    neighbours: Sequence[NeighbourMap]


def build_pyramid(batch: SparseBatch, strides: Sequence[int], kernel: int) -> Pyramid:
    """Build the maps of every level.

    Args:
        batch: the events.
        strides: stride of the convolution into each level, finest first.
        kernel: odd edge of the depth-wise kernels at every level.

    Raises:
        ValueError: as :func:`stride_map` and :func:`neighbour_map` do.
    """
    voxels = Voxels(batch.coords, batch.offsets)
    levels, stride_maps, neighbours = [], [], []
    for stride in strides:
        voxels, into = stride_map(voxels, stride)
        levels.append(voxels)
        stride_maps.append(into)
        neighbours.append(neighbour_map(voxels, kernel))
    return Pyramid(batch.size, levels, stride_maps, neighbours)
