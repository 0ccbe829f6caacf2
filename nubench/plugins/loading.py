"""Importing what may be broken: entry points of strangers and files given by hand, within a limit of time."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final

from pluggy import PluginValidationError

from nubench.errors import NubenchError, PluginError, UsageError

ALLOW_LIST_VARIABLE: Final = "NUBENCH_PLUGINS"
SECONDS_VARIABLE: Final = "NUBENCH_PLUGIN_SECONDS"
DEFAULT_SECONDS: Final = 10.0


class OutOfTime(BaseException):
    """Code of a plugin took longer than the limit. Not an Exception, so that code that catches those lets it pass."""


def allow_list() -> set[str] | None:
    """The names in ``NUBENCH_PLUGINS``; None where it is not set and everything is allowed."""
    value = os.environ.get(ALLOW_LIST_VARIABLE)
    if value is None:
        return None
    return {name.strip() for name in value.split(",") if name.strip()}


def seconds_allowed() -> float:
    """Seconds that a stranger's plugin may take to be imported, and again for each hook; 0 is no limit.

    Raises:
        UsageError: when ``NUBENCH_PLUGIN_SECONDS`` is no such number.
    """
    text = os.environ.get(SECONDS_VARIABLE, str(DEFAULT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{SECONDS_VARIABLE}={text!r} is not accepted: a number of seconds, or 0 for no limit")
    return seconds


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the code inside after some seconds of wall time; 0 is no limit.

    It rests on the alarm signal. So it works in the main thread only, and compiled code that never returns to Python is
    not interrupted; elsewhere there is no limit.

    Raises:
        OutOfTime: when the time is up.
    """
    if seconds <= 0 or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"took longer than {seconds:g} s; {SECONDS_VARIABLE} sets another limit, 0 none")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def distribution_of(entry_point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that declares an entry point."""
    if entry_point.dist is None:
        return "unknown", "unknown"
    return entry_point.dist.name, entry_point.dist.version


def load_entry_point(entry_point: EntryPoint) -> ModuleType:
    """Import what an entry point names.

    Raises:
        PluginError: when it is no module. Whatever the import raises passes through.
    """
    module = entry_point.load()
    if not isinstance(module, ModuleType):
        raise PluginError(
            f"the entry point names {entry_point.value!r}, which is no module; leave out the part after the colon"
        )
    return module


def import_file(file: Path) -> ModuleType:
    """Import a Python file.

    Raises:
        UsageError: when it does not exist or cannot be imported.
    """
    if not file.is_file():
        raise UsageError(f"--plugin {str(file)!r} is not a file; it must be the path of a Python file")
    name = f"nubench_plugin_file_{file.stem}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise UsageError(f"--plugin {str(file)!r} cannot be imported; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    # Classes find their module by its name, when a dataclass is made for one.
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"--plugin {str(file)!r} cannot be imported: {reason_of(error)}") from error
    return module


def reason_of(error: BaseException) -> str:
    """One line on what went wrong, and where where the message does not say."""
    message = " ".join(str(error).split())
    if isinstance(error, NubenchError | OutOfTime):
        return message
    # What cannot be parsed, or has no such hook, says where itself; the traceback ends in what found it.
    if isinstance(error, SyntaxError | PluginValidationError):
        return f"{type(error).__name__}: {message}"
    # The import machinery stands below what the author wrote.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{where}"
