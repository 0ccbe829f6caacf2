"""Files of predictions: what a run said about every test event, so that anybody can compute its scores again.

One safetensors file holds, for every shift point P, the tensors ``P/event_id`` (E,) int64 and, for each read-out that
the method has, ``P/head`` and ``P/probe`` (E, C) float32, natural logarithms of the probabilities of the classes.
Events stand in the order of their ids, so equal predictions give equal bytes and one SHA-256 names them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from nubench.containers import Float32, Int64
from nubench.errors import DataError
from nubench.evaluation.metrics import check_predictions
from nubench.problems import problems_of
from nubench.results.fields import Name, ReadoutName
from nubench.storage.files import explained_failures, write_atomically

#: The largest file that is read: ten million predictions of 20 classes by two read-outs fit.
MOST_BYTES: Final = 2 * 2**30

_EVENT_ID: Final = "event_id"
_DTYPES: Final = {"event_id": "I64", "head": "F32", "probe": "F32"}
_POINT_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


@dataclass(frozen=True, eq=False)
class PointPredictions:
    """What a run said about the test events of one shift point.

    Attributes:
        event_id: (E,) int64, unique, in any order.
        log_probabilities: for each read-out (E, C) float32, natural logarithms, normalised; minus infinity is accepted.

    Raises:
        ValueError: when something has another shape or type, an id stands twice, or rows are no log-probabilities.
    """

    event_id: Int64
    log_probabilities: Mapping[ReadoutName, Float32]

    def __post_init__(self) -> None:
        if self.event_id.ndim != 1 or self.event_id.dtype != np.int64:
            raise ValueError(f"event_id must be (E,) int64; got {self.event_id.shape} {self.event_id.dtype}")
        repeated = len(self.event_id) - len(np.unique(self.event_id))
        if repeated:
            raise ValueError(f"event_id must be unique; {repeated} of {len(self.event_id)} stand more than once")
        if not self.log_probabilities:
            raise ValueError(f"log_probabilities must hold at least one read-out of {', '.join(get_args(ReadoutName))}")
        for name, rows in self.log_probabilities.items():
            if name not in get_args(ReadoutName):
                raise ValueError(f"unknown read-out {name!r}; known: {', '.join(get_args(ReadoutName))}")
            if rows.dtype != np.float32:
                raise ValueError(f"{name} must be float32; got {rows.dtype}")
            try:
                check_predictions(np.zeros(len(self.event_id), np.int64), rows)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        if len({rows.shape for rows in self.log_probabilities.values()}) > 1:
            raise ValueError(f"the read-outs differ in shape: {_shapes(self.log_probabilities)}")

    def ordered(self) -> PointPredictions:
        """The same predictions in the order of the event ids, as a file holds them."""
        order = np.argsort(self.event_id)
        return PointPredictions(
            self.event_id[order], {name: rows[order] for name, rows in self.log_probabilities.items()}
        )


def write_predictions(path: Path, predictions: Mapping[str, PointPredictions]) -> str:
    """Write the predictions of a run, whole or not at all.

    Args:
        path: of the file.
        predictions: by the name of the shift point.

    Returns:
        SHA-256 of the file, 64 hexadecimal digits. Equal predictions give equal files, in whatever order their events
        and points came.

    Raises:
        ValueError: when there is no point, or the name of one is not accepted.
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    if not predictions:
        raise ValueError("predictions must hold at least one point")
    tensors: dict[str, Any] = {}
    for point, found in predictions.items():
        _check_point(point)
        ordered = found.ordered()
        tensors[f"{point}/{_EVENT_ID}"] = ordered.event_id
        tensors |= {f"{point}/{name}": rows for name, rows in ordered.log_probabilities.items()}
    content = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_predictions(path: Path) -> dict[str, PointPredictions]:
    """Read the predictions of a run and check them.

    Returns:
        For each shift point, in the order of their names, its predictions, ordered by event id.

    Raises:
        DataError: when the file is missing, larger than 2 GiB, no safetensors file, or holds something else than
            predictions; the message names the file and the tensor.
    """
    try:
        with explained_failures(path):
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise DataError(f"{path}: {size:,} bytes are more than the {MOST_BYTES:,} that predictions may take")
            with safe_open(path, framework="np") as file:
                return dict(_points(path, file))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a file of predictions: {error}") from error


def _points(path: Path, file: Any) -> Iterator[tuple[str, PointPredictions]]:
    tensors: dict[str, Any] = {}
    for name in sorted(file.keys()):
        point, _, kind = name.rpartition("/")
        dtype = file.get_slice(name).get_dtype()
        # Before it is read: safetensors knows types that numpy does not.
        if kind not in _DTYPES or dtype != _DTYPES[kind]:
            accepted = ", ".join(f"POINT/{known} {_DTYPES[known]}" for known in _DTYPES)
            raise DataError(f"{path}: tensor {name!r} of type {dtype} is unknown; accepted: {accepted}")
        _check_point(point)
        tensors.setdefault(point, {})[kind] = file.get_tensor(name)
    if not tensors:
        raise DataError(f"{path}: holds no predictions")
    for point, found in tensors.items():
        if _EVENT_ID not in found:
            raise DataError(f"{path}: tensor '{point}/{_EVENT_ID}' is missing")
        event_id = found.pop(_EVENT_ID)
        try:
            predictions = PointPredictions(event_id, found)
        except ValueError as error:
            raise DataError(f"{path}: point {point!r}: {error}") from error
        if (np.diff(event_id) < 0).any():
            raise DataError(f"{path}: tensor '{point}/{_EVENT_ID}' is not in ascending order")
        yield point, predictions


def _check_point(name: str) -> None:
    try:
        _POINT_NAME.validate_python(name)
    except ValidationError as error:
        raise ValueError(f"{name!r} is no name of a shift point: {problems_of(error)[0]}") from error


def _shapes(arrays: Mapping[Any, Float32]) -> str:
    return ", ".join(f"{name} {rows.shape}" for name, rows in arrays.items())
