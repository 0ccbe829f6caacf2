"""Files of voxel events: a stable, documented layout (docs/data-format.md)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Events, Int64, LabelledEvents, join_offsets
from nubench.errors import DataError, UsageError
from nubench.events import primaries_tables
from nubench.events.hdf5 import (
    GrowingTables,
    Layout,
    checked_offsets,
    checked_tables,
    integer_attribute,
    json_attribute,
    opened,
    ranges,
    read_rows,
)
from nubench.storage import write_atomically

SCHEMA_VERSION: Final = 1

_VOXELS: Final[Layout] = {"coords": (np.int32, 3), "features": (np.float32, 1)}
_FROM_TRACK: Final[Layout] = {"from_track": (np.uint8, 0)}
_EVENTS: Final[Layout] = {"labels": (np.int64, 0), **primaries_tables.PRIMARIES}


@dataclass(frozen=True)
class EventAttributes:
    """What a file of events says about itself.

    Attributes:
        detector: name of the response.
        classes: class names in the order of the labels.
        voxel_size_cm: edge of a voxel.
        shift, point: where the detector stood.
        parameters: every detector parameter.
        provenance: what made the file: generator, data mode, versions, seeds, dropped events.
    """

    detector: str
    classes: tuple[str, ...]
    voxel_size_cm: float
    shift: str
    point: str
    parameters: dict[str, float | str]
    provenance: dict[str, Any]


def write_events(path: Path, chunks: Iterable[LabelledEvents], attributes: EventAttributes) -> tuple[int, str]:
    """Write events in order, as they come; memory holds one chunk.

    Returns:
        The number of events written, and the SHA-256 of their content (voxels, features, labels), which depends
        neither on the chunks nor on how HDF5 stores them. ``from_track`` does not count: no method is given it.

    Raises:
        UsageError: when some chunks with voxels have ``from_track`` and some have not.
        NubenchError: when the disk is full or cannot be written; no file is left.
    """
    content = _Content()
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with h5py.File(partial, "w") as file:
            offsets = _write_tables(file, content.counted(chunks))
            file["offsets"] = offsets
            _write_attributes(file, attributes)
            count = len(offsets) - 1

    write_atomically(path, write)
    return count, content.digest()


def read_attributes(path: Path) -> EventAttributes:
    """Read what a file of events says about itself.

    Raises:
        DataError: when the file is missing, not HDF5, not of this layout or of a newer schema.
    """
    with opened(path) as file:
        return _read_attributes(file)


def read_events(path: Path) -> LabelledEvents:
    """Read a file of events whole.

    Raises:
        DataError: when the file is missing, corrupt, foreign, of a newer schema, or its content is impossible
            (offsets that do not fit, labels outside the classes, features that are not finite).
    """
    with opened(path) as file:
        content = _EventTables(file)
        return content.read(0, len(content))


def stream_events(path: Path, events_a_chunk: int) -> Iterator[LabelledEvents]:
    """Read a file of events in order, ``events_a_chunk`` events at a time; memory holds one chunk.

    Raises:
        UsageError: when ``events_a_chunk`` is not positive.
        DataError: as :func:`read_events`, before the chunk in which the fault lies.
    """
    with opened(path) as file:
        content = _EventTables(file)
        for first, last in ranges(len(content), events_a_chunk):
            yield content.read(first, last)


class _Content:
    """What the digest of events is made of: results name it, so it must never change."""

    def __init__(self) -> None:
        self._digests = {name: hashlib.sha256() for name in ("lengths", "coords", "features", "labels")}

    def counted(self, chunks: Iterable[LabelledEvents]) -> Iterator[LabelledEvents]:
        """Hand the chunks on, each after it is in the digest."""
        for chunk in chunks:
            columns = {
                "lengths": chunk.events.voxels_per_event,
                "coords": chunk.events.coords,
                "features": chunk.events.features,
                "labels": chunk.labels,
            }
            for name, column in columns.items():
                self._digests[name].update(np.ascontiguousarray(column).data)
            yield chunk

    def digest(self) -> str:
        """SHA-256 of the chunks up to now."""
        return hashlib.sha256(b"".join(digest.digest() for digest in self._digests.values())).hexdigest()


def _write_tables(file: h5py.File, chunks: Iterable[LabelledEvents]) -> Int64:
    """Append the chunks to new tables; return the row boundaries of all events."""
    tables = GrowingTables(file, {**_VOXELS, **_EVENTS})
    parts = []
    for chunk in chunks:
        events = chunk.events
        columns: dict[str, Any] = {"coords": events.coords, "features": events.features, "labels": chunk.labels}
        if chunk.from_track is not None:
            if "from_track" not in file:
                tables.create(_FROM_TRACK)
            columns["from_track"] = chunk.from_track.astype(np.uint8)
        tables.append(columns | primaries_tables.to_columns(chunk.truth))
        parts.append(events.offsets)
    offsets = join_offsets(parts)
    if "from_track" in file and len(file["from_track"]) != offsets[-1]:
        raise UsageError("from_track must be in every chunk of events or in none")
    return offsets


class _EventTables:
    """The events of an open file."""

    def __init__(self, file: h5py.File) -> None:
        self._path = file.filename
        self._classes = len(_read_attributes(file).classes)
        self._offsets = checked_offsets(file, "offsets")
        voxels = {**_VOXELS, **(_FROM_TRACK if "from_track" in file else {})}
        self._voxels = checked_tables(file, voxels, rows=int(self._offsets[-1]))
        self._events = checked_tables(file, _EVENTS, rows=len(self))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, first: int, last: int) -> LabelledEvents:
        """Read the events from ``first`` to before ``last``."""
        offsets = self._offsets[first : last + 1]
        voxels = read_rows(self._voxels, slice(int(offsets[0]), int(offsets[-1])))
        events = read_rows(self._events, slice(first, last))
        features, labels, from_track = voxels["features"], events["labels"], voxels.get("from_track")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._classes:
            found = f"{labels.min()} to {labels.max()}"
            raise DataError(f"{self._path}: labels must be 0 to {self._classes - 1}; found {found}")
        wrong = int(np.count_nonzero(~np.isfinite(features)))
        if wrong:
            raise DataError(f"{self._path}: {wrong} features are not finite numbers")
        if from_track is not None and from_track.max(initial=0) > 1:
            raise DataError(f"{self._path}: from_track must be 0 or 1; found {from_track.max()}")
        return LabelledEvents(
            Events(offsets - offsets[0], voxels["coords"], features),
            labels,
            primaries_tables.from_columns(events),
            None if from_track is None else from_track.view(np.bool_),
        )


def _write_attributes(file: h5py.File, attributes: EventAttributes) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["detector"] = attributes.detector
    file.attrs["classes"] = list(attributes.classes)
    file.attrs["voxel_size_cm"] = attributes.voxel_size_cm
    file.attrs["shift"] = attributes.shift
    file.attrs["point"] = attributes.point
    file.attrs["parameters"] = json.dumps(attributes.parameters, sort_keys=True)
    file.attrs["provenance"] = json.dumps(attributes.provenance, sort_keys=True)


def _read_attributes(file: h5py.File) -> EventAttributes:
    path, version = file.filename, integer_attribute(file, "schema_version")
    if version is None:
        raise DataError(f"{path} is not a nubench file of events: the attribute schema_version is missing")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}; this nubench reads up to {SCHEMA_VERSION}: upgrade nubench"
        )
    try:
        attributes = EventAttributes(
            detector=str(file.attrs["detector"]),
            classes=tuple(str(name) for name in file.attrs["classes"]),
            voxel_size_cm=float(file.attrs["voxel_size_cm"]),
            shift=str(file.attrs["shift"]),
            point=str(file.attrs["point"]),
            parameters=json_attribute(file, "parameters"),
            provenance=json_attribute(file, "provenance"),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a nubench file of events: attribute missing or unreadable ({error})") from error
    if not (math.isfinite(attributes.voxel_size_cm) and attributes.voxel_size_cm > 0):
        raise DataError(f"{path}: voxel_size_cm must be a positive number; found {attributes.voxel_size_cm}")
    return attributes
