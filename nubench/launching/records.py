"""What is known of launched work, as files: nothing else is asked by ``nubench status``.

Each piece of work has a folder in ``CACHE/launched``. In it, ``submission.json`` is written by the process that submits
it, ``job.json`` by the job itself: neither can overwrite what the other knows. Of a job that was killed, the process
that started it writes ``job.json`` afterwards.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nubench.errors import DataError
from nubench.launching.commands import RunCommand
from nubench.launching.processes import Process
from nubench.problems import problems_of
from nubench.storage.files import write_atomically

LAUNCHED: Final = "launched"
_SUBMISSION, _JOB = "submission.json", "job.json"

JobState = Literal["running", "pre-empted", "finished", "failed", "cancelled"]
#: What a job says last.
ENDED: Final[tuple[JobState, ...]] = ("finished", "failed", "cancelled")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Any = TypeVar("_Any", bound=_Record)


class Submission(_Record):
    """What was submitted.

    Attributes:
        name: of the folder.
        cell: what is run; None for the building of data.
        command: the words of the command, python first.
        launcher: ``"slurm"`` or ``"local"``.
        job: the scheduler's name of the job; None until the scheduler has it.
        log: file that the job's output is appended to; None until the scheduler has it.
        submitted: when.
        submitter: the process that submits it, or starts it when its turn comes; None in older records.
    """

    name: str
    cell: RunCommand | None
    command: tuple[str, ...]
    launcher: str
    job: str | None = None
    log: str | None = None
    submitted: datetime
    submitter: Process | None = None


class JobRecord(_Record):
    """How a job fares, in its own words.

    Attributes:
        state: ``pre-empted`` jobs wait to be started again.
        host, pid: where it runs or ran last.
        starts: how many times it was started.
        started: when it was started first.
        seen: when it last gave a sign of life.
        note: the last line that it printed.
        exit_code: of the command, once it has ended; minus the number of the signal that ended it.
        process_start: tells its process from later ones of the same number; None in older records.
    """

    state: JobState
    host: str
    pid: int
    starts: int
    started: datetime
    seen: datetime
    note: str = ""
    exit_code: int | None = None
    process_start: str | None = None

    @property
    def process(self) -> Process:
        """In which it runs or ran last."""
        return Process(host=self.host, pid=self.pid, start=self.process_start)


class Launched:
    """The folder of one piece of launched work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def called(cls, cache: Path, name: str) -> Launched:
        """The folder of that name, which need not be there."""
        return cls(cache / LAUNCHED / name)

    def submission(self) -> Submission | None:
        """What was submitted, or None.

        Raises:
            DataError: when the file is damaged.
        """
        return _read(self.folder / _SUBMISSION, Submission)

    def job(self) -> JobRecord | None:
        """How its job fares, or None before it has started.

        Raises:
            DataError: when the file is damaged.
        """
        return _read(self.folder / _JOB, JobRecord)

    def write_submission(self, submission: Submission) -> None:
        """Keep what is submitted."""
        write_atomically(self.folder / _SUBMISSION, _text(submission))

    def enter(self, job: str, log: str | Path) -> None:
        """Keep what a scheduler calls the job of this submission, and where its output goes."""
        submission = self.submission()
        assert submission is not None
        self.write_submission(submission.model_copy(update={"job": job, "log": os.fspath(log)}))

    def write_job(self, record: JobRecord) -> None:
        """Keep how the job fares."""
        write_atomically(self.folder / _JOB, _text(record))

    def forget(self) -> None:
        """Remove what is known of an earlier submission; the folder too, unless somebody writes into it."""
        with suppress(OSError):
            (self.folder / _JOB).unlink(missing_ok=True)
            (self.folder / _SUBMISSION).unlink(missing_ok=True)
            self.folder.rmdir()


def all_launched(cache: Path) -> list[Launched]:
    """Everything that was ever launched from a cache, in the order of the names."""
    return [Launched(file.parent) for file in sorted((cache / LAUNCHED).glob(f"*/{_SUBMISSION}"))]


def now() -> datetime:
    """The time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _text(record: BaseModel) -> bytes:
    return f"{record.model_dump_json(indent=1)}\n".encode()


def _read(path: Path, kind: type[_Any]) -> _Any | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(f"{path}: damaged ({problems_of(error)[0]}); remove its folder") from error
