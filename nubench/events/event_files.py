"""Files of voxel events: a stable, documented layout (docs/data-format.md).

The labels of the events and their truth stand in the same file, or in one of their own, see
:mod:`nubench.events.label_files`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Events, Int64, LabelledEvents, join_offsets
from nubench.errors import DataError
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
    strings_attribute,
)
from nubench.events.label_files import FROM_TRACK, LABELS, LabelWriter, checked_labels
from nubench.storage.files import write_atomically
from nubench.storage.large_arrays import count_not_finite

#: Version 1 holds labels and truth, version 2 does not.
SCHEMA_VERSION: Final = 2

_VOXELS: Final[Layout] = {"coords": (np.int32, 3), "features": (np.float32, 1)}


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


def write_events(
    path: Path, chunks: Iterable[LabelledEvents], attributes: EventAttributes, labels_path: Path | None = None
) -> tuple[int, str]:
    """Write events in order, as they come; memory holds one chunk.

    Args:
        path: of the file of events.
        chunks: consecutive events.
        attributes: what the file says about itself.
        labels_path: of a file of their own for labels and truth; without it they stand beside the voxels.

    Returns:
        The number of events written, and the SHA-256 of their content (voxels, features, labels), which depends
        neither on the chunks, nor on how HDF5 stores them, nor on where the labels stand. ``from_track`` does not
        count: no method is given it.

    Raises:
        UsageError: when some chunks with voxels have ``from_track`` and some have not.
        NubenchError: when the disk is full or cannot be written; no file of events is left.
    """
    content = _Content()
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with h5py.File(partial, "w") as file:
            if labels_path is None:
                offsets = _write_tables(file, LabelWriter(file), content.counted(chunks))
            else:
                offsets = _write_apart(file, labels_path, content.counted(chunks), attributes, content)
            file["offsets"] = offsets
            _write_attributes(file, attributes, labelled=labels_path is None)
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
    """Read a file of events with their labels whole; of many events the voxels then lie on disk.

    Tables of more than :data:`nubench.storage.large_arrays.LARGE` bytes are unpacked into files without a name beside
    ``path`` and mapped.

    Raises:
        DataError: when the file is missing, corrupt, foreign, of a newer schema, holds no labels, or its content is
            impossible (offsets that do not fit, labels outside the classes, features that are not finite).
    """
    with opened(path) as file:
        content = _LabelledTables(file, file)
        return content.read(0, len(content))


def read_voxels(path: Path) -> Events:
    """Read the events of a file whole, without labels and truth, which the file may or may not hold.

    Raises:
        DataError: as :func:`read_events`, as far as it is read.
    """
    with opened(path) as file:
        content = _EventTables(file)
        return content.voxels(0, len(content))


def check_voxels(path: Path, events_a_chunk: int) -> None:
    """Read the events of a file as :func:`read_voxels` does, ``events_a_chunk`` at a time, and keep none.

    Raises:
        DataError: as :func:`read_voxels`.
    """
    with opened(path) as file:
        content = _EventTables(file)
        for first, last in ranges(len(content), events_a_chunk):
            content.voxels(first, last)


def holds_labels(path: Path) -> bool:
    """Tell whether labels and truth stand in the file of events itself.

    Raises:
        DataError: when the file is missing or not HDF5.
    """
    with opened(path) as file:
        return "labels" in file


def count_events(path: Path) -> tuple[int, int]:
    """Count the events of a file, and their voxels, without reading them.

    Raises:
        DataError: as :func:`read_attributes`, and when a table is missing.
    """
    with opened(path) as file:
        _read_attributes(file)
        offsets = checked_offsets(file, "offsets")
        return len(offsets) - 1, int(offsets[-1])


def stream_events(path: Path, events_a_chunk: int, labels_path: Path | None = None) -> Iterator[LabelledEvents]:
    """Read a file of events in order, ``events_a_chunk`` events at a time; memory holds one chunk.

    Args:
        path: of the events.
        events_a_chunk: their number in each piece.
        labels_path: of the file with their labels and truth, where these stand apart.

    Raises:
        UsageError: when ``events_a_chunk`` is not positive.
        DataError: as :func:`read_events`, before the chunk in which the fault lies.
    """
    with ExitStack() as stack:
        file = stack.enter_context(opened(path))
        content = _LabelledTables(file, file if labels_path is None else stack.enter_context(opened(labels_path)))
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


def _write_tables(file: h5py.File, labels: LabelWriter, chunks: Iterable[LabelledEvents]) -> Int64:
    """Append the chunks to new tables; return the row boundaries of all events."""
    tables = GrowingTables(file, _VOXELS)
    parts = []
    for chunk in chunks:
        tables.append({"coords": chunk.events.coords, "features": chunk.events.features})
        labels.append(chunk)
        parts.append(chunk.events.offsets)
    offsets = join_offsets(parts)
    labels.check(int(offsets[-1]))
    return offsets


def _write_apart(
    file: h5py.File, path: Path, chunks: Iterable[LabelledEvents], attributes: EventAttributes, content: _Content
) -> Int64:
    """The same, with the labels in a file of their own."""
    found: list[Int64] = []

    def write(partial: Path) -> None:
        with h5py.File(partial, "w") as apart:
            labels = LabelWriter(apart)
            found.append(_write_tables(file, labels, chunks))
            labels.write_attributes(attributes.classes, content.digest())

    write_atomically(path, write)
    return found[0]


class _EventTables:
    """The voxels of an open file of events."""

    def __init__(self, file: h5py.File) -> None:
        self._path = file.filename
        self._classes = len(_read_attributes(file).classes)
        self._offsets = checked_offsets(file, "offsets")
        self._voxels = checked_tables(file, _VOXELS, rows=int(self._offsets[-1]))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def rows(self, first: int, last: int) -> slice:
        """The rows of the voxels of the events from ``first`` to before ``last``."""
        return slice(int(self._offsets[first]), int(self._offsets[last]))

    def voxels(self, first: int, last: int) -> Events:
        """Read the events from ``first`` to before ``last``."""
        offsets = self._offsets[first : last + 1]
        voxels = read_rows(self._voxels, self.rows(first, last))
        wrong = count_not_finite(voxels["features"])
        if wrong:
            raise DataError(f"{self._path}: {wrong} features are not finite numbers")
        return Events(offsets - offsets[0], voxels["coords"], voxels["features"])


class _LabelledTables(_EventTables):
    """The events of an open file with labels and truth, which stand in the same file or in another."""

    def __init__(self, file: h5py.File, labels: h5py.File) -> None:
        super().__init__(file)
        if integer_attribute(labels, "schema_version") == SCHEMA_VERSION and "labels" not in labels:
            raise DataError(f"{self._path} holds no labels: those of adapt and test stand in files of their own")
        tracks = FROM_TRACK if "from_track" in labels else {}
        self._tracks = checked_tables(labels, tracks, rows=int(self._offsets[-1]))
        self._events = checked_tables(labels, LABELS, rows=len(self))

    def read(self, first: int, last: int) -> LabelledEvents:
        """Read the events from ``first`` to before ``last``."""
        events = self.voxels(first, last)
        columns = read_rows(self._events, slice(first, last)) | read_rows(self._tracks, self.rows(first, last))
        labels, truth, from_track = checked_labels(self._path, columns, self._classes)
        return LabelledEvents(events, labels, truth, from_track)


def _write_attributes(file: h5py.File, attributes: EventAttributes, *, labelled: bool) -> None:
    file.attrs["schema_version"] = 1 if labelled else SCHEMA_VERSION
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
            classes=strings_attribute(file, "classes"),
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
