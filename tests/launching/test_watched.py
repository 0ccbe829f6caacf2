"""A command watched by its job: signs of life that cannot be given, and signals that come at a bad moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubench.errors import NubenchError
from nubench.launching import job as jobs
from nubench.launching import watched
from nubench.launching.job import CommandJob
from nubench.launching.records import JobRecord, Launched, Submission, now

STEPS = "import sys, time; [print(step, flush=True) or time.sleep(0.1) for step in range(12)]; print('done')"
PATIENT = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """What stood for SIGUSR2 before."""
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The commands that jobs start."""
    found: list[subprocess.Popen[str]] = []

    class Noted(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            found.append(self)

    monkeypatch.setattr(watched.subprocess, "Popen", Noted)
    return found


def _job(folder: Path, program: str) -> tuple[Launched, CommandJob]:
    launched = Launched(folder / "job")
    command = (sys.executable, "-c", program)
    launched.write_submission(Submission(name="job", cell=None, command=command, launcher="local", submitted=now()))
    return launched, CommandJob(launched.folder, folder)


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, when: int) -> None:
    written, write = [0], Launched.write_job

    def write_job(self: Launched, record: JobRecord) -> None:
        written[0] += 1
        if written[0] == when:
            raise error
        write(self, record)

    monkeypatch.setattr(Launched, "write_job", write_job)


@pytest.mark.parametrize("error", [NubenchError("the disk is full"), OSError("stale file handle")])
def test_a_sign_of_life_that_cannot_be_given_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(watched, "HEARTBEAT_SECONDS", 0.1)
    launched, job = _job(tmp_path, STEPS)
    _failing(monkeypatch, error, when=2)
    job()
    record = launched.job()
    assert record is not None
    assert (record.state, record.note, record.exit_code) == ("finished", "done", 0)


def test_a_command_ends_with_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[str]]
) -> None:
    monkeypatch.setattr(watched, "HEARTBEAT_SECONDS", 0.1)
    _, job = _job(tmp_path, PATIENT)
    _failing(monkeypatch, MemoryError(), when=2)
    with pytest.raises(MemoryError):
        job()
    assert [command.returncode for command in started] == [-signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_that_comes_while_the_command_starts_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    queued: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: queued.append(number))
    noted = watched.subprocess.Popen

    def popen(*arguments: Any, **named: Any) -> subprocess.Popen[str]:
        process = noted(*arguments, **named)
        os.kill(os.getpid(), number)
        return process

    monkeypatch.setattr(watched.subprocess, "Popen", popen)
    launched, job = _job(tmp_path, PATIENT)
    if number == signal.SIGUSR2:
        job()
    else:
        with pytest.raises(NubenchError, match="job was cancelled"):
            job()
    assert [command.returncode for command in started] == [-signal.SIGTERM]
    record = launched.job()
    assert record is not None
    assert (record.state, queued) == (
        ("pre-empted", [signal.SIGUSR2]) if number == signal.SIGUSR2 else ("cancelled", [])
    )


@pytest.mark.parametrize(
    ("restarts", "count", "state"),
    [(1, None, "pre-empted"), (2, "1", "pre-empted"), (1, "1", "cancelled"), (None, None, "cancelled")],
)
def test_a_job_that_slurm_takes_back_is_not_queued_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: int | None, count: str | None, state: str
) -> None:
    """SLURM counts a job's starts up when it puts it into the queue again, before it stops it."""
    queued: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: queued.append(number))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    if count is None:
        monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    else:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    monkeypatch.setattr(jobs, "restarts_of", lambda job: restarts if job == "7" else None)
    monkeypatch.setattr(jobs, "job_is_running", lambda job: False)
    launched, job = _job(tmp_path, "import os, signal; os.kill(os.getppid(), signal.SIGTERM); " + PATIENT)
    if state == "cancelled":
        with pytest.raises(NubenchError, match="job was cancelled"):
            job()
    else:
        job()
    record = launched.job()
    assert record is not None
    assert (record.state, queued) == (state, [])
