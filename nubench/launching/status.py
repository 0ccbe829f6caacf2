"""Where launched work stands: from its own records, and from SLURM where it answers."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import psutil

from nubench.launching.job import HEARTBEAT_SECONDS
from nubench.launching.records import JobRecord, Launched, Submission, now

State = Literal["queued", "running", "pre-empted", "finished", "failed", "cancelled", "lost"]
#: In the order in which they are counted.
STATES: Final[tuple[State, ...]] = ("queued", "running", "pre-empted", "finished", "failed", "cancelled", "lost")
_ALIVE: Final = ("queued", "running", "pre-empted")
#: Without a sign of life for so long, a job is taken for dead where its scheduler cannot be asked.
_LONGEST_SILENCE: Final = timedelta(seconds=20 * HEARTBEAT_SECONDS)
#: What was heard of so lately is believed without asking.
_FRESH: Final = timedelta(seconds=10)


@dataclass(frozen=True)
class Status:
    """Where one piece of work stands.

    Attributes:
        submission: what it is.
        job: how its job fares in its own words; None before it has started.
        state: ``lost`` where nothing will come of it any more and nobody said so: its job was cancelled, or died
            without a word. The same command submits it again.
    """

    submission: Submission
    job: JobRecord | None
    state: State


def status_of(launched: Launched, jobs: Mapping[str, str] | None, time: datetime) -> Status | None:
    """Find out where a piece of work stands; None when there is no submission.

    Args:
        launched: its folder.
        jobs: what SLURM knows, see :func:`nubench.launching.scheduler.my_jobs`; None where it does not answer.
        time: now.

    Raises:
        DataError: when a record is damaged.
    """
    submission, job = launched.submission(), launched.job()
    if submission is None:
        return None
    return Status(submission, job, _state(submission, job, jobs, time))


def is_alive(submission: Submission, job: JobRecord | None, jobs: Mapping[str, str] | None) -> bool:
    """Whether something will still come of it: it waits, runs, or waits to be started again."""
    return _state(submission, job, jobs, now()) in _ALIVE


def counts(statuses: Iterable[Status]) -> dict[State, int]:
    """How many are in each state; states of none are left out."""
    states = [status.state for status in statuses]
    return {state: states.count(state) for state in STATES if state in states}


def _state(submission: Submission, job: JobRecord | None, jobs: Mapping[str, str] | None, time: datetime) -> State:
    if job is not None and job.state in ("finished", "failed", "cancelled"):
        return job.state
    state: State = "queued" if job is None else job.state
    silence = time - (submission.submitted if job is None else job.seen)
    if silence < _FRESH:
        return state
    if submission.launcher == "local" and job is not None and job.host == socket.gethostname():
        return state if psutil.pid_exists(job.pid) else "lost"
    if submission.launcher == "slurm" and submission.job is not None:
        if jobs is not None:
            return _state_in_queue(state, jobs.get(submission.job))
        if state != "running":
            return state
    return "lost" if silence > _LONGEST_SILENCE else state


def _state_in_queue(state: State, of_slurm: str | None) -> State:
    if of_slurm is None:
        return "lost"
    # A job that SLURM stopped by itself has had no time to say so.
    return "pre-empted" if state == "running" and of_slurm == "PENDING" else state
