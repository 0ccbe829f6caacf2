"""A command in a process of its own, whose last line and signs of life stand in the record of its job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from nubench.errors import NubenchError
from nubench.launching.processes import Process
from nubench.launching.records import JobRecord, JobState, Launched, Submission, now

#: Seconds between two signs of life.
HEARTBEAT_SECONDS: Final = 15.0
#: Seconds that a command is given to keep its work: a step and a checkpoint take less.
SECONDS_TO_STOP: Final = 120
_POLL_SECONDS: Final = 0.5
_LONGEST_NOTE: Final = 200
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class WatchedCommand:
    """The command of a submission.

    Args:
        launched: where its record is kept.
        submission: what to run.
        directory: where.
        threads: of its arithmetic, unless the environment says how many; None for as many as there are cores.

    Attributes:
        signals: that asked it to stop, in the order in which they came.
        note: the last line that it printed.
    """

    def __init__(self, launched: Launched, submission: Submission, directory: Path, threads: int | None) -> None:
        self._launched, self._submission, self._directory = launched, submission, directory
        self._threads = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        before = launched.job()
        self._starts = before.starts + 1 if before else 1
        self._started = before.started if before else now()
        self._process: subprocess.Popen[str] | None = None
        self.signals: list[int] = []
        self.note = ""

    def run(self) -> int:
        """Run it to its end; returns its exit code, or minus the signal that ended it.

        SIGINT, SIGTERM and SIGUSR2 are handed to it as SIGTERM. Whatever is raised here, the command has ended.
        """
        # They stand before the command is there: a signal that came between the two would end this process alone.
        previous: list[tuple[int, Any]] = [(number, signal.signal(number, self._hand_over)) for number in _STOPPING]
        try:
            self.report("running")
            self._process = self._start()
            if self.signals:
                self._process.terminate()
            return self._watch(self._process)
        except BaseException:
            if self._process is not None:
                _end(self._process)
            raise
        finally:
            for number, handler in previous:
                signal.signal(number, handler)

    def report(self, state: JobState, exit_code: int | None = None) -> None:
        """Write the job's record.

        Raises:
            NubenchError: when it cannot be written.
        """
        this = Process.this()
        record = JobRecord(
            state=state,
            host=this.host,
            pid=this.pid,
            process_start=this.start,
            starts=self._starts,
            started=self._started,
            seen=now(),
            note=self.note,
            exit_code=exit_code,
        )
        self._launched.write_job(record)

    def _hand_over(self, number: int, frame: object) -> None:
        self.signals.append(number)
        if self._process is not None:
            self._process.terminate()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._submission.command,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**self._threads, **os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def _watch(self, process: subprocess.Popen[str]) -> int:
        reader = threading.Thread(target=self._hand_on, args=(process,), daemon=True)
        reader.start()
        beat = time.monotonic()
        while True:
            try:
                code = process.wait(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                    # A sign of life that cannot be given, for want of space or of the network, is no reason to end.
                    with suppress(NubenchError, OSError):
                        self.report("running")
                    beat = time.monotonic()
            else:
                # A grandchild may hold the pipe open; its words are not waited for.
                reader.join(timeout=5)
                return code

    def _hand_on(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            # The disk may be full for a moment; the pipe is read all the same, or the command would wait for ever.
            with suppress(OSError):
                sys.stdout.write(line)
                sys.stdout.flush()
            text = "".join(character for character in line.strip() if character.isprintable())
            self.note = text[:_LONGEST_NOTE] or self.note


def _end(process: subprocess.Popen[str]) -> None:
    """Give a command the time to keep its work, then end it and all that it has started."""
    process.terminate()
    try:
        process.wait(timeout=SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            with suppress(psutil.Error):
                one.kill()
        process.wait()
