"""Signals: at once, or where the work can keep what it has; in a process of its own, as they are the process's."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FunctionType

import pytest

from nubench.interrupts import SIGNALS, Interrupted, listening

PROGRAM = """
import os, signal, sys
from nubench.interrupts import Interrupted, deferred, listen, stop_asked
listen()
number = int(sys.argv[1])
try:
    {body}
except KeyboardInterrupt as error:
    print(type(error).__name__, stop_asked())
"""
AT_ONCE = "os.kill(os.getpid(), number); signal.pause(); print('not reached')"
HEEDED = """
    with deferred() as asked:
        os.kill(os.getpid(), number)
        while not asked(): pass
        print('kept')
        raise Interrupted
"""
NOT_HEEDED = """
    with deferred():
        with deferred():
            os.kill(os.getpid(), number)
            while not stop_asked(): pass
        print('the inner one goes on')
    print('not reached')
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize(
    ("body", "printed"), [(AT_ONCE, []), (HEEDED, ["kept"]), (NOT_HEEDED, ["the inner one goes on"])]
)
def test_a_signal_stops_in_an_orderly_way(number: signal.Signals, body: str, printed: list[str]) -> None:
    code = PROGRAM.format(body=body.strip())
    command = [sys.executable, "-c", code, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [*printed, "Interrupted True"]


def test_without_a_signal_nothing_happens() -> None:
    code = "from nubench.interrupts import deferred\nwith deferred() as asked: print(asked())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_a_context_gives_the_signals_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with listening():
        assert len({signal.getsignal(number) for number in SIGNALS}) == 1
    assert [signal.getsignal(number) for number in SIGNALS] == before


class _SignalsWhileItGoes:
    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)
        time.sleep(0.001)


def _lose_a_signal(number: int) -> None:
    left = _SignalsWhileItGoes(number)
    del left
    time.sleep(10)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_lost_in_a_destructor_comes_again(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted), listening():
        _lose_a_signal(number)
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""


def test_other_errors_of_destructors_are_still_reported(capfd: pytest.CaptureFixture[str]) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("no good")

    with listening():
        left = Fails()
        del left
    assert "no good" in capfd.readouterr().err


def test_a_callback_of_llvm_ends_before_a_signal_takes_effect() -> None:
    ended: list[bool] = []

    def callback() -> None:
        signal.raise_signal(signal.SIGINT)
        ended.append(True)
        time.sleep(0.001)

    # The same function as one of a module of that package.
    within_llvm = FunctionType(
        callback.__code__, {**globals(), "__name__": "llvmlite.binding"}, closure=callback.__closure__
    )

    def compile_something() -> None:
        within_llvm()
        time.sleep(10)

    with pytest.raises(Interrupted), listening():
        compile_something()
    assert ended == [True]


def test_nothing_comes_again_to_who_does_not_listen() -> None:
    with suppress(Interrupted), listening():
        left = _SignalsWhileItGoes(signal.SIGINT)
        del left
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
