"""Files of deposits, packed as differences: kept in one machine's cache between truth and response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Deposits, Int64, Primaries, join_offsets
from nubench.errors import DataError
from nubench.events import primaries_tables
from nubench.events.deposit_packing import PackedDeposits, pack, unpack
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
from nubench.storage.files import write_atomically

#: Version 1 kept each start and end in full.
DEPOSITS_VERSION: Final = 2

_DEPOSITS: Final[Layout] = {
    "is_jump": (np.uint8, 0),
    "step": (np.uint32, 3),
    "time_step": (np.uint32, 0),
    "energy": (np.float32, 0),
}
_JUMPS: Final[Layout] = {"jump": (np.uint32, 3)}
_EVENTS: Final[Layout] = {"labels": (np.int64, 0), **primaries_tables.PRIMARIES}


@dataclass(frozen=True)
class TruthChunk:
    """Some consecutive events at truth level: primaries (E), labels (E,) int64 and deposits (E events)."""

    primaries: Primaries
    labels: Int64
    deposits: Deposits


def write_truth(path: Path, chunks: Iterable[TruthChunk], classes: tuple[str, ...], provenance: dict[str, Any]) -> int:
    """Write deposits in order, as they come, without losing a bit; memory holds one chunk.

    Returns:
        The number of events written.

    Raises:
        NubenchError: when the disk is full or cannot be written; no file is left.
    """
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with h5py.File(partial, "w") as file:
            tables = GrowingTables(file, {**_DEPOSITS, **_JUMPS, **_EVENTS})
            offsets, jump_offsets = [], []
            for chunk in chunks:
                packed = pack(chunk.deposits)
                columns = {name: getattr(packed, name) for name in (*_DEPOSITS, *_JUMPS)}
                tables.append({**columns, "labels": chunk.labels, **primaries_tables.to_columns(chunk.primaries)})
                offsets.append(packed.offsets)
                jump_offsets.append(packed.jump_offsets)
                count += len(chunk.labels)
            file["offsets"] = join_offsets(offsets)
            file["jump_offsets"] = join_offsets(jump_offsets)
            file.attrs["deposits_version"] = DEPOSITS_VERSION
            file.attrs["classes"] = list(classes)
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    write_atomically(path, write)
    return count


def read_truth(path: Path, events_a_chunk: int) -> Iterator[TruthChunk]:
    """Read a file of deposits in order, ``events_a_chunk`` events at a time; memory holds one chunk.

    Raises:
        UsageError: when ``events_a_chunk`` is not positive.
        DataError: when the file is missing, corrupt, foreign or of another layout.
    """
    with opened(path) as file:
        _check_version(file)
        offsets, jump_offsets = checked_offsets(file, "offsets"), checked_offsets(file, "jump_offsets")
        if len(jump_offsets) != len(offsets):
            raise DataError(f"{path}: {len(jump_offsets)} jump_offsets and {len(offsets)} offsets do not match")
        deposits = checked_tables(file, _DEPOSITS, rows=int(offsets[-1]))
        jumps = checked_tables(file, _JUMPS, rows=int(jump_offsets[-1]))
        events = checked_tables(file, _EVENTS, rows=len(offsets) - 1)
        for first, last in ranges(len(offsets) - 1, events_a_chunk):
            rows, jump_rows = offsets[first : last + 1], jump_offsets[first : last + 1]
            columns = read_rows(events, slice(first, last))
            packed = PackedDeposits(
                offsets=rows - rows[0],
                jump_offsets=jump_rows - jump_rows[0],
                **read_rows(deposits, slice(int(rows[0]), int(rows[-1]))),
                **read_rows(jumps, slice(int(jump_rows[0]), int(jump_rows[-1]))),
            )
            try:
                unpacked = unpack(packed)
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
            yield TruthChunk(primaries_tables.from_columns(columns), columns["labels"], unpacked)


def truth_provenance(path: Path) -> dict[str, Any]:
    """Read what made a file of deposits.

    Raises:
        DataError: when the file is missing, corrupt, foreign or of another layout.
    """
    with opened(path) as file:
        _check_version(file)
        try:
            return json_attribute(file, "provenance")
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}: the attribute provenance is missing or unreadable ({error})") from error


def _check_version(file: h5py.File) -> None:
    path, version = file.filename, integer_attribute(file, "deposits_version")
    if version is None and "energy" in file and "detector" not in file.attrs:
        version = 1
    if version is None:
        raise DataError(f"{path} is not a nubench file of deposits: the attribute deposits_version is missing")
    if version != DEPOSITS_VERSION:
        raise DataError(
            f"{path} holds deposits in layout {version}; this nubench reads layout {DEPOSITS_VERSION} alone. Delete "
            "the file: nubench makes it again when it is needed"
        )
