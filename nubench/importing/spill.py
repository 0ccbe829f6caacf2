"""Deposits put down in the order they are read and taken up in another, with little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from nubench.containers import Deposits, Int64, Primaries
from nubench.events.store import TruthChunk
from nubench.storage.files import require_space

#: Events sorted in memory at once.
BUCKET_EVENTS: Final = 4096
_EVENTS_A_CHUNK: Final = 512


class TruthSpill:
    """Scratch files that sort events by their id.

    Args:
        folder: an empty folder of its own.
        bucket_events: ids are sorted in memory this many at once.
    """

    def __init__(self, folder: Path, bucket_events: int = BUCKET_EVENTS) -> None:
        self._folder, self._size = folder, bucket_events
        self._pieces: dict[int, list[Path]] = {}

    def put(self, chunk: TruthChunk) -> None:
        """Keep some events, whose ids are final.

        Raises:
            NubenchError: when the disk is full.
        """
        buckets = chunk.primaries.event_id // self._size
        for bucket in np.unique(buckets).tolist():
            index = np.flatnonzero(buckets == bucket)
            pieces = self._pieces.setdefault(bucket, [])
            path = self._folder / f"{bucket}-{len(pieces)}.npz"
            columns = _columns(chunk, index)
            require_space(path, sum(column.nbytes for column in columns.values()))
            np.savez(path, **columns)
            pieces.append(path)

    def take(self, first: int, end: int) -> Iterator[TruthChunk]:
        """Give back the events with ids from ``first`` to before ``end``, by ascending id."""
        for bucket in sorted(self._pieces):
            if (bucket + 1) * self._size <= first or bucket * self._size >= end:
                continue
            whole = _join([_read(path) for path in self._pieces[bucket]])
            ids = whole.primaries.event_id
            order = np.argsort(ids)
            order = order[(ids[order] >= first) & (ids[order] < end)]
            for begin in range(0, len(order), _EVENTS_A_CHUNK):
                index = order[begin : begin + _EVENTS_A_CHUNK]
                yield TruthChunk(whole.primaries.select(index), whole.labels[index], whole.deposits.select(index))


def _columns(chunk: TruthChunk, index: Int64) -> dict[str, Any]:
    primaries, deposits = chunk.primaries.select(index), chunk.deposits.select(index)
    return {
        "labels": chunk.labels[index],
        **{f"primaries/{field.name}": getattr(primaries, field.name) for field in fields(Primaries)},
        **{f"deposits/{field.name}": getattr(deposits, field.name) for field in fields(Deposits)},
    }


def _read(path: Path) -> TruthChunk:
    with np.load(path, allow_pickle=False) as archive:
        return TruthChunk(
            Primaries(**{field.name: archive[f"primaries/{field.name}"] for field in fields(Primaries)}),
            archive["labels"],
            Deposits(**{field.name: archive[f"deposits/{field.name}"] for field in fields(Deposits)}),
        )


def _join(chunks: list[TruthChunk]) -> TruthChunk:
    return TruthChunk(
        Primaries.concatenate([chunk.primaries for chunk in chunks]),
        np.concatenate([chunk.labels for chunk in chunks]),
        Deposits.concatenate([chunk.deposits for chunk in chunks]),
    )
