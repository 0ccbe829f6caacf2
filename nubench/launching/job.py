"""What runs inside a job: one command line, watched, stopped in time, and put into the queue again.

The command is a process of its own. SIGUSR2, which a cluster sends before a job's time is up, and SIGTERM, which it
sends when it takes the machine away, are handed to it; it keeps its work (:mod:`nubench.interrupts`) and ends; the job
is then queued again: by SLURM, where it has taken the job back by itself, or else by submitit. A job that somebody
cancelled gets SIGTERM as well, and is not. On this machine there is no queue: a job that is stopped is cancelled.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nubench.errors import NubenchError
from nubench.launching.records import Launched
from nubench.launching.scheduler import job_is_running, restarts_of
from nubench.launching.watched import WatchedCommand

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


class CommandJob:
    """A job, as submitit sends it to a machine: its folder says what to do.

    Args:
        folder: of a :class:`nubench.launching.records.Launched` with a submission.
        directory: where the command is run.
        threads: of its arithmetic, unless the environment says how many; None for as many as there are cores.
    """

    def __init__(self, folder: Path, directory: Path, threads: int | None = None) -> None:
        self._folder, self._directory, self._threads = folder, directory, threads

    def __call__(self) -> None:
        """Run the command to its end, or until the job is told to stop.

        Raises:
            NubenchError: when the command failed or the job was cancelled.
        """
        launched = Launched(self._folder)
        submission = launched.submission()
        if submission is None:
            raise NubenchError(f"{self._folder} holds no submission: it was removed")
        queue_again: Any = signal.getsignal(signal.SIGUSR2)
        watched = WatchedCommand(launched, submission, self._directory, self._threads)
        code = watched.run()
        if code == 0:
            watched.report("finished", code)
        elif not watched.signals:
            watched.report("failed", code)
            raise NubenchError(f"{submission.name} failed with exit code {code}: {watched.note}")
        elif callable(queue_again) and _is_queued_by_slurm():
            watched.report("pre-empted", code)
        elif callable(queue_again) and _meant_to_go_on(watched.signals):
            watched.report("pre-empted", code)
            queue_again(signal.SIGUSR2, None)
        else:
            watched.report("cancelled", code)
            raise NubenchError(f"{submission.name} was cancelled")

    def checkpoint(self) -> DelayedSubmission:
        """What submitit queues again: the same; the command finds its checkpoints itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _is_queued_by_slurm() -> bool:
    """Whether SLURM starts this job again by itself: ``scontrol requeue``, or pre-emption of the kind REQUEUE."""
    job = _slurm_job()
    restarts = None if job is None else restarts_of(job)
    return restarts is not None and restarts > int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _meant_to_go_on(signals: list[int]) -> bool:
    """Whether the job was stopped by the cluster's clock or to make place, and not by somebody who wants it gone."""
    if signal.SIGUSR2 in signals:
        return True
    job = _slurm_job()
    return job is not None and job_is_running(job)


def _slurm_job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
