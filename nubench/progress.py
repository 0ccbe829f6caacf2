"""Progress of long work: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LOG_INTERVAL_SECONDS = 15.0


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int, note: str = "") -> None:
        """Say that ``amount`` more units are done; ``note`` is shown beside them."""
        ...


class Progress(Protocol):
    """Where progress is shown."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """Show work of ``total`` units, ``done`` of them already, as long as the context lasts."""
        ...

    def say(self, message: str) -> None:
        """Print one line."""
        ...


class _BarTask:
    def __init__(self, bar: RichProgress, title: str, total: int, done: int) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=total, completed=done, note="")

    def advance(self, amount: int, note: str = "") -> None:
        self._bar.update(self._task, advance=amount, note=note)


class _LogTask:
    def __init__(self, console: Console, title: str, total: int, unit: str, done: int) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._done = self._first = done
        self._start = self._last = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= LOG_INTERVAL_SECONDS:
            self._last = now
            self._line(note)

    def _line(self, note: str) -> None:
        rate = (self._done - self._first) / max(time.monotonic() - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate > 0 else float("inf")
        self._console.print(
            f"{self._title}: {self._done:,}/{self._total:,} {self._unit}, {rate:,.0f} {self._unit}/s, "
            f"{left:,.0f} s left{'  ' + note if note else ''}",
            highlight=False,
        )

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        done = self._done - self._first
        rate = done / max(seconds, 1e-9)
        self._console.print(
            f"{self._title}: {done:,} {self._unit} in {seconds:,.1f} s ({rate:,.0f} {self._unit}/s)", highlight=False
        )


class ConsoleProgress:
    """Progress on a rich console; bars only where the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """See :meth:`Progress.task`."""
        if not self.console.is_terminal:
            log_task = _LogTask(self.console, title, total, unit, done)
            yield log_task
            log_task.finish()
            return
        with RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
        ) as bar:
            yield _BarTask(bar, title, total, done)

    def say(self, message: str) -> None:
        """See :meth:`Progress.say`."""
        self.console.print(message, highlight=False, markup=False)


class _SilentTask:
    def advance(self, amount: int, note: str = "") -> None:
        pass


class SilentProgress:
    """Shows nothing; for use from Python and in tests."""

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """See :meth:`Progress.task`."""
        yield _SilentTask()

    def say(self, message: str) -> None:
        """See :meth:`Progress.say`."""
