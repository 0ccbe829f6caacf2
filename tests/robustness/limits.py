"""Readers tried on hostile files in a process that the system ends when it takes too much time or memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_CHILD: Final = """
import importlib, json, resource, sys
from pathlib import Path

readers, megabytes, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for library in sys.argv[4:]:
    importlib.import_module(library)
found = {}
for name, _ in readers:
    module, function = name.split(":")
    found[name] = getattr(importlib.import_module(module), function)
# What the libraries take is no matter of the files.
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + megabytes * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
used = resource.getrusage(resource.RUSAGE_SELF)
most = int(used.ru_utime + used.ru_stime) + seconds
resource.setrlimit(resource.RLIMIT_CPU, (most, most))
said = []
for name, paths in readers:
    try:
        found[name](*map(Path, paths))
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error.__cause__, MemoryError):
            raise
        said.append(f"{type(error).__name__}: {error}")
    else:
        said.append(None)
print(json.dumps(said))
"""


def ends_of(
    readers: Sequence[tuple[str, Sequence[Path]]], *, megabytes: int, seconds: int, libraries: Sequence[str] = ()
) -> list[str | None]:
    """What each reader says of a file, in one process with limits that the system enforces.

    Args:
        readers: of each, ``"module:function"`` and the paths that it is called with.
        megabytes: of address space beyond what the imported modules take.
        seconds: of the processor for all together, so that a busy machine changes nothing.
        libraries: modules that a reader imports no sooner than it is called.

    Returns:
        Of each the type and the message of its error, None where it has none.

    Raises:
        AssertionError: when the process went beyond its limits.
    """
    order = json.dumps([(name, [str(path) for path in paths]) for name, paths in readers])
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, order, str(megabytes), str(seconds), *libraries],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert child.returncode == 0, f"ended with {child.returncode}: {child.stderr[-2000:]}"
    said: list[str | None] = json.loads(child.stdout)
    return said
