"""Labels and truth of events: tables beside the voxels, or a file of their own where methods must not see them.

Only the evaluation reads such a file: through :mod:`nubench.evaluation.labels` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from nubench.containers import Bool, Int64, LabelledEvents, Primaries
from nubench.errors import DataError, UsageError
from nubench.events import primaries_tables
from nubench.events.hdf5 import (
    GrowingTables,
    Layout,
    checked_tables,
    integer_attribute,
    opened,
    read_rows,
    strings_attribute,
)

LABELS_VERSION: Final = 1

FROM_TRACK: Final[Layout] = {"from_track": (np.uint8, 0)}
LABELS: Final[Layout] = {"labels": (np.int64, 0), **primaries_tables.PRIMARIES}


@dataclass(frozen=True)
class Labels:
    """What the evaluation knows of E events with N voxels.

    Attributes:
        labels: (E,) int64 index into the classes.
        truth: the generated particle of each event.
        from_track: (N,) bool, see :class:`nubench.containers.Response`; None where the detector does not tell.
        content: SHA-256 of the events that they belong to, see :func:`nubench.events.event_files.write_events`.
    """

    labels: Int64
    truth: Primaries
    from_track: Bool | None
    content: str


class LabelWriter:
    """Appends labels and truth to an open file, piece by piece."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._tables = GrowingTables(file, LABELS)

    def append(self, chunk: LabelledEvents) -> None:
        """Append those of some events."""
        columns: dict[str, Any] = {"labels": chunk.labels}
        if chunk.from_track is not None:
            if "from_track" not in self._file:
                self._tables.create(FROM_TRACK)
            columns["from_track"] = chunk.from_track.astype(np.uint8)
        self._tables.append(columns | primaries_tables.to_columns(chunk.truth))

    def check(self, voxels: int) -> None:
        """Compare with the number of voxels N of all events.

        Raises:
            UsageError: when some chunks with voxels had ``from_track`` and some had not.
        """
        if "from_track" in self._file and len(self._file["from_track"]) != voxels:
            raise UsageError("from_track must be in every chunk of events or in none")

    def write_attributes(self, classes: tuple[str, ...], content: str) -> None:
        """Say, in a file of their own, what the labels mean and which events they belong to."""
        self._file.attrs["labels_version"] = LABELS_VERSION
        self._file.attrs["classes"] = list(classes)
        self._file.attrs["content"] = content


def read_labels(path: Path) -> Labels:
    """Read a file of labels whole.

    Raises:
        DataError: when the file is missing, corrupt, foreign, of another version, or its content is impossible.
    """
    with opened(path) as file:
        if integer_attribute(file, "labels_version") != LABELS_VERSION:
            raise DataError(f"{path} is not a nubench file of labels of version {LABELS_VERSION}")
        try:
            classes, content = len(strings_attribute(file, "classes")), str(file.attrs["content"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a nubench file of labels: attribute missing ({error})") from error
        rows = {name: len(file[name]) for name in ("labels", "from_track") if name in file}
        columns = read_rows(checked_tables(file, LABELS, rows.get("labels", 0)), slice(None))
        if "from_track" in rows:
            columns |= read_rows(checked_tables(file, FROM_TRACK, rows["from_track"]), slice(None))
        return Labels(*checked_labels(str(path), columns, classes), content)


def checked_labels(path: str, columns: Mapping[str, Any], classes: int) -> tuple[Int64, Primaries, Bool | None]:
    """Take labels, truth and ``from_track`` out of the columns of a file.

    Raises:
        DataError: when a label is none of the classes, or ``from_track`` neither 0 nor 1.
    """
    labels, from_track = columns["labels"], columns.get("from_track")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        found = f"{labels.min()} to {labels.max()}"
        raise DataError(f"{path}: labels must be 0 to {classes - 1}; found {found}")
    if from_track is not None and from_track.max(initial=0) > 1:
        raise DataError(f"{path}: from_track must be 0 or 1; found {from_track.max()}")
    truth = primaries_tables.from_columns(dict(columns))
    return labels, truth, None if from_track is None else from_track.view(np.bool_)
