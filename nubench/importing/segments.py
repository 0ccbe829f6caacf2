"""Segment files of edep-sim, which larnd-sim reads too, as deposits and primaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Deposits, Int64, Primaries
from nubench.errors import DataError
from nubench.importing.primaries import guess_primaries, read_primaries
from nubench.importing.segment_checks import UnitCheck, check_rows
from nubench.importing.segment_tables import SegmentRows, iterate_rows

#: Rows read at once; what is held is these and the rows of the event that they cut.
ROWS_A_BLOCK: Final = 131_072


@dataclass(frozen=True)
class SegmentEvents:
    """Some consecutive events of a segment file.

    Attributes:
        primaries: E particles; ``event_id`` is that of the file.
        deposits: of the E events, times from the earliest row of each.
        without_energy: number of rows that were left out because they leave no energy.
        guessed: whether the primaries were guessed from the segments, see
            :func:`nubench.importing.primaries.guess_primaries`.
    """

    primaries: Primaries
    deposits: Deposits
    without_energy: int
    guessed: bool

    def __len__(self) -> int:
        return len(self.primaries)


def read_segments(path: Path, axes: str = "xyz", rows_a_block: int = ROWS_A_BLOCK) -> Iterator[SegmentEvents]:
    """Stream the events of a segment file: an HDF5 file with a table ``segments`` or ``tracks``.

    A row is energy ``dE`` (MeV) left between ``x_start, y_start, z_start`` and ``x_end, y_end, z_end`` (cm) at ``t``
    (microseconds) by the particle ``pdgId`` of the track ``trackID`` in the event ``eventID``; the rows of an event
    stand together. Rows without a length are deposits at a point, rows without energy are left out and counted.

    Args:
        path: the file.
        axes: names of our x (drift), y and z in the file, see :data:`nubench.importing.segment_tables.AXES`.
        rows_a_block: rows read at once.

    Yields:
        Whole events, in the order of the file.

    Raises:
        DataError: when the file is missing, foreign or damaged, when a row cannot be, or when the units are not those
            above; the message names file, row and value.
        UsageError: when ``axes`` is not known.
    """
    stated = read_primaries(path, axes)
    finished: set[int] = set()
    for rows in _whole_events(path, axes, rows_a_block):
        starts = np.flatnonzero(np.concatenate([[True], rows.event[1:] != rows.event[:-1]]))
        for row in starts:
            number = int(rows.event[row])
            if number in finished:
                raise DataError(
                    f"{path}: row {rows.first + row}: event {number} goes on here after rows of other events; the rows "
                    "of an event must stand together, and files must not be joined without numbering their events anew"
                )
            finished.add(number)
        offsets = np.concatenate([starts, [len(rows.event)]]).astype(np.int64)
        primaries = guess_primaries(rows, offsets) if stated is None else _stated_primaries(path, stated, rows, offsets)
        deposits, without_energy = _deposits(rows, offsets)
        yield SegmentEvents(primaries, deposits, without_energy, guessed=stated is None)


def _whole_events(path: Path, axes: str, rows_a_block: int) -> Iterator[SegmentRows]:
    """Check the rows and cut them between events: the last event of a block waits for the next one."""
    units = UnitCheck(path)
    waiting: list[SegmentRows] = []
    for rows in iterate_rows(path, axes, rows_a_block):
        check_rows(path, rows)
        units.add(rows)
        changes = np.flatnonzero(np.diff(rows.event))
        continues = not waiting or waiting[-1].event[-1] == rows.event[0]
        if not len(changes) and continues:
            waiting.append(rows)
            continue
        last = int(changes[-1]) + 1 if len(changes) else 0
        whole = [*waiting, _cut(rows, 0, last)] if last else waiting
        yield _join(whole)
        waiting = [_cut(rows, last, len(rows.event))]
    yield _join(waiting)


def _cut(rows: SegmentRows, begin: int, end: int) -> SegmentRows:
    columns = {field.name: getattr(rows, field.name)[begin:end] for field in fields(rows) if field.name != "first"}
    return SegmentRows(first=rows.first + begin, **columns)


def _join(parts: list[SegmentRows]) -> SegmentRows:
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(SegmentRows) if field.name != "first"]
    return SegmentRows(
        first=parts[0].first, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _stated_primaries(path: Path, stated: Primaries, rows: SegmentRows, offsets: Int64) -> Primaries:
    wanted = rows.event[offsets[:-1]]
    index = np.minimum(np.searchsorted(stated.event_id, wanted), max(len(stated) - 1, 0))
    missing = wanted if not len(stated) else wanted[stated.event_id[index] != wanted]
    for number in missing[:1]:
        raise DataError(f"{path}: event {number} has segments but no trajectory without a parent")
    return stated.select(index)


def _deposits(rows: SegmentRows, offsets: Int64) -> tuple[Deposits, int]:
    """Pack the rows that leave energy, and count the others."""
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # Times may count from the start of a beam spill: what the detector needs is the time since the birth.
    time = rows.time - np.minimum.reduceat(rows.time, offsets[:-1])[event]
    kept = rows.energy > 0
    lengths = np.bincount(event[kept], minlength=len(offsets) - 1)
    deposits = Deposits(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        start=rows.start[kept].astype(np.float32),
        end=rows.end[kept].astype(np.float32),
        energy=rows.energy[kept].astype(np.float32),
        time=time[kept].astype(np.float32),
    )
    return deposits, int(np.count_nonzero(~kept))
