"""What runs inside a job: one command line, watched, stopped in time, and put into the queue again.

The command is a process of its own. SIGUSR2, which a cluster sends before a job's time is up, and SIGTERM, which it
sends when it takes the machine away, are handed to it; it keeps its work (:mod:`nubench.interrupts`) and ends; the job
is then queued again by submitit. A job that somebody cancelled gets SIGTERM as well, and is not.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nubench.errors import NubenchError
from nubench.launching.records import JobRecord, JobState, Launched, Submission, now
from nubench.launching.scheduler import job_is_running

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

#: Seconds between two signs of life.
HEARTBEAT_SECONDS: Final = 15.0
_LONGEST_NOTE: Final = 200
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


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
            NubenchError: when the command failed.
        """
        launched = Launched(self._folder)
        submission = launched.submission()
        if submission is None:
            raise NubenchError(f"{self._folder} holds no submission: it was removed")
        queue_again: Any = signal.getsignal(signal.SIGUSR2)
        watched = _WatchedCommand(launched, submission, self._directory, self._threads)
        code = watched.run()
        if code == 0:
            watched.report("finished", code)
        elif not watched.signals:
            watched.report("failed", code)
            raise NubenchError(f"{submission.name} failed with exit code {code}: {watched.note}")
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


def _meant_to_go_on(signals: list[int]) -> bool:
    """Whether the job was stopped by the cluster's clock or to make place, and not by somebody who wants it gone."""
    if signal.SIGUSR2 in signals:
        return True
    job = _slurm_job()
    return job is not None and job_is_running(job)


def _slurm_job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


class _WatchedCommand:
    """A command in a process of its own, whose last line and signs of life stand in the job's record."""

    def __init__(self, launched: Launched, submission: Submission, directory: Path, threads: int | None) -> None:
        self._launched, self._submission, self._directory = launched, submission, directory
        self._threads = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        before = launched.job()
        self._starts = before.starts + 1 if before else 1
        self._started = before.started if before else now()
        self.signals: list[int] = []
        self.note = ""

    def run(self) -> int:
        """Run it to its end; returns its exit code, or minus the signal that ended it."""
        self.report("running")
        process = subprocess.Popen(
            self._submission.command,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**self._threads, **os.environ, "PYTHONUNBUFFERED": "1"},
        )

        def stop(number: int, frame: object) -> None:
            self.signals.append(number)
            process.send_signal(signal.SIGTERM)

        previous: list[tuple[int, Any]] = [(number, signal.signal(number, stop)) for number in _STOPPING]
        reader = threading.Thread(target=self._hand_on, args=(process,), daemon=True)
        reader.start()
        try:
            return self._watch(process, reader)
        finally:
            for number, handler in previous:
                signal.signal(number, handler)

    def report(self, state: JobState, exit_code: int | None = None) -> None:
        """Write the job's record."""
        record = JobRecord(
            state=state,
            host=socket.gethostname(),
            pid=os.getpid(),
            starts=self._starts,
            started=self._started,
            seen=now(),
            note=self.note,
            exit_code=exit_code,
        )
        self._launched.write_job(record)

    def _watch(self, process: subprocess.Popen[str], reader: threading.Thread) -> int:
        beat = time.monotonic()
        while True:
            try:
                code = process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                    self.report("running")
                    beat = time.monotonic()
            else:
                # A grandchild may hold the pipe open; its words are not waited for.
                reader.join(timeout=5)
                return code

    def _hand_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            text = "".join(character for character in line.strip() if character.isprintable())
            self.note = text[:_LONGEST_NOTE] or self.note
