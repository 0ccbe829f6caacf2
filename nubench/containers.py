"""The narrow types that flow between the rooms: primaries and deposits (truth), events (response).

All are ragged: rows of all events stand in one array, and ``offsets[i]:offsets[i + 1]`` are the rows of
event ``i``. They are immutable values; every function that changes one returns a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


def ragged_rows(offsets: Int64, index: npt.NDArray[np.integer]) -> tuple[Int64, Int64]:
    """Find the rows of the events in ``index``.

    Args:
        offsets: (E + 1,) row boundaries.
        index: (K,) events to take, in any order, repeats allowed.

    Returns:
        The row boundaries (K + 1,) of the selection, and the rows (sum of lengths,) to gather.

    Example:
        >>> ragged_rows(np.array([0, 2, 2, 5]), np.array([2, 0]))
        (array([0, 3, 5]), array([2, 3, 4, 0, 1]))
    """
    lengths = offsets[index + 1] - offsets[index]
    selected = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.arange(selected[-1]) - np.repeat(selected[:-1] - offsets[index], lengths)
    return selected, rows


def join_offsets(parts: Sequence[Int64]) -> Int64:
    """Concatenate row boundaries of consecutive pieces into one (sum of E + 1,) array."""
    lengths = [np.diff(part) for part in parts]
    return (
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64) if parts else np.zeros(1, np.int64)
    )


def _check_offsets(offsets: Int64, rows: int) -> None:
    if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != rows:
        raise ValueError(f"offsets must run from 0 to the number of rows ({rows}); got shape {offsets.shape}")
    if np.any(np.diff(offsets) < 0):
        raise ValueError("offsets must not decrease")


@dataclass(frozen=True, slots=True)
class Primaries:
    """The generated particles, one an event.

    Attributes:
        event_id: (E,) int64, unique in a data set.
        pdg: (E,) int64, Particle Data Group code.
        kinetic_energy: (E,) float32, MeV.
        vertex: (E, 3) float32, cm.
        direction: (E, 3) float32, unit vectors.
    """

    event_id: Int64
    pdg: Int64
    kinetic_energy: Float32
    vertex: Float32
    direction: Float32

    def __len__(self) -> int:
        return len(self.event_id)

    def select(self, index: npt.NDArray[np.integer]) -> Primaries:
        """Return the primaries of the events in ``index`` (K,)."""
        return Primaries(
            self.event_id[index],
            self.pdg[index],
            self.kinetic_energy[index],
            self.vertex[index],
            self.direction[index],
        )

    @staticmethod
    def concatenate(parts: Sequence[Primaries]) -> Primaries:
        """Join pieces in order."""
        return Primaries(
            np.concatenate([p.event_id for p in parts]),
            np.concatenate([p.pdg for p in parts]),
            np.concatenate([p.kinetic_energy for p in parts]),
            np.concatenate([p.vertex for p in parts]),
            np.concatenate([p.direction for p in parts]),
        )


@dataclass(frozen=True, slots=True)
class Deposits:
    """Energy deposits of many events along straight segments; a point deposit has ``start == end``.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events.
        start, end: (N, 3) float32, cm.
        energy: (N,) float32, MeV.
        time: (N,) float32, microseconds after the primary was born.

    Raises:
        ValueError: when the offsets do not fit the rows.
    """

    offsets: Int64
    start: Float32
    end: Float32
    energy: Float32
    time: Float32

    def __post_init__(self) -> None:
        _check_offsets(self.offsets, len(self.energy))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, index: npt.NDArray[np.integer]) -> Deposits:
        """Return the deposits of the events in ``index`` (K,)."""
        offsets, rows = ragged_rows(self.offsets, index)
        return Deposits(offsets, self.start[rows], self.end[rows], self.energy[rows], self.time[rows])

    @staticmethod
    def concatenate(parts: Sequence[Deposits]) -> Deposits:
        """Join pieces in order."""
        return Deposits(
            join_offsets([p.offsets for p in parts]),
            np.concatenate([p.start for p in parts]),
            np.concatenate([p.end for p in parts]),
            np.concatenate([p.energy for p in parts]),
            np.concatenate([p.time for p in parts]),
        )


@dataclass(frozen=True, slots=True)
class Events:
    """Sparse voxel events without labels: all that a detector would hand over.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events.
        coords: (N, 3) int32 voxel indices; no voxel stands twice in an event.
        features: (N, 1) float32, raw feature of the detector (ADC counts, photoelectrons).

    Raises:
        ValueError: when shapes do not fit together.
    """

    offsets: Int64
    coords: Int32
    features: Float32

    def __post_init__(self) -> None:
        _check_offsets(self.offsets, len(self.coords))
        if self.coords.shape != (len(self.coords), 3) or self.features.shape[:1] != self.coords.shape[:1]:
            raise ValueError(
                f"coords must be (N, 3) and features (N, C); got {self.coords.shape} and {self.features.shape}"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def voxels_per_event(self) -> Int64:
        """(E,) number of voxels of each event."""
        return np.diff(self.offsets)

    def select(self, index: npt.NDArray[np.integer]) -> Events:
        """Return the events in ``index`` (K,), in that order."""
        offsets, rows = ragged_rows(self.offsets, index)
        return Events(offsets, self.coords[rows], self.features[rows])

    @staticmethod
    def concatenate(parts: Sequence[Events]) -> Events:
        """Join pieces in order."""
        return Events(
            join_offsets([p.offsets for p in parts]),
            np.concatenate([p.coords for p in parts]),
            np.concatenate([p.features for p in parts]),
        )


@dataclass(frozen=True, slots=True)
class Response:
    """What a simulated detector gives: the events, and what only a simulation knows of their voxels.

    Attributes:
        events: the E sparse voxel events.
        from_track: (N,) bool for each voxel, True where charged particles left energy in it and False where all
            of its light leaked in from its neighbours; None for a detector that does not tell them apart.

    Raises:
        ValueError: when there is not one entry for each voxel.
    """

    events: Events
    from_track: Bool | None = None

    def __post_init__(self) -> None:
        _check_from_track(self.events, self.from_track)

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True, slots=True)
class LabelledEvents:
    """Events with their class and their truth; only simulated source data and the evaluation have these.

    Attributes:
        events: the E sparse voxel events.
        labels: (E,) int64 index into the data set's classes.
        truth: the generated particle of each event.
        from_track: (N,) bool, see :class:`Response`.
    """

    events: Events
    labels: Int64
    truth: Primaries
    from_track: Bool | None = None

    def __post_init__(self) -> None:
        _check_from_track(self.events, self.from_track)
        if not len(self.events) == len(self.labels) == len(self.truth):
            raise ValueError(
                f"{len(self.events)} events, {len(self.labels)} labels and {len(self.truth)} truth rows do not match"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: npt.NDArray[np.integer]) -> LabelledEvents:
        """Return the events in ``index`` (K,), in that order."""
        from_track = self.from_track
        if from_track is not None:
            from_track = from_track[ragged_rows(self.events.offsets, index)[1]]
        return LabelledEvents(self.events.select(index), self.labels[index], self.truth.select(index), from_track)


def _check_from_track(events: Events, from_track: Bool | None) -> None:
    if from_track is not None and from_track.shape != (len(events.coords),):
        raise ValueError(f"from_track must be ({len(events.coords)},), one for each voxel; got {from_track.shape}")
