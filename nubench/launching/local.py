"""Jobs of this machine: each a process in a session of its own, a few at a time.

A session of their own keeps the terminal's Ctrl-C from them: the process that started them is interrupted, and tells
each to keep its work and to end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nubench.cores import available_cores
from nubench.errors import NubenchError
from nubench.interrupts import deferred
from nubench.launching.commands import RunCommand
from nubench.launching.records import ENDED, JobRecord, JobState, Launched, now
from nubench.launching.watched import SECONDS_TO_STOP
from nubench.progress import Progress
from nubench.storage.files import make_folder

_POLL_SECONDS: Final = 0.5
#: After so long, who waits for jobs to end is told what for.
_SECONDS_IN_SILENCE: Final = 3.0


@dataclass(frozen=True)
class Slots:
    """What jobs that run at once share.

    Attributes:
        parallel: jobs at once, at most.
        gpus: names of the graphics processors that they take turns on; none are visible to them when empty.
        each: of them that one job gets, at most.
    """

    parallel: int
    gpus: Sequence[str] = ()
    each: int = 1

    @property
    def threads(self) -> int | None:
        """Of each job: its part of the cores; None for all of them."""
        return max(1, available_cores() // self.parallel) if self.parallel > 1 else None

    def visible(self, slot: int) -> str:
        """Which graphics processors the job in a slot sees, as ``CUDA_VISIBLE_DEVICES`` has it."""
        turn = range(slot * self.each, slot * self.each + min(self.each, len(self.gpus)))
        return ",".join(self.gpus[place % len(self.gpus)] for place in turn)


def run_here(prepared: Sequence[Launched], directory: Path, logs: Path, slots: Slots, progress: Progress) -> None:
    """Run jobs to their ends; when this process is interrupted or fails, end them and leave the others alone.

    Args:
        prepared: folders with submissions.
        directory: where their commands are run.
        logs: folder of the files that their output is appended to.
        slots: what they share.
        progress: says what starts.
    """
    waiting, running = deque(prepared), dict[int, _Job]()
    try:
        while waiting or running:
            for slot in [slot for slot, job in running.items() if job.has_ended()]:
                del running[slot]
            while waiting and len(running) < slots.parallel:
                slot = min(set(range(slots.parallel)) - running.keys())
                launched = waiting.popleft()
                with deferred():
                    running[slot] = _Job(launched, directory, logs, slots.threads, slots.visible(slot))
                    running[slot].enter()
                progress.say(f"{launched.folder.name}: {running[slot].log}")
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(running.values(), progress)


def visible_devices(cells: Sequence[RunCommand]) -> list[str]:
    """Graphics processors that cells may use here, as ``CUDA_VISIBLE_DEVICES`` has them; none for cells of a CPU."""
    if all(cell.device == "cpu" for cell in cells):
        return []
    import torch

    count = torch.cuda.device_count()
    # PyTorch counts what is visible from 0 on; a job must be given the machine's own names.
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[:count] or [str(number) for number in range(count)]


class _Job:
    def __init__(self, launched: Launched, directory: Path, logs: Path, threads: int | None, visible: str) -> None:
        self._launched = launched
        make_folder(logs)
        self.log = logs / f"{launched.folder.name}.log"
        words = [launched.folder.absolute(), directory, *([] if threads is None else [threads])]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "nubench.launching", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
                start_new_session=True,
            )

    def enter(self) -> None:
        """Write down which process it is."""
        self._launched.enter(str(self._process.pid), self.log)

    def has_ended(self) -> bool:
        """Whether it has; where it did not say how, that is written down for it."""
        if self.is_running():
            return False
        self.end("failed")
        return True

    def ask_to_stop(self) -> None:
        """Let it keep its work and end."""
        self._process.terminate()

    def is_running(self) -> bool:
        """Whether its process is still there."""
        return self._process.poll() is None

    def end(self, state: JobState) -> None:
        """End what is left of it, and write down how it ended unless it has done so itself."""
        with suppress(NubenchError, OSError):
            record = self._launched.job()
            if not self.is_running() and record is not None and record.state in ENDED:
                return
        # Its command and all that it has started are of its session.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        with suppress(NubenchError, OSError):
            self._write_end(state, code)

    def _write_end(self, state: JobState, code: int) -> None:
        record = self._launched.job()
        if record is None:
            if state == "cancelled":
                return
            host, time_now = socket.gethostname(), now()
            record = JobRecord(state=state, host=host, pid=self._process.pid, starts=1, started=time_now, seen=time_now)
        if record.state not in ENDED:
            self._launched.write_job(record.model_copy(update={"state": state, "exit_code": code}))


def _stop(jobs: Collection[_Job], progress: Progress) -> None:
    """Let jobs keep their work and end; what takes too long, or is interrupted again, is killed."""
    try:
        for job in jobs:
            job.ask_to_stop()
        started, told = time.monotonic(), False
        while any(job.is_running() for job in jobs) and (waited := time.monotonic() - started) < SECONDS_TO_STOP:
            if waited > _SECONDS_IN_SILENCE and not told:
                progress.say("jobs keep their work before they end; Ctrl-C ends them at once")
                told = True
            time.sleep(_POLL_SECONDS / 5)
    finally:
        with deferred():
            for job in jobs:
                job.end("cancelled")
