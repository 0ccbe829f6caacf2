"""Files of embeddings: what a run's frozen network made of its events, so that probes can be fitted again in seconds.

One safetensors file holds parts, each an array (E, D) float32 under the name of the part and the ids of its events
(E,) int64 under ``event_id/`` and that name. The parts are ``train`` and ``val`` for the source and ``test/P`` for each
point P. A method with one training a target has ``train/P`` and ``val/P`` instead, by the network that is read at P.
``run`` holds the name of the file without its ending, as bytes: another run's file under this name is found out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Float32, Int64
from nubench.errors import DataError
from nubench.storage.checked_tensors import read_arrays, write_arrays
from nubench.storage.large_arrays import count_not_finite

#: Below the cache: ``embeddings/<key of the run>.safetensors``.
EMBEDDINGS_FOLDER: Final = "embeddings"

_PART: Final = re.compile(r"(?:train|val)(?:/[a-z0-9][a-z0-9.-]*)?|test/[a-z0-9][a-z0-9.-]*")
_IDS: Final = "event_id/"
_RUN: Final = "run"


@dataclass(frozen=True, eq=False)
class Embedded:
    """The embeddings of E events.

    Attributes:
        event_id: (E,) int64, unique.
        rows: (E, D) float32, finite.

    Raises:
        ValueError: when something has another shape or type, an id stands twice, or a number is not finite.
    """

    event_id: Int64
    rows: Float32

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.dtype != np.float32:
            raise ValueError(f"embeddings must be (E, D) float32; got {self.rows.shape} {self.rows.dtype}")
        if self.event_id.shape != self.rows.shape[:1] or self.event_id.dtype != np.int64:
            raise ValueError(
                f"event_id must be ({len(self.rows)},) int64; got {self.event_id.shape} {self.event_id.dtype}"
            )
        if len(np.unique(self.event_id)) < len(self.event_id):
            raise ValueError("event_id must be unique")
        if count_not_finite(self.rows):
            raise ValueError("embeddings must be finite")

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, event_id: Int64) -> Float32:
        """Return the rows of the events with these ids, in their order.

        Raises:
            DataError: when these are not the very same events.
        """
        order = np.argsort(self.event_id)
        wanted = np.argsort(event_id)
        if not np.array_equal(self.event_id[order], event_id[wanted]):
            lacking = len(np.setdiff1d(event_id, self.event_id))
            raise DataError(
                f"the embeddings are of other events than the data: {len(self)} and {len(event_id)}, "
                f"{lacking} of the latter without embedding"
            )
        rows = np.empty_like(self.rows)
        rows[wanted] = self.rows[order]
        return rows


def write_embeddings(path: Path, parts: Mapping[str, Embedded]) -> None:
    """Write the embeddings of a run, whole or not at all.

    Args:
        path: of the file, named by the run.
        parts: by their names, see above; all of one D.

    Raises:
        ValueError: when a name is not accepted, or the parts differ in D.
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    for name in parts:
        _check_name(name)
    _check_sizes(parts)
    rows = {name: part.rows for name, part in parts.items()}
    ids = {f"{_IDS}{name}": part.event_id for name, part in parts.items()}
    write_arrays(path, {**rows, **ids, _RUN: np.frombuffer(path.stem.encode(), np.uint8)})


def read_embeddings(path: Path) -> dict[str, Embedded]:
    """Read the embeddings of a run and check them.

    Returns:
        The parts by their names.

    Raises:
        DataError: when the file is missing, damaged, no safetensors file, of another run, or holds something else; the
            message names the file and the part.
    """
    arrays = read_arrays(path, mapped=True)
    run = arrays.pop(_RUN, np.zeros(0, np.uint8)).tobytes().decode(errors="replace")
    if run != path.stem:
        raise DataError(
            f"{path} holds the embeddings of {f'the run {run!r}' if run else 'a run that it does not name'}"
        )
    parts = sorted(name for name in arrays if not name.startswith(_IDS))
    if not parts or set(arrays) != {*parts, *(f"{_IDS}{name}" for name in parts)}:
        raise DataError(f"{path}: not a file of embeddings, it holds {', '.join(sorted(arrays)[:8]) or 'nothing'}")
    found = {}
    try:
        for name in parts:
            _check_name(name)
            try:
                found[name] = Embedded(arrays[f"{_IDS}{name}"], arrays[name])
            except ValueError as error:
                raise DataError(f"{path}: part {name!r}: {error}") from error
        _check_sizes(found)
    except ValueError as error:
        raise DataError(f"{path}: not a file of embeddings: {error}") from error
    return found


def _check_name(name: str) -> None:
    if not _PART.fullmatch(name):
        raise ValueError(f"unknown part {name!r}; accepted: train, val, train/POINT, val/POINT, test/POINT")


def _check_sizes(parts: Mapping[str, Embedded]) -> None:
    sizes = {name: part.rows.shape[1] for name, part in parts.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all parts must have one size of embeddings; got {sizes}")
