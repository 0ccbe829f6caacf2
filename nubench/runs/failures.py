"""What is kept of a run that failed: enough to see why, until the run succeeds."""

from __future__ import annotations

import json
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from nubench import environment
from nubench.errors import DataError, NubenchError
from nubench.foreign_text import printable_lines
from nubench.problems import problems_of
from nubench.progress import Progress, Task
from nubench.storage.files import write_atomically

FOLDER: Final = "failures"
_LINES_KEPT: Final = 20


class Failure(BaseModel):
    """One run that failed.

    Attributes:
        method, dataset, shift, source, profile, seed: what was to be run.
        error: name of the exception's class.
        message: its text, after that name where nothing else says what kind of exception it was.
        where: ``file:line in function`` of the plugin's last line that an exception passed, and the line itself; None
            where no plugin is to blame, or it ran in another process: then the message has it.
        log: the last lines that were printed before.
        git_revision: of the checkout; None outside one.
        created: when it failed, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    dataset: str
    shift: str
    source: str
    profile: str
    seed: int
    error: str
    message: str
    where: str | None
    log: tuple[str, ...]
    git_revision: str | None
    created: AwareDatetime

    @property
    def reason(self) -> str:
        """One line or a few for people, without what a terminal obeys."""
        # What failed in a plugin's own call names the line already, so that it comes out of a sealed training.
        named = f"{self.message} ({self.where})" if self.where and self.where not in self.message else self.message
        return printable_lines(named)


def failure_of(
    error: BaseException,
    *,
    method: str,
    dataset: str,
    shift: str,
    source: str,
    profile: str,
    seed: int,
    plugin_file: str | None = None,
    log: tuple[str, ...] = (),
) -> Failure:
    """Describe an exception that ended a run.

    Args:
        error: with its traceback.
        method, dataset, shift, source, profile, seed: what was to be run.
        plugin_file: of the method.
        log: the last lines that were printed.
    """
    explained = isinstance(error, NubenchError)
    return Failure(
        method=method,
        dataset=dataset,
        shift=shift,
        source=source,
        profile=profile,
        seed=seed,
        error=type(error).__name__,
        message=str(error) if explained else f"{type(error).__name__}: {error}",
        where=line_of(error.__cause__, plugin_file) if explained else line_of(error, plugin_file) or _last_line(error),
        log=log,
        git_revision=environment.git_revision(),
        created=datetime.now(UTC),
    )


class FailureBook:
    """The failed runs in a cache, one file each.

    Args:
        cache: the folder of the cache.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / FOLDER

    def find(self, name: str) -> Failure | None:
        """Return what is kept under a name, or None.

        Raises:
            DataError: when the file is damaged.
        """
        file = self._file(name)
        try:
            return Failure.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise DataError(f"{file} is no record of a failed run; remove it: {problems_of(error)[0]}") from error

    def keep(self, name: str, failure: Failure) -> Path:
        """Write a failure down; returns the file.

        Raises:
            NubenchError: when it cannot be written.
        """
        file = self._file(name)
        write_atomically(file, (json.dumps(failure.model_dump(mode="json"), indent=1) + "\n").encode())
        return file

    def forget(self, name: str) -> None:
        """Remove what is kept under a name, if anything is."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


class RememberingProgress:
    """Shows progress where another does, and remembers the last lines; see :class:`nubench.progress.Progress`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, the oldest first."""
        return tuple(self._lines)

    def forget(self) -> None:
        """Start anew."""
        self._lines.clear()

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """See :meth:`nubench.progress.Progress.task`."""
        self._lines.append(f"{title}: {total:,} {unit}")
        with self._progress.task(title, total, unit, done) as task:
            yield task

    def say(self, message: str) -> None:
        """See :meth:`nubench.progress.Progress.say`."""
        self._lines.append(message)
        self._progress.say(message)


def line_of(error: BaseException | None, file: str | None) -> str | None:
    """The last line of a file that an exception passed, as ``file:line in function: text``; None where there is none.

    Args:
        error: with its traceback, or None.
        file: as Python names it, of a plugin; None where that is not known.
    """
    frames = [frame for frame in _frames(error) if file is not None and frame.filename == file]
    return _text(frames[-1]) if frames else None


def _last_line(error: BaseException) -> str | None:
    frames = _frames(error)
    return _text(frames[-1]) if frames else None


def _frames(error: BaseException | None) -> list[traceback.FrameSummary]:
    return traceback.extract_tb(error.__traceback__) if error else []


def _text(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
