"""Event files of strangers: what they say about themselves, read where it can be stopped.

The HDF5 library can be made to ask for gigabytes, or never to return, by texts of attributes that were damaged in the
right place (seen with 2.0.0). No check comes before that, since it is the library that finds the texts. So
they are first read in a process of its own, with limits.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from nubench.errors import DataError
from nubench.events.event_files import EventAttributes, read_attributes

#: A file of any size takes less than a second: its tables are not read.
SECONDS: Final = 20.0
#: More than the process has when it begins.
MEMORY: Final = 1 << 30


def read_foreign_attributes(path: Path) -> EventAttributes:
    """As :func:`nubench.events.event_files.read_attributes`, in bounded time and memory whatever the file is.

    Raises:
        DataError: as there, and when reading takes more than :data:`SECONDS` or :data:`MEMORY`.
    """
    # Threads of a library that is not needed here would take address space.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nubench.events.foreign_files", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} is damaged: reading its attributes took longer than {SECONDS:g} s") from None
    if done.returncode:
        said = done.stdout.strip()
        raise DataError(
            said or f"{path} is damaged: reading its attributes took more than {MEMORY >> 20} MB or crashed"
        )
    return read_attributes(path)


def _try_out(path: Path) -> None:
    _limit_memory()
    try:
        read_attributes(path)
    except DataError as error:
        sys.stdout.write(str(error))
        raise SystemExit(1) from None


def _limit_memory() -> None:
    # On macOS there is no such limit; the one of time is left.
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    _try_out(Path(sys.argv[1]))
