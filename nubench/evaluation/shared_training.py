"""The evaluation's side of a training on several devices: a sealed child for each, of which the first one answers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nubench.containers import Events
from nubench.errors import NubenchError
from nubench.evaluation.handout import Handout, Outputs, SourceSplit
from nubench.evaluation.messages import Order
from nubench.evaluation.sealed import SealedTraining
from nubench.evaluation.trainee import DepositSource, Report
from nubench.progress import Progress, SilentProgress
from nubench.shares import Seat

#: The first child is told by its connections that another one is gone, or is ended after so long.
_SECONDS_TO_NOTICE: Final = 10.0
_LONGEST_LOG: Final = 20_000


def sealed_training(
    order: Order,
    handout: Handout,
    forbidden: Sequence[Path],
    progress: Progress,
    deposits: DepositSource | None,
    devices: int,
) -> SealedTraining | SharedTraining:
    """A training in one sealed child, or in one a device; see both classes for the arguments."""
    if devices == 1:
        return SealedTraining(order, handout, forbidden, progress, deposits)
    return SharedTraining(order, handout, forbidden, progress, deposits, devices)


class SharedTraining:
    """A training in one sealed child a device; used as a context, at whose end they are gone.

    The first child trains, answers and writes files as that of a training on one device does. The others help it in
    ``fit`` and are ended behind it. See :mod:`nubench.training.sharing`.

    Args:
        order, handout, forbidden, progress, deposits: as of :class:`nubench.evaluation.sealed.SealedTraining`.
        devices: number of children.
    """

    def __init__(
        self,
        order: Order,
        handout: Handout,
        forbidden: Sequence[Path],
        progress: Progress,
        deposits: DepositSource | None,
        devices: int,
    ) -> None:
        from nubench.training.processes import meeting_place

        # Kept as long as they may want to meet.
        self._place = meeting_place()
        threads = max(1, (order.job.threads or devices) // devices)

        def of(number: int) -> Order:
            seat = Seat(number, devices, self._place.port)
            return order.model_copy(update={"job": order.job.model_copy(update={"seat": seat, "threads": threads})})

        self._first = SealedTraining(of(0), handout, forbidden, progress, deposits)
        self._others = [SealedTraining(of(n), None, forbidden, SilentProgress()) for n in range(1, devices)]
        self._entered: list[SealedTraining] = []
        self._over = threading.Event()
        self._ended_first = False
        self._failures: list[tuple[SealedTraining, BaseException]] = []

    def __enter__(self) -> Self:
        try:
            for child in (self._first, *self._others):
                child.__enter__()
                self._entered.append(child)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, []
        try:
            # When it is interrupted, all stop behind the same step: the others are needed until it has ended.
            if entered:
                entered[0].__exit__(kind, error, traceback)
        finally:
            for child in entered[1:]:
                child.kill()
                child.__exit__(None, None, None)

    @property
    def confined(self) -> bool:
        """See :class:`nubench.evaluation.trainee.TrainingSession`; of all children."""
        return all(child.confined for child in self._entered)

    def fit(self) -> None:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.fit`.

        Raises:
            NubenchError: what the method raised in the first process in which it did, or how that ended.
        """
        helpers = [threading.Thread(target=self._help, args=(other,), daemon=True) for other in self._others]
        for helper in helpers:
            helper.start()
        try:
            self._first.fit()
        except NubenchError as error:
            raise self._cause(error) from None
        finally:
            self._over.set()
        # What they have learnt, the first has as well.
        for other, helper in zip(self._others, helpers, strict=True):
            other.kill()
            helper.join()

    def source_outputs(self, split: SourceSplit) -> Outputs:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.source_outputs`."""
        return self._first.source_outputs(split)

    def outputs(self, events: Events) -> Outputs:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.outputs`."""
        return self._first.outputs(events)

    def report(self) -> Report:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.report`; time and memory are the first child's."""
        return self._first.report()

    def _help(self, other: SealedTraining) -> None:
        """Have a child help, in a thread of its own."""
        try:
            other.fit()
        except BaseException as error:
            if self._over.is_set():
                return
            self._failures.append((other, error))
            # On a GPU, the first would wait for half an hour.
            if not self._over.wait(_SECONDS_TO_NOTICE):
                self._ended_first = True
                self._first.kill()

    def _cause(self, error: NubenchError) -> BaseException:
        """The error that came first: those of the others follow from it."""
        if not self._failures:
            return error
        other, earlier = self._failures[0]
        if isinstance(earlier, NubenchError) and (self._ended_first or str(earlier) != str(error)):
            printed = other.log.read_bytes()[-_LONGEST_LOG:]
            sys.stderr.write(printed.decode(errors="replace"))
            number = 2 + self._others.index(other)
            return type(earlier)(f"process {number} of {len(self._others) + 1}: {earlier}")
        return earlier
