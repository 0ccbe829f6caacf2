"""Tables of an HDF5 file: written piece by piece, and checked before anything of them is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from nubench.containers import Int64
from nubench.errors import DataError, UsageError
from nubench.storage.files import require_space
from nubench.storage.foreign_text import parsed_json
from nubench.storage.large_arrays import PIECE, empty_array, is_large

#: Tables by name: type of the numbers, and columns; 0 columns is a plain vector.
Layout = Mapping[str, tuple[type[np.generic], int]]

# gzip is in every HDF5 library; level 1 with the byte shuffle is within a few per cent of the higher levels.
_COMPRESSION: Final[dict[str, Any]] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_CHUNK_ROWS: Final = 65_536
# Deflate cannot shrink anything further than 1032 times (zlib's technical notes).
_LARGEST_COMPRESSION: Final = 1_100
#: A column of equal numbers is compressed as far as that, a file of events with their positions never.
_MOST_OF_A_FILE: Final = 100
_ALWAYS_ACCEPTED: Final = 64_000_000
#: HDF5 unpacks a chunk whole, whatever is read of it.
_LARGEST_CHUNK: Final = 64_000_000
#: Strings of an attribute may all be the same long one, which is stored once.
_MOST_STRINGS: Final = 1_000
_LONGEST_STRING: Final = 1_000_000


class GrowingTables:
    """Tables of a file that is being written; each call appends a piece, and memory holds no more than that."""

    def __init__(self, file: h5py.File, layout: Layout) -> None:
        self._file = file
        self._tables: dict[str, Any] = {}
        self.create(layout)

    def create(self, layout: Layout) -> None:
        """Add empty tables."""
        for name, (dtype, columns) in layout.items():
            width = (columns,) if columns else ()
            self._tables[name] = self._file.create_dataset(
                name,
                shape=(0, *width),
                maxshape=(None, *width),
                chunks=(_CHUNK_ROWS, *width),
                dtype=dtype,
                **_COMPRESSION,
            )

    def append(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append rows to some of the tables.

        Raises:
            NubenchError: when the disk is too full for them.
        """
        require_space(Path(self._file.filename), sum(column.nbytes for column in columns.values()))
        for name, column in columns.items():
            if len(column):
                table = self._tables[name]
                table.resize(len(table) + len(column), axis=0)
                table[-len(column) :] = column


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        DataError: when it is missing or not HDF5, and when reading finds it damaged.
    """
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


def integer_attribute(file: h5py.File, name: str) -> int | None:
    """Read an attribute that is one integer; None when there is none of that name.

    Raises:
        DataError: when it is anything else.
    """
    try:
        value = file.attrs.get(name)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file.filename}: the attribute {name} is unreadable: {error}") from error
    if value is not None and not isinstance(value, int | np.integer):
        raise DataError(f"{file.filename}: the attribute {name} must be an integer; found {value!r}")
    return None if value is None else int(value)


def strings_attribute(file: h5py.File, name: str) -> tuple[str, ...]:
    """Read an attribute that is a list of strings.

    Raises:
        KeyError, TypeError, ValueError: when it is missing or anything else, or too long.
    """
    shape = file.attrs.get_id(name).shape
    if len(shape) != 1 or shape[0] > _MOST_STRINGS:
        raise ValueError(f"{name} must be a list of at most {_MOST_STRINGS} strings; found the shape {shape}")
    return tuple(str(value) for value in file.attrs[name])


def json_attribute(file: h5py.File, name: str) -> dict[str, Any]:
    """Read an attribute that is a JSON object.

    Raises:
        KeyError, TypeError, ValueError: when it is missing or anything else, or longer than a megabyte.
    """
    text = file.attrs[name]
    if not isinstance(text, str) or len(text) > _LONGEST_STRING:
        raise ValueError(f"{name} must be a text of at most {_LONGEST_STRING:,} characters")
    value = parsed_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object; found {value!r}")
    return value


def checked_tables(file: h5py.File, layout: Layout, rows: int) -> dict[str, Any]:
    """Find the tables of a layout, which all have as many rows.

    Raises:
        DataError: when one is missing, has another type or size, or lies outside of the file.
    """
    found = {}
    for name, kind in layout.items():
        table = found[name] = _checked_table(file, name, *kind)
        if len(table) != rows:
            raise DataError(f"{file.filename}: table {name!r} has {len(table)} rows; expected {rows}")
    return found


def checked_offsets(file: h5py.File, name: str) -> Int64:
    """Read the row boundaries of the events, (E + 1,) int64.

    Raises:
        DataError: when they do not start at 0 or decrease.
    """
    offsets: Int64 = _checked_table(file, name, np.int64, 0)[:]
    if len(offsets) == 0 or offsets[0] != 0 or np.any(offsets[1:] < offsets[:-1]):
        raise DataError(f"{file.filename}: {name} must start at 0 and never decrease")
    return offsets


def read_rows(tables: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """Read the same rows of some tables; many of them piece by piece, into an array that lies on disk.

    Raises:
        NubenchError: when the disk of the file is too full for that.
    """
    return {name: _read(table, *rows.indices(len(table))[:2]) for name, table in tables.items()}


def _read(table: Any, first: int, last: int) -> npt.NDArray[Any]:
    width = table.shape[1:]
    size = max(0, last - first) * table.dtype.itemsize * math.prod(width)
    if not is_large(size):
        whole: npt.NDArray[Any] = table[first:last]
        return whole
    array = empty_array((last - first, *width), table.dtype, Path(table.file.filename).parent)
    at_a_time = _CHUNK_ROWS * max(1, PIECE * (last - first) // (size * _CHUNK_ROWS))
    for begin in range(first, last, at_a_time):
        end = min(begin + at_a_time, last)
        array[begin - first : end - first] = table[begin:end]
    # Like the file that it comes from.
    array.flags.writeable = False
    return array


def ranges(count: int, events_a_chunk: int) -> Iterator[tuple[int, int]]:
    """Cut ``count`` events into ranges (first, behind the last).

    Raises:
        UsageError: when a chunk would have no events.
    """
    if events_a_chunk < 1:
        raise UsageError(f"events_a_chunk must be at least 1; got {events_a_chunk}")
    for first in range(0, count, events_a_chunk):
        yield first, min(first + events_a_chunk, count)


def _checked_table(file: h5py.File, name: str, dtype: type[np.generic], columns: int) -> Any:
    try:
        table = file.get(name)
        found = table.dtype if isinstance(table, h5py.Dataset) else None
    except (KeyError, TypeError, ValueError) as error:
        # The header of the table is damaged, or it holds a type of numbers that numpy does not know.
        raise DataError(f"{file.filename}: table {name!r} is unreadable: {error}") from error
    if table is None or found is None:
        raise DataError(f"{file.filename} is not a nubench file: the table {name!r} is missing")
    if found != dtype or table.ndim != (2 if columns else 1) or (columns and table.shape[1] != columns):
        expected = f"{np.dtype(dtype)} with {columns or 1} column(s)"
        raise DataError(f"{file.filename}: table {name!r} is {found} {table.shape}; expected {expected}")
    check_stored(file, name, table)
    return table


def check_stored(file: h5py.File, name: str, table: Any) -> None:
    """Refuse a table of a foreign file, before it is read, that lies elsewhere or takes more memory than it may.

    A table may point into other files of the disk, and may claim any size at no cost.

    Raises:
        DataError: when it does; the message names file and table.
    """
    if table.file.filename != file.filename or table.is_virtual or table.external:
        raise DataError(f"{file.filename}: table {name!r} is not stored in the file")
    stored, whole = table.id.get_storage_size(), file.id.get_filesize()
    if table.nbytes > min(_LARGEST_COMPRESSION * stored, _MOST_OF_A_FILE * whole + _ALWAYS_ACCEPTED):
        raise DataError(f"{file.filename}: table {name!r} claims {len(table)} rows; only {stored} bytes are stored")
    chunk = math.prod(table.chunks or ()) * table.dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise DataError(
            f"{file.filename}: table {name!r} is stored in pieces of {chunk:,} bytes; at most "
            f"{_LARGEST_CHUNK:,} are read"
        )
