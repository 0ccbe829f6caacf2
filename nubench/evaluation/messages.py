"""Lines of JSON between the evaluation and a sealed child; nothing is unpickled on either side.

Before the first of them, the evaluation sends the folders that bound the child, then its order; the child answers
{"confined": true} where the system keeps it within them.

evaluation -> child                              child -> evaluation
{"command": "fit"}                               {"kind": "done", "value": null}
{"command": "source", "split", "outputs"}        the same, when the arrays are in the file "outputs"
{"command": "outputs", "events", "outputs"}      the same, for the events in the file "events"
{"command": "report"}                            {"kind": "done", "value": {...}}
{"command": "deposits", "file"}                  after {"kind": "deposits"}, in the course of "fit"
                                                 {"kind": "say" | "task" | "advance" | "end", ...}, at any time
                                                 {"kind": "error", "error", "message"} in place of "done"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from pydantic import BaseModel, ConfigDict

from nubench.errors import DataError, NubenchError, PluginError, UsageError
from nubench.evaluation.trainee import Job
from nubench.progress import Progress, Task

#: Errors that are raised again on the other side as what they were.
ERRORS: Final[dict[str, type[NubenchError]]] = {
    error.__name__: error for error in (NubenchError, UsageError, DataError, PluginError)
}


class Order(BaseModel):
    """What a sealed child is started with.

    Attributes:
        job: what its training is told.
        plugin_files: Python files to load as plugins.
        method, backbone: ``distribution:name`` of what is trained.
        detector: the same of the response that can simulate the training events again, or None.
        handout: folder of the events that it is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Job
    plugin_files: tuple[Path, ...]
    method: str
    backbone: str
    detector: str | None
    handout: Path


class Sender:
    """The writing end of a pipe; threads may share it."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Write one message.

        Raises:
            BrokenPipeError: when nobody reads any more.
        """
        with self._lock:
            self._pipe.write(json.dumps(message) + "\n")
            self._pipe.flush()


class _RemoteTask:
    def __init__(self, sender: Sender, number: int) -> None:
        self._sender, self._number = sender, number

    def advance(self, amount: int, note: str = "") -> None:
        self._sender.send(kind="advance", task=self._number, amount=int(amount), note=str(note))


class RemoteProgress:
    """In the child: progress that the evaluation shows; see :class:`nubench.progress.Progress`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._tasks = 0

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """See :meth:`nubench.progress.Progress.task`."""
        self._tasks += 1
        number = self._tasks
        self._sender.send(kind="task", task=number, title=str(title), total=int(total), unit=str(unit), done=int(done))
        try:
            yield _RemoteTask(self._sender, number)
        finally:
            # Where the parent is gone, what ended the training must not be hidden by this.
            with suppress(BrokenPipeError):
                self._sender.send(kind="end", task=number)

    def say(self, message: str) -> None:
        """See :meth:`nubench.progress.Progress.say`."""
        self._sender.send(kind="say", message=str(message))


class ProgressRelay:
    """In the evaluation: shows what a child reports of its progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[int, tuple[Task, ExitStack]] = {}

    def show(self, message: dict[str, Any]) -> bool:
        """Show a message of one of the kinds of progress; False for any other.

        Raises:
            KeyError, TypeError, ValueError: when the message is none that a child of this version sends.
        """
        kind = message.get("kind")
        if kind == "say":
            self._progress.say(str(message["message"]))
        elif kind == "task":
            stack = ExitStack()
            bar: AbstractContextManager[Task] = self._progress.task(
                str(message["title"]), int(message["total"]), str(message["unit"]), int(message["done"])
            )
            self._open[int(message["task"])] = stack.enter_context(bar), stack
        elif kind == "advance":
            self._open[int(message["task"])][0].advance(int(message["amount"]), str(message["note"]))
        elif kind == "end":
            self._open.pop(int(message["task"]))[1].close()
        else:
            return False
        return True

    def close(self) -> None:
        """End what a child left open."""
        while self._open:
            self._open.popitem()[1][1].close()
