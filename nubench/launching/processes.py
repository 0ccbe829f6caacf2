"""Processes, told apart from later ones that were given the same number."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_ENDED = ("Z", "X")
_STATE, _START = 0, 19


class Process(BaseModel):
    """A process of some machine.

    Attributes:
        host: name of the machine.
        pid: its number there, which is given to another process once it has ended.
        start: when it was started, as :func:`start_of` writes it; None where nobody kept it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    pid: int
    start: str | None = None

    @classmethod
    def this(cls) -> Process:
        """The process that asks."""
        return cls(host=socket.gethostname(), pid=os.getpid(), start=start_of(os.getpid()))

    def runs(self) -> bool | None:
        """Whether it is still there; None when it is of another machine, which cannot be asked."""
        if self.host != socket.gethostname():
            return None
        start = start_of(self.pid)
        return start is not None and self.start in (None, start)


def start_of(pid: int) -> str | None:
    """What tells a process of this machine from all others, before and after it; None when there is none.

    On Linux it is counted in ticks since the machine was started, so that setting the clock does not change it.
    """
    try:
        # The name of the program, in brackets, may contain anything; what follows it is separated by blanks.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _start_by_the_clock(pid)
    return None if fields[_STATE] in _ENDED else f"{boot} {fields[_START]}"


def _start_by_the_clock(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None
