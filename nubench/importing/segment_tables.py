"""Where the columns of a segment file are: the dialects of edep-sim's and larnd-sim's HDF5 files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Float64, Int64
from nubench.errors import DataError, UsageError
from nubench.events.hdf5 import check_stored, opened

SEGMENTS: Final = ("segments", "tracks")
TRAJECTORIES: Final = "trajectories"

#: Orders in which a file may name our axes (x, y, z), x being the drift axis.
AXES: Final[Mapping[str, str]] = {
    "xyz": "x is the drift axis: files of edep-sim, and what larnd-sim reads",
    "zyx": "z is the drift axis: tables that larnd-sim has already swapped",
}

#: What a column is called here, and what files call it; the first that is there is read.
_SEGMENT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("eventID", "event_id"),
    "track": ("trackID", "traj_id", "track_id"),
    "pdg": ("pdgId", "pdg_id"),
    "energy": ("dE",),
    "length": ("dx",),
    **{f"{axis}_{end}": (f"{axis}_{end}",) for end in ("start", "end") for axis in "xyz"},
}
# In files that have both, `t` is a place for results of larnd-sim and holds zeros.
_TIME_NAMES: Final = ("t0", "t0_start", "t", "t_start")

_TRAJECTORY_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("eventID", "event_id"),
    "track": ("trackID", "traj_id", "track_id"),
    "parent": ("parentID", "parent_id"),
    "pdg": ("pdgId", "pdg_id"),
    "momentum": ("pxyz_start",),
    "vertex": ("xyz_start",),
}


@dataclass(frozen=True)
class SegmentRows:
    """Consecutive rows of a segment file, in our axes.

    Attributes:
        first: row of the file that the first of them is.
        event, track, pdg: (N,) int64.
        energy: (N,) MeV.
        length: (N,) what the file says the length is, cm.
        start, end: (N, 3) cm.
        time: (N,) microseconds.
    """

    first: int
    event: Int64
    track: Int64
    pdg: Int64
    energy: Float64
    length: Float64
    start: Float64
    end: Float64
    time: Float64


def check_axes(axes: str) -> None:
    """Check an order of axes.

    Raises:
        UsageError: when it is none of :data:`AXES`.
    """
    if axes not in AXES:
        raise UsageError(
            f"--axes {axes!r} is not known; known are: " + "; ".join(f"{name} ({what})" for name, what in AXES.items())
        )


def iterate_rows(path: Path, axes: str, rows_a_block: int) -> Iterator[SegmentRows]:
    """Read the segments of a file block by block.

    Args:
        path: an HDF5 file with a table ``segments`` (or ``tracks``) of one row a segment.
        axes: of :data:`AXES`.
        rows_a_block: rows read at once.

    Raises:
        DataError: when the file or one of its columns is missing or holds no numbers, or the table is not stored in the
            file; the message names what is there.
        UsageError: when ``axes`` is not known.
    """
    check_axes(axes)
    with opened(path) as file:
        table = _segment_table(path, file)
        names = _find_columns(path, table, _SEGMENT_NAMES)
        time = next((name for name in _TIME_NAMES if name in table.dtype.names), None)
        wanted = [*names.values(), *([time] if time else [])]
        _check_numbers(path, table, wanted)
        for first in range(0, len(table), rows_a_block):
            rows = table.fields(wanted)[first : first + rows_a_block]
            yield SegmentRows(
                first=first,
                event=rows[names["event"]].astype(np.int64),
                track=rows[names["track"]].astype(np.int64),
                pdg=rows[names["pdg"]].astype(np.int64),
                energy=rows[names["energy"]].astype(np.float64),
                length=rows[names["length"]].astype(np.float64),
                start=np.stack([rows[names[f"{axis}_start"]] for axis in axes], axis=1).astype(np.float64),
                end=np.stack([rows[names[f"{axis}_end"]] for axis in axes], axis=1).astype(np.float64),
                time=rows[time].astype(np.float64) if time else np.zeros(len(rows)),
            )


def read_primary_rows(path: Path, axes: str, rows_a_block: int) -> dict[str, Any] | None:
    """Read the trajectories without a parent.

    Returns:
        Columns ``event``, ``track``, ``pdg`` (P,), ``momentum`` (P, 3) MeV/c and ``vertex`` (P, 3) cm in our axes, and
        ``energy`` (P,), total, MeV, or None where the file does not say it. None when the file has no trajectories.

    Raises:
        DataError: when the table of trajectories lacks a column, or one holds no numbers.
    """
    with opened(path) as file:
        table = _table(path, file, TRAJECTORIES)
        if table is None:
            return None
        check_stored(file, TRAJECTORIES, table)
        names = _find_columns(path, table, _TRAJECTORY_NAMES)
        energy = ["E_start"] if "E_start" in table.dtype.names else []
        vectors = [names["momentum"], names["vertex"]]
        _check_numbers(path, table, vectors, (3,))
        _check_numbers(path, table, {*names.values(), *energy} - {*vectors})
        blocks = []
        for first in range(0, len(table), rows_a_block):
            rows = table.fields([*names.values(), *energy])[first : first + rows_a_block]
            blocks.append(rows[rows[names["parent"]] == -1])
    if not blocks:
        return None
    rows = np.concatenate(blocks)
    order = ["xyz".index(axis) for axis in axes]
    return {
        **{name: rows[names[name]].astype(np.int64) for name in ("event", "track", "pdg")},
        **{name: rows[names[name]].astype(np.float64)[:, order] for name in ("momentum", "vertex")},
        "energy": rows["E_start"].astype(np.float64) if energy else None,
    }


def _table(path: Path, file: h5py.File, name: str) -> Any | None:
    """A table of several columns; None where there is none of this name."""
    try:
        found = file.get(name)
        return found if isinstance(found, h5py.Dataset) and found.dtype.names is not None else None
    except (KeyError, TypeError, ValueError) as error:
        # The header is damaged: names that are no text, types of numbers that numpy does not know.
        raise DataError(f"{path}: table {name!r} is unreadable: {error}") from error


def _check_numbers(path: Path, table: Any, names: Iterable[str], shape: tuple[int, ...] = ()) -> None:
    """Refuse columns that hold anything but numbers, of this shape in each row."""
    for name in names:
        found = table.dtype[name]
        if found.base.kind not in "iuf" or found.shape != shape:
            wanted = f"{shape[0]} numbers" if shape else "a number"
            raise DataError(f"{path}: column {name!r} of {table.name!r} must hold {wanted} a row; it is {found}")


def _segment_table(path: Path, file: h5py.File) -> Any:
    for name in SEGMENTS:
        table = _table(path, file, name)
        if table is not None:
            check_stored(file, name, table)
            if not len(table):
                raise DataError(f"{path}: the table {name!r} is empty")
            return table
    try:
        held = ", ".join(sorted(map(str, file))) or "nothing"
    except (KeyError, RuntimeError) as error:
        held = f"what cannot be read ({error})"
    raise DataError(f"{path} is no segment file: there is no table {' or '.join(map(repr, SEGMENTS))}; it holds {held}")


def _find_columns(path: Path, table: Any, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find what each column is called in this file."""
    found = {}
    for wanted, candidates in names.items():
        name = next((candidate for candidate in candidates if candidate in table.dtype.names), None)
        if name is None:
            raise DataError(
                f"{path}: table {table.name!r} lacks the column {' or '.join(map(repr, candidates))}; it has "
                f"{', '.join(name for name in table.dtype.names if name)}"
            )
        found[wanted] = name
    return found
