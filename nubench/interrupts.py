"""Stop when asked to: by Ctrl-C, by the end of a job's time, or by a cluster that wants its machine back.

A process that listens, see :func:`listen`, ends on SIGINT, SIGTERM and SIGUSR2 alike, with :class:`Interrupted`: at
once, or where work is under way that can be kept, at the next step, by the work itself.

"At once" is between any two steps of the interpreter, and so also inside a callback that compiled code called: a
destructor, the removal of a weak reference, a question that LLVM asks. Nothing raised there gets out; at worst the
caller goes on with an answer that it never got. Such a signal comes again a moment later.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Of Ctrl-C and ``kill``; of a cluster shortly before a job's time is up, as submitit asks it to.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

#: Packages whose callbacks must end as they mean to: LLVM takes a file from one, and crashes where it gets none.
_NOT_WITHIN: Final = ("llvmlite",)
_SECONDS_UNTIL_AGAIN: Final = 0.02


class Interrupted(KeyboardInterrupt):
    """The process was asked to stop; what was kept is gone on with the next time.

    It is a ``KeyboardInterrupt``, so that whatever cleans up after Ctrl-C cleans up after this.
    """


class _State:
    asked = False
    deferring = 0


def listen() -> None:
    """From now on, SIGINT, SIGTERM and SIGUSR2 stop this process in an orderly way; for its main thread to call."""
    for number in (*SIGNALS, signal.SIGALRM):
        signal.signal(number, _on_signal)
    sys.unraisablehook = _on_unraisable


@contextmanager
def listening() -> Iterator[None]:
    """As :func:`listen`, for as long as the context lasts; outside a main thread it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = [(number, signal.getsignal(number)) for number in (*SIGNALS, signal.SIGALRM)]
    hook = sys.unraisablehook
    listen()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if _State.asked:
            # It must not come again to whoever does not listen.
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous:
            signal.signal(number, handler)
        _State.asked = False


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """In this context a signal only leaves its mark; the work asks for it, keeps what it has, and raises.

    Without :func:`listen` nothing is deferred. Where the context ends without an error and nobody heeded the mark, it
    raises.

    Yields:
        a function that tells whether the process was asked to stop.

    Raises:
        Interrupted: at its end, when the mark is there.
    """
    _State.deferring += 1
    try:
        yield stop_asked
    finally:
        _State.deferring -= 1
    if _State.asked and not _State.deferring:
        raise Interrupted


def stop_asked() -> bool:
    """Whether a signal has asked this process to stop."""
    return _State.asked


def _on_signal(number: int, frame: FrameType | None) -> None:
    _State.asked = True
    if _State.deferring:
        return
    if _is_within(frame, _NOT_WITHIN):
        _come_again()
        return
    raise Interrupted


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if issubclass(unraisable.exc_type, Interrupted):
        _come_again()
    else:
        sys.__unraisablehook__(unraisable)


def _come_again() -> None:
    # A limit of time that somebody set has the alarm already; the mark stays, and the next work heeds it.
    if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_UNTIL_AGAIN)


def _is_within(frame: FrameType | None, packages: tuple[str, ...]) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in packages:
            return True
        frame = frame.f_back
    return False
