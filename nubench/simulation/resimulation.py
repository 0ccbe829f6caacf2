"""Simulate the response to the same true deposits again and again, each time under another detector.

A method that trains on such pairs learns what does not depend on the detector. Nothing here knows a detector: its
response and the way its working points are drawn are handed in, and so is the container of the deposits, which may
keep them in the memory of an accelerator.

    resimulator = Resimulator(deposits, event_id, simulate_draws, draw_parameters)
    first, second = resimulator.draws(batch, seed=0, step=17)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from nubench.containers import Int64
from nubench.errors import UsageError
from nubench.simulation.random_streams import SEED_LIMIT, event_key


class Selectable(Protocol):
    """Deposits of many events, wherever they are kept; :class:`~nubench.containers.Deposits` is one."""

    def __len__(self) -> int:
        """Count the events."""
        ...

    def select(self, index: npt.NDArray[np.integer]) -> Self:
        """Return the deposits of the events in ``index`` (K,)."""
        ...


D = TypeVar("D", bound=Selectable)
P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
P_co = TypeVar("P_co", covariant=True)
D_contra = TypeVar("D_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Respond(Protocol[D_contra, P_contra, R_co]):
    """A back end: the response to the same E events in several draws."""

    def __call__(
        self,
        deposits: D_contra,
        event_id: Int64,
        parameters: Sequence[Sequence[P_contra]],
        seeds: Sequence[int],
        /,
    ) -> Sequence[R_co]:
        """Simulate each draw: its E working points, one an event, and the seed of its noise.

        What an event gives must depend on its deposits, its id, its working point and the seed alone.
        """
        ...


class Draw(Protocol[P_co]):
    """How working points are drawn."""

    def __call__(self, seed: int, event_id: Int64, /) -> Sequence[P_co]:
        """Draw one for each of the E events, from the seed and the event's id alone."""
        ...


class Resimulator(Generic[D, P, R]):
    """The deposits of a data set, ready to be simulated again.

    Args:
        deposits: of E events.
        event_id: (E,) int64, what keys the noise and the working point of each event.
        respond: the back end, such as :func:`nubench.simulation.lartpc.simulate_draws`.
        draw: what draws working points, such as :func:`nubench.simulation.lartpc.draw_parameters`.

    Attributes:
        seconds: that its simulations have taken until now.

    Raises:
        UsageError: when there is not one id for each event.
    """

    def __init__(self, deposits: D, event_id: Int64, respond: Respond[D, P, R], draw: Draw[P]) -> None:
        if event_id.shape != (len(deposits),):
            raise UsageError(f"event_id must have one entry for each of {len(deposits)} events; got {event_id.shape}")
        self._deposits = deposits
        self._event_id = event_id
        self._respond = respond
        self._draw = draw
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._event_id)

    def events(self, index: npt.NDArray[np.integer], parameters: Sequence[P], seed: int) -> R:
        """Simulate some events, each under its own working point.

        Args:
            index: (B,) which events, in any order.
            parameters: B working points.
            seed: of the noise.
        """
        with self._timed():
            return self._respond(self._deposits.select(index), self._event_id[index], [parameters], [seed])[0]

    def draws(self, index: npt.NDArray[np.integer], seed: int, step: int, number: int = 2) -> list[R]:
        """Simulate some events ``number`` times, with independent working points and noise in each.

        What an event gives depends on ``seed``, ``step``, the number of the draw and the event's id: not on the batch
        that it is in.

        Args:
            index: (B,) which events, in any order.
            seed: from 0 to 2^64 - 1.
            step: of the training, 0 or above: each has draws of its own.
            number: of draws.

        Raises:
            UsageError: when an argument is out of range.
        """
        seeds = [draw_seed(seed, step, draw) for draw in range(number)]
        event_id = self._event_id[index]
        with self._timed():
            parameters = [self._draw(each, event_id) for each in seeds]
            return list(self._respond(self._deposits.select(index), event_id, parameters, seeds))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - start


def draw_seed(seed: int, step: int, draw: int) -> int:
    """Derive the seed of one draw of one step of a training.

    Raises:
        UsageError: when an argument is out of range.
    """
    for name, value, limit in (("seed", seed, SEED_LIMIT), ("step", step, 2**63), ("draw", draw, 2**63)):
        if not 0 <= value < limit:
            raise UsageError(f"{name} must be 0 or above, and below {limit}; got {value!r}")
    of_step = event_key(np.uint64(seed), np.uint64(step))
    return int(event_key(np.uint64(of_step), np.uint64(draw)))
