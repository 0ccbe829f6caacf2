"""A batch of sparse voxel events as torch tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nubench.containers import Events, ragged_rows


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """Voxels of ``size`` events, event after event; immutable, all tensors on one device.

    Attributes:
        coords: (N, 3) int32 voxel indices, any sign. No voxel stands twice in an event.
        event: (N,) int64 event of each voxel, 0 to ``size - 1``, never decreasing.
        features: (N, C) floating-point normalised features.
        size: number of events B; each has at least one voxel.
        offsets: (B + 1,) int64; rows ``offsets[i]:offsets[i + 1]`` are the voxels of event i; follows from ``event``.

    Raises:
        ValueError: when shapes do not fit together, the batch or one of its events is empty, or the events are
            not in order.
    """

    coords: Tensor
    event: Tensor
    features: Tensor
    size: int
    offsets: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = len(self.coords)
        if self.coords.shape != (rows, 3) or self.event.shape != (rows,) or self.features.shape[:1] != (rows,):
            raise ValueError(
                "coords must be (N, 3), event (N,) and features (N, C); got "
                f"{tuple(self.coords.shape)}, {tuple(self.event.shape)} and {tuple(self.features.shape)}"
            )
        if self.size < 1 or rows == 0:
            raise ValueError(f"a batch needs at least one event with one voxel; got {self.size} events, {rows} voxels")
        lengths = torch.bincount(self.event, minlength=self.size)
        if len(lengths) > self.size or bool((self.event[1:] < self.event[:-1]).any()):
            raise ValueError(f"event must count from 0 to size - 1 = {self.size - 1} without decreasing")
        if int(lengths.min()) == 0:
            empty = int((lengths == 0).nonzero()[0, 0])
            raise ValueError(f"every event needs at least one voxel; event {empty} of the batch is empty")
        object.__setattr__(self, "offsets", torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.features.device

    def to(self, device: torch.device | str) -> SparseBatch:
        """Copy the batch to a device; the batch itself when it is there already."""
        if self.device == torch.device(device):
            return self
        # What was checked stays checked; doing it again on a GPU would wait for it three times.
        moved = copy.copy(self)
        for name in ("coords", "event", "features", "offsets"):
            object.__setattr__(moved, name, getattr(self, name).to(device, non_blocking=True))
        return moved

    @staticmethod
    def from_events(
        events: Events, index: npt.NDArray[np.integer] | None = None, offset: float = 0.0, scale: float = 1.0
    ) -> SparseBatch:
        """Take events out of a data set, in the order of ``index``, with features ``(raw - offset) / scale``.

        Args:
            events: raw events.
            index: (B,) events to take, repeats allowed; all when None.
            offset, scale: normalisation of the features, in units of the raw feature.

        Raises:
            ValueError: when no event is taken, one has no voxels, or the scale is not positive.
        """
        if not scale > 0:
            raise ValueError(f"scale must be positive; got {scale!r}")
        if index is None:
            offsets, coords, raw = events.offsets, events.coords, events.features
        else:
            offsets, rows = ragged_rows(events.offsets, index)
            coords, raw = events.coords[rows], events.features[rows]
        size = len(offsets) - 1
        features = np.subtract(raw, np.float32(offset), dtype=np.float32)
        features *= np.float32(1 / scale)
        return SparseBatch(
            torch.tensor(coords) if index is None else torch.from_numpy(coords),
            torch.from_numpy(np.repeat(np.arange(size), np.diff(offsets))),
            torch.from_numpy(features),
            size,
        )


def concatenate(first: SparseBatch, second: SparseBatch) -> SparseBatch:
    """Put two batches behind one another: events 0 to ``first.size - 1`` are the first's, then the second's."""
    return SparseBatch(
        torch.cat([first.coords, second.coords]),
        torch.cat([first.event, second.event + first.size]),
        torch.cat([first.features, second.features]),
        first.size + second.size,
    )
