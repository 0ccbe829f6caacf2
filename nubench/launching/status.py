"""Where launched work stands: from its own records, and from SLURM where it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from nubench.launching.records import ENDED, JobRecord, Launched, Submission
from nubench.launching.watched import HEARTBEAT_SECONDS

State = Literal["queued", "running", "pre-empted", "finished", "failed", "cancelled", "lost"]
#: In the order in which they are counted.
STATES: Final[tuple[State, ...]] = ("queued", "running", "pre-empted", "finished", "failed", "cancelled", "lost")
_ALIVE: Final = ("queued", "running", "pre-empted")
#: Without a sign of life for so long, a job is taken for dead where its scheduler cannot be asked.
_LONGEST_SILENCE: Final = timedelta(seconds=20 * HEARTBEAT_SECONDS)
#: What was heard of so lately is believed without asking SLURM, which needs a moment itself.
_FRESH: Final = timedelta(seconds=10)
#: In the queue after it has ended: SLURM has taken it back, and starts it again.
_TAKEN_BACK: Final = ("PENDING", "CONFIGURING", "RUNNING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")


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

    @property
    def alive(self) -> bool:
        """Whether something will still come of it: it waits, runs, or waits to be started again."""
        return self.state in _ALIVE


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
    state = _state(submission, job, jobs, time)
    if state == "lost" and (later := launched.job()) != job:
        # It has ended between the reading of its record and the look for its process.
        job, state = later, _state(submission, later, jobs, time)
    return Status(submission, job, state)


def counts(statuses: Iterable[Status]) -> dict[State, int]:
    """How many are in each state; states of none are left out."""
    states = [status.state for status in statuses]
    return {state: states.count(state) for state in STATES if state in states}


def _state(submission: Submission, job: JobRecord | None, jobs: Mapping[str, str] | None, time: datetime) -> State:
    handed_over = submission.launcher == "slurm" and submission.job is not None
    of_slurm = jobs.get(submission.job) if handed_over and jobs is not None and submission.job is not None else None
    if job is not None and job.state in ENDED:
        return "pre-empted" if job.state == "cancelled" and of_slurm in _TAKEN_BACK else job.state
    state: State = "queued" if job is None else job.state
    if submission.launcher == "local" or submission.job is None:
        # It runs, or waits for the process that submits it: on this machine either can be looked for.
        process = submission.submitter if job is None else job.process
        if process is not None and (runs := process.runs()) is not None:
            return state if runs else "lost"
    silence = time - (submission.submitted if job is None else job.seen)
    if timedelta(0) <= silence < _FRESH:
        return state
    if handed_over:
        if jobs is not None:
            return _state_in_queue(state, of_slurm)
        if state != "running":
            return state
    # A sign of life from the future says no more than one of long ago: somebody has set a clock.
    return "lost" if abs(silence) > _LONGEST_SILENCE else state


def _state_in_queue(state: State, of_slurm: str | None) -> State:
    if of_slurm is None:
        return "lost"
    # A job that SLURM stopped by itself has had no time to say so.
    return "pre-empted" if state == "running" and of_slurm == "PENDING" else state
