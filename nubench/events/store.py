"""HDF5 files of events and of deposits: a stable, documented layout (docs/data-format.md).

Files are written whole or not at all, and every reader checks what it opens: a file that is corrupt, foreign or of
a newer schema is refused with its name and the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Deposits, Events, Int64, LabelledEvents, Primaries
from nubench.errors import DataError
from nubench.storage import require_space, write_atomically

SCHEMA_VERSION: Final = 1

# gzip is in every HDF5 library; level 1 with the byte shuffle is within a few per cent of the higher levels.
_PORTABLE: Final[dict[str, Any]] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
# Deposits stay in one machine's cache and are fifty times as many: lzf, which h5py brings, is several times faster.
_FAST: Final[dict[str, Any]] = {"compression": "lzf", "shuffle": True}
_CHUNK_ROWS: Final = 65_536

# name -> (dtype, columns); 0 columns is a plain vector
_TRUTH: Final = {
    "event_id": (np.int64, 0),
    "pdg": (np.int64, 0),
    "kinetic_energy": (np.float32, 0),
    "vertex": (np.float32, 3),
    "direction": (np.float32, 3),
}
_EVENT_ROWS: Final = {"coords": (np.int32, 3), "features": (np.float32, 1)}
_DEPOSIT_ROWS: Final = {
    "start": (np.float32, 3),
    "end": (np.float32, 3),
    "energy": (np.float32, 0),
    "time": (np.float32, 0),
}


# rows of each event (E,), columns by their table, truth of the E events
_Piece = tuple[Int64, dict[str, Any], Primaries]


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


@dataclass(frozen=True)
class TruthChunk:
    """Some consecutive events at truth level: primaries (E), labels (E,) int64 and deposits (E events)."""

    primaries: Primaries
    labels: Int64
    deposits: Deposits


def write_events(path: Path, chunks: Iterable[LabelledEvents], attributes: EventAttributes) -> tuple[int, str]:
    """Write events in order, as they come; memory holds one chunk.

    Returns:
        The number of events written, and the SHA-256 of their content (voxels, features, labels), which depends
        neither on the chunks nor on how HDF5 stores them.

    Raises:
        NubenchError: when the disk is full or cannot be written; no file is left.
    """
    digests = {name: hashlib.sha256() for name in ("lengths", "coords", "features", "labels")}

    def pieces() -> Iterator[_Piece]:
        for chunk in chunks:
            events = chunk.events
            columns = {"coords": events.coords, "features": events.features, "labels": chunk.labels}
            for name, column in {"lengths": events.voxels_per_event, **columns}.items():
                digests[name].update(np.ascontiguousarray(column).tobytes())
            yield events.voxels_per_event, columns, chunk.truth

    about = {
        "detector": attributes.detector,
        "classes": list(attributes.classes),
        "voxel_size_cm": attributes.voxel_size_cm,
        "shift": attributes.shift,
        "point": attributes.point,
        "parameters": json.dumps(attributes.parameters, sort_keys=True),
        "provenance": json.dumps(attributes.provenance, sort_keys=True),
    }
    count = _write_ragged(path, _EVENT_ROWS, _PORTABLE, pieces(), about)
    return count, hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()


def read_attributes(path: Path) -> EventAttributes:
    """Read what a file of events says about itself.

    Raises:
        DataError: when the file is missing, not HDF5, not of this layout or of a newer schema.
    """
    with _opened(path) as file:
        return _attributes(path, file)


def read_events(path: Path) -> LabelledEvents:
    """Read a file of events whole.

    Raises:
        DataError: when the file is missing, corrupt, foreign, of a newer schema, or its content is impossible
            (offsets that do not fit, labels outside the classes, features that are not finite).
    """
    with _opened(path) as file:
        attributes = _attributes(path, file)
        columns = _columns(path, file, {**_EVENT_ROWS, "labels": (np.int64, 0), "offsets": (np.int64, 0)})
        truth = _columns(path, file, _TRUTH, group="truth/")
    try:
        events = LabelledEvents(
            Events(columns["offsets"], columns["coords"], columns["features"]), columns["labels"], Primaries(**truth)
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if len(events) and not 0 <= events.labels.min() <= events.labels.max() < len(attributes.classes):
        found = f"{events.labels.min()} to {events.labels.max()}"
        raise DataError(f"{path}: labels must be 0 to {len(attributes.classes) - 1}; found {found}")
    wrong = int(np.count_nonzero(~np.isfinite(events.events.features)))
    if wrong:
        raise DataError(f"{path}: {wrong} features are not finite numbers")
    return events


def write_truth(path: Path, chunks: Iterable[TruthChunk], classes: tuple[str, ...], provenance: dict[str, Any]) -> int:
    """Write deposits in order, as they come; memory holds one chunk.

    Returns:
        The number of events written.

    Raises:
        NubenchError: when the disk is full or cannot be written; no file is left.
    """
    pieces = (
        (
            np.diff(chunk.deposits.offsets),
            {name: getattr(chunk.deposits, name) for name in _DEPOSIT_ROWS} | {"labels": chunk.labels},
            chunk.primaries,
        )
        for chunk in chunks
    )
    about = {"classes": list(classes), "provenance": json.dumps(provenance, sort_keys=True)}
    return _write_ragged(path, _DEPOSIT_ROWS, _FAST, pieces, about)


def read_truth(path: Path, events_a_chunk: int) -> Iterator[TruthChunk]:
    """Stream a file of deposits, ``events_a_chunk`` events at a time.

    Raises:
        DataError: when the file is missing, corrupt, foreign or of a newer schema.
    """
    with _opened(path) as file:
        _check_schema(path, file)
        offsets = _columns(path, file, {"offsets": (np.int64, 0)})["offsets"]
        for first in range(0, len(offsets) - 1, events_a_chunk):
            last = min(first + events_a_chunk, len(offsets) - 1)
            rows, events = slice(int(offsets[first]), int(offsets[last])), slice(first, last)
            deposits = _columns(path, file, _DEPOSIT_ROWS, rows=rows)
            try:
                yield TruthChunk(
                    Primaries(**_columns(path, file, _TRUTH, group="truth/", rows=events)),
                    _columns(path, file, {"labels": (np.int64, 0)}, rows=events)["labels"],
                    Deposits(offsets=offsets[first : last + 1] - offsets[first], **deposits),
                )
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error


def truth_provenance(path: Path) -> dict[str, Any]:
    """Read what made a file of deposits.

    Raises:
        DataError: when the file is missing, corrupt, foreign or of a newer schema.
    """
    with _opened(path) as file:
        _check_schema(path, file)
        return dict(json.loads(file.attrs["provenance"]))


def _write_ragged(
    path: Path, rows: dict[str, Any], compression: dict[str, Any], pieces: Iterable[_Piece], about: dict[str, Any]
) -> int:
    """Write rows of events, their labels and truth, piece by piece, then offsets and attributes; count the events."""
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with h5py.File(partial, "w") as file:
            tables = _create(file, {**rows, "labels": (np.int64, 0)}, _TRUTH, compression)
            lengths = [np.zeros(0, np.int64)]
            for rows_of_events, columns, truth in pieces:
                _append(partial, tables, columns)
                _append(partial, tables, _truth_columns(truth))
                lengths.append(rows_of_events)
                count += len(rows_of_events)
            file["offsets"] = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
            file.attrs["schema_version"] = SCHEMA_VERSION
            for name, value in about.items():
                file.attrs[name] = value

    write_atomically(path, write)
    return count


def _truth_columns(truth: Primaries) -> dict[str, Any]:
    return {f"truth/{name}": getattr(truth, name) for name in _TRUTH}


def _create(
    file: h5py.File, rows: dict[str, Any], truth: dict[str, Any], compression: dict[str, Any]
) -> dict[str, Any]:
    specification = {**rows, **{f"truth/{name}": kind for name, kind in truth.items()}}
    return {
        name: file.create_dataset(
            name,
            shape=(0, columns) if columns else (0,),
            maxshape=(None, columns) if columns else (None,),
            chunks=(_CHUNK_ROWS, columns) if columns else (_CHUNK_ROWS,),
            dtype=dtype,
            **compression,
        )
        for name, (dtype, columns) in specification.items()
    }


def _append(path: Path, tables: dict[str, Any], values: dict[str, Any]) -> None:
    require_space(path, sum(array.nbytes for array in values.values()))
    for name, array in values.items():
        table = tables[name]
        table.resize(len(table) + len(array), axis=0)
        if len(array):
            table[-len(array) :] = array


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file: {error}") from error
    try:
        with file:
            yield file
    except (OSError, RuntimeError) as error:
        # h5py reports damaged chunks and filters this way.
        raise DataError(f"{path} is damaged: {error}") from error


def _check_schema(path: Path, file: h5py.File) -> None:
    version = file.attrs.get("schema_version")
    if version is None:
        raise DataError(f"{path} is not a nubench file: the attribute schema_version is missing")
    if int(version) > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}; this nubench reads up to {SCHEMA_VERSION}: upgrade nubench"
        )


def _attributes(path: Path, file: h5py.File) -> EventAttributes:
    _check_schema(path, file)
    try:
        return EventAttributes(
            detector=str(file.attrs["detector"]),
            classes=tuple(str(name) for name in file.attrs["classes"]),
            voxel_size_cm=float(file.attrs["voxel_size_cm"]),
            shift=str(file.attrs["shift"]),
            point=str(file.attrs["point"]),
            parameters=json.loads(file.attrs["parameters"]),
            provenance=json.loads(file.attrs["provenance"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a nubench file of events: attribute missing or unreadable ({error})") from error


def _columns(
    path: Path, file: h5py.File, specification: dict[str, Any], group: str = "", rows: slice | None = None
) -> dict[str, Any]:
    found = {}
    for name, (dtype, columns) in specification.items():
        table = file.get(group + name)
        if not isinstance(table, h5py.Dataset):
            raise DataError(f"{path} is not a nubench file: the table {group + name!r} is missing")
        if table.dtype != dtype or table.ndim != (2 if columns else 1) or (columns and table.shape[1] != columns):
            expected = f"{np.dtype(dtype)} with {columns or 1} column(s)"
            raise DataError(f"{path}: table {group + name!r} is {table.dtype} {table.shape}; expected {expected}")
        found[name] = table[:] if rows is None else table[rows]
    return found
