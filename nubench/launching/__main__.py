"""One job of this machine: ``python -m nubench.launching FOLDER DIRECTORY [THREADS]``, see ``CommandJob``."""

from __future__ import annotations

import sys
from pathlib import Path

from nubench.errors import NubenchError
from nubench.launching.job import CommandJob


def main(folder: str, directory: str, threads: str | None = None) -> int:
    """Run the command of a folder; returns the exit code."""
    try:
        CommandJob(Path(folder), Path(directory), None if threads is None else int(threads))()
    except NubenchError as error:
        sys.stderr.write(f"nubench: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
