"""What passes between the evaluation and a training: events without truth, and what a model made of them.

Files are safetensors, which hold arrays and nothing that could run when they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nubench.containers import Deposits, Events, Float32, Int64
from nubench.errors import DataError, PluginError
from nubench.storage.checked_tensors import read_arrays, write_arrays
from nubench.storage.large_arrays import count_not_finite, empty_array

#: Bytes of the secret key that decides the order in which test events are handed over.
KEY_SIZE: Final = 16

SourceSplit = Literal["train", "val"]


@dataclass(frozen=True)
class Handout:
    """The events that a training is given before it starts.

    Attributes:
        train, val: source events, in the order of their files; train_labels, val_labels (E,) int64.
        target: events of the target's split ``adapt``, or None for a method that did not declare them.
        target_labels: their labels, or None for a method that did not declare them.
    """

    train: Events
    train_labels: Int64
    val: Events
    val_labels: Int64
    target: Events | None = None
    target_labels: Int64 | None = None

    def source(self, split: SourceSplit) -> Events:
        """The events of a source split."""
        return self.train if split == "train" else self.val

    def save(self, folder: Path) -> None:
        """Write one file for each split.

        Raises:
            NubenchError: when the disk is full or cannot be written.
        """
        save_events(folder / "train.safetensors", self.train, self.train_labels)
        save_events(folder / "val.safetensors", self.val, self.val_labels)
        if self.target is not None:
            save_events(folder / "target.safetensors", self.target, self.target_labels)

    @staticmethod
    def load(folder: Path) -> Handout:
        """Read what :meth:`save` wrote; voxels of many events stay in the files and are mapped."""
        train, val = (read_arrays(folder / f"{split}.safetensors", mapped=True) for split in ("train", "val"))
        file = folder / "target.safetensors"
        target: Mapping[str, Any] = read_arrays(file, mapped=True) if file.exists() else {}
        return Handout(
            _events(train),
            train["labels"],
            _events(val),
            val["labels"],
            _events(target) if target else None,
            target.get("labels"),
        )


@dataclass(frozen=True)
class Outputs:
    """What a model made of E events.

    Attributes:
        embeddings: (E, D) float32, or None where the model has none.
        log_probabilities: (E, C) float32, or None where the model has no head, or was not asked.
    """

    embeddings: Float32 | None
    log_probabilities: Float32 | None

    def select(self, index: npt.NDArray[np.integer]) -> Outputs:
        """Return the rows of the events in ``index`` (K,)."""
        return Outputs(
            None if self.embeddings is None else self.embeddings[index],
            None if self.log_probabilities is None else self.log_probabilities[index],
        )

    def checked(self, method: str, events: int, classes: int, embedding_size: int | None = None) -> Outputs:
        """Return the same after checking what a plugin returned.

        Args:
            method: its name, for the message.
            events: E.
            classes: C.
            embedding_size: D, where it is known from earlier calls.

        Raises:
            PluginError: when an array is not one row of finite numbers an event.
        """
        return Outputs(
            _checked(method, "embed", self.embeddings, events, embedding_size),
            _checked(method, "log_probabilities", self.log_probabilities, events, classes),
        )

    def save(self, path: Path) -> None:
        """Write both arrays, whatever their shapes.

        Raises:
            NubenchError: when the disk is full or cannot be written.
        """
        arrays = {"embeddings": self.embeddings, "log_probabilities": self.log_probabilities}
        write_arrays(path, {name: array for name, array in arrays.items() if array is not None})

    @staticmethod
    def load(path: Path) -> Outputs:
        """Read what :meth:`save` wrote.

        Raises:
            PluginError: when the file is not of this form; whoever trained may have written it.
        """
        try:
            arrays = read_arrays(path)
        except DataError as error:
            raise PluginError(f"{path} does not hold the outputs of a model: {error}") from error
        return Outputs(arrays.get("embeddings"), arrays.get("log_probabilities"))


class OutputRows:
    """Collects what a model makes of E events, some of them at a time; large arrays lie on disk.

    Args:
        events: E.
        folder: see :func:`nubench.storage.large_arrays.empty_array`.
    """

    def __init__(self, events: int, folder: Path) -> None:
        self._events, self._folder = events, folder
        self._arrays: dict[str, Float32] | None = None

    @property
    def embedding_size(self) -> int | None:
        """D, or None as long as it is not known or when there are no embeddings."""
        return self._arrays["embeddings"].shape[1] if self._arrays and "embeddings" in self._arrays else None

    def put(self, index: Int64, made: Outputs, method: str) -> None:
        """Take the rows of the events in ``index`` (K,), as :meth:`Outputs.checked` returns them.

        Raises:
            PluginError: when the model gives other arrays than for the events before; ``method`` is for the message.
            NubenchError: when the disk is too full for them.
        """
        given = {name: rows for name, rows in vars(made).items() if rows is not None}
        if self._arrays is None:
            self._arrays = {
                name: empty_array((self._events, rows.shape[1]), np.float32, self._folder)
                for name, rows in given.items()
            }
        if given.keys() != self._arrays.keys():
            raise PluginError(
                f"method {method!r} returned {', '.join(self._arrays) or 'nothing'} for some events and "
                f"{', '.join(given) or 'nothing'} for others"
            )
        for name, rows in given.items():
            self._arrays[name][index] = rows

    def whole(self) -> Outputs:
        """What was put, in the order of the events; all of them must have been."""
        arrays = self._arrays or {}
        return Outputs(arrays.get("embeddings"), arrays.get("log_probabilities"))


def keyed_order(key: bytes, name: str, count: int) -> Int64:
    """Draw the order in which events are handed over: nobody without the key can tell it.

    Events are sorted by a keyed hash (BLAKE2b) of their position.

    Args:
        key: secret, :data:`KEY_SIZE` bytes.
        name: of what is handed over; each has an order of its own.
        count: E events.

    Returns:
        (E,) the position of the event that is handed over at each place.

    Example:
        >>> sorted(keyed_order(bytes(16), "nominal", 5).tolist())
        [0, 1, 2, 3, 4]
    """
    tags = bytearray()
    for i in range(count):
        tags += hashlib.blake2b(f"{name}/{i}".encode(), key=key, digest_size=16).digest()
    # Compared like the bytes of a tag: first its first half, as a big-endian number, then the other.
    halves = np.frombuffer(tags, ">u8").reshape(count, 2)
    return np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int64)


def save_events(path: Path, events: Events, labels: Int64 | None = None) -> None:
    """Write events, and their labels where they are given.

    Raises:
        NubenchError: when the disk is full or cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "offsets": events.offsets,
        "coords": events.coords,
        "features": events.features,
    }
    write_arrays(path, arrays if labels is None else {**arrays, "labels": labels})


def load_events(path: Path) -> Events:
    """Read the events that :func:`save_events` wrote; voxels of many events stay in the file and are mapped."""
    return _events(read_arrays(path, mapped=True))


def save_deposits(path: Path, deposits: Deposits, event_id: Int64) -> None:
    """Write true deposits of training events with the ids (E,) that key their noise.

    Raises:
        NubenchError: when the disk is full or cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(deposits, name) for name in _DEPOSITS}
    write_arrays(path, {**arrays, "event_id": event_id})


def load_deposits(path: Path) -> tuple[Deposits, Int64]:
    """Read what :func:`save_deposits` wrote."""
    arrays = read_arrays(path)
    return Deposits(**{name: arrays[name] for name in _DEPOSITS}), arrays["event_id"]


_DEPOSITS: Final = ("offsets", "start", "end", "energy", "time")


def _events(arrays: Mapping[str, Any]) -> Events:
    return Events(arrays["offsets"], arrays["coords"], arrays["features"])


def _checked(method: str, call: str, rows: Any, events: int, columns: int | None) -> Float32 | None:
    if rows is None:
        return None
    found = np.asarray(rows)
    if found.ndim != 2 or len(found) != events or (columns is not None and found.shape[1] != columns):
        expected = f"({events}, {columns or 'D'})"
        raise PluginError(f"method {method!r}: {call} returned an array of shape {found.shape}; expected {expected}")
    if not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
        raise PluginError(f"method {method!r}: {call} returned numbers of type {found.dtype}; expected float32")
    wrong = count_not_finite(found)
    if wrong:
        raise PluginError(f"method {method!r}: {call} returned {wrong} numbers that are not finite")
    return found.astype(np.float32, copy=False)
