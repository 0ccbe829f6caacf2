"""Batches made ready in a thread while the step before runs, in the order in which they are asked for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from nubench.containers import Events, Int64
from nubench.sparse.batch import SparseBatch

Item = TypeVar("Item")


@dataclass(frozen=True)
class _End:
    """What stands behind the last item: nothing, or the error that ended them."""

    error: BaseException | None


class Prefetcher(Iterator[Item], Generic[Item]):
    """Iterate in a thread, a few items ahead of whoever asks for them.

    One thread makes all items, so their order, and anything drawn at random for them, is as without it. An error is
    raised in place of the item that could not be made. Close it, best by ``with``: the thread then ends once the
    item in the making is done.

    Attributes:
        seconds_waited: how long ``next`` had to wait so far.

    Args:
        items: iterated in the thread; it must not use torch's global random generator, which the step uses.
        ahead: how many items may be ready or in the making.

    Raises:
        ValueError: when ``ahead`` is not positive.

    Example:
        >>> with Prefetcher(range(3)) as numbers:
        ...     list(numbers)
        [0, 1, 2]
    """

    def __init__(self, items: Iterable[Item], ahead: int = 2) -> None:
        if ahead < 1:
            raise ValueError(f"ahead must be at least 1; got {ahead}")
        self.seconds_waited = 0.0
        self._ready: queue.SimpleQueue[tuple[Item] | _End] = queue.SimpleQueue()
        self._free = threading.Semaphore(ahead)
        self._closed = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._make, args=(iter(items),), name="prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        """Return the next item, when it is ready."""
        if self._ended or self._closed.is_set():
            raise StopIteration
        start = time.perf_counter()
        entry = self._ready.get()
        self.seconds_waited += time.perf_counter() - start
        if isinstance(entry, _End):
            self._ended = True
            raise StopIteration if entry.error is None else entry.error
        self._free.release()
        return entry[0]

    def close(self) -> None:
        """Make no more items and wait for the thread to end."""
        self._closed.set()
        self._free.release()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _make(self, items: Iterator[Item]) -> None:
        try:
            while True:
                self._free.acquire()
                if self._closed.is_set():
                    break
                self._ready.put((next(items),))
        except StopIteration:
            self._ready.put(_End(None))
        except BaseException as error:  # whatever it is belongs to whoever asks for the item
            self._ready.put(_End(error))
        if isinstance(items, Generator):
            items.close()


class ResidentEvents:
    """Events of a data set in the memory of a device, out of which batches are gathered there.

    Only the index of a batch goes to the device. 200,000 events of 530 voxels take 1.7 GB.

    Args:
        events: raw events.
        offset, scale: normalisation of the features, in units of the raw feature.
        device: where to.

    Raises:
        ValueError: when the scale is not positive, or an event has no voxels.
    """

    def __init__(self, events: Events, offset: float, scale: float, device: torch.device | str) -> None:
        whole = SparseBatch.from_events(events, None, offset, scale).to(device)
        self._coords, self._features, self._offsets = whole.coords, whole.features, whole.offsets
        # Kept here as well: the number of rows of a batch is then known without asking the device.
        self._lengths = events.voxels_per_event

    def batch(self, index: Int64) -> SparseBatch:
        """Gather what :meth:`SparseBatch.from_events` makes of (B,) ``index``, on the device."""
        chosen = torch.from_numpy(index).to(self._offsets.device, non_blocking=True)
        lengths = self._offsets[chosen + 1] - self._offsets[chosen]
        rows = int(self._lengths[index].sum())
        event = torch.repeat_interleave(torch.arange(len(index), device=chosen.device), lengths, output_size=rows)
        first = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        row = torch.arange(rows, device=chosen.device) + (self._offsets[chosen] - first[:-1])[event]
        return SparseBatch(self._coords[row], event, self._features[row], len(index))


def ready_batches(
    events: Events, indices: Iterable[Int64], offset: float, scale: float, device: torch.device | str
) -> Iterator[tuple[Int64, SparseBatch]]:
    """Collate batches on a device: each index, and what :meth:`SparseBatch.from_events` makes of it.

    For a GPU all events are brought to its memory once and gathered there; on the CPU they stay where they are.

    Args:
        events: raw events.
        indices: (B,) events of each batch.
        offset, scale: normalisation of the features, in units of the raw feature.
        device: where to.
    """
    if torch.device(device).type == "cpu":
        for index in indices:
            yield index, SparseBatch.from_events(events, index, offset, scale)
    else:
        resident = ResidentEvents(events, offset, scale, device)
        for index in indices:
            yield index, resident.batch(index)
