"""Who shares a training, and which events of a batch each has; see docs/clusters.md.

A network that treats each event by itself needs to know its share for one thing only: what it draws at random for an
event must not depend on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seat:
    """The place of a process among those that share a training, all on this machine.

    Attributes:
        number: from 0; it is also the number of its GPU.
        processes: how many there are.
        port: where they meet.
    """

    number: int
    processes: int
    port: int


@dataclass(frozen=True)
class EventShare:
    """Events ``first`` to ``stop - 1`` of a batch of ``whole``."""

    first: int
    stop: int
    whole: int


_CURRENT: ContextVar[EventShare | None] = ContextVar("event_share", default=None)


def equal_shares(events: int, processes: int) -> list[EventShare]:
    """Share out a batch, in order; no share is larger than another by more than one event.

    Example:
        >>> [(share.first, share.stop) for share in equal_shares(7, 3)]
        [(0, 2), (2, 4), (4, 7)]
    """
    bounds = [events * process // processes for process in range(processes + 1)]
    return [EventShare(first, stop, events) for first, stop in pairwise(bounds)]


def current_share() -> EventShare | None:
    """The share that the network is at; None where it has the whole batch."""
    return _CURRENT.get()


@contextmanager
def at_share(share: EventShare) -> Iterator[None]:
    """What the network draws in this context is drawn for one share of a batch."""
    token = _CURRENT.set(share)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def draw_per_event(draw: Callable[[int], torch.Tensor], events: int) -> torch.Tensor:
    """Draw something for each event of a batch that a network is handed, so that one process would draw the same.

    Args:
        draw: from a number of events n to n rows.
        events: B, of the batch that the network is handed.

    Returns:
        B rows: all that was drawn, or of what was drawn for the whole batch the rows of this process.
    """
    share = _CURRENT.get()
    if share is None:
        return draw(events)
    if share.stop - share.first != events:
        raise ValueError(f"the network is at {share.stop - share.first} events of a batch; {events} were drawn for")
    return draw(share.whole)[share.first : share.stop]
