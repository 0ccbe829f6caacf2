"""Loop runs for a while, and watch memory and open files: neither may grow.

    python scripts/soak.py --minutes 60
    python scripts/soak.py --loops 6 --dataset lartpc --method classifier --set views=2000

Every loop trains, scores and submits with another seed, in a cache of its own beside the data, and removes what it
made. The first loops load libraries and fill caches of the process; growth is looked for after them, as a straight line
through the memory of the others. It ends with 1, and says so, where memory grows by more than ``--allowed`` MB a loop,
or the open files are more at the end than after the first loops.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from nubench.cache import cache_folder
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner

WARM_UP = 3


@dataclass(frozen=True)
class Measured:
    """One loop: seconds since the start, resident memory in MB, and open files of the process after it."""

    seconds: float
    memory_mb: float
    open_files: int


def soak(request: Request, cache: Path, *, loops: int | None, seconds: float, sealed: bool) -> Iterator[Measured]:
    """Run again and again, with another seed each time.

    Args:
        request: what is run.
        cache: folder whose data sets are used; trainings and results go to a folder of their own.
        loops: how many; None for as many as fit into ``seconds``.
        seconds: after which no new loop begins.
        sealed: whether each training is a process of its own.
    """
    start, process = time.monotonic(), psutil.Process()
    for seed in itertools.count() if loops is None else range(loops):
        if time.monotonic() - start > seconds:
            return
        runner = Runner(request, load_plugins(), cache, SilentProgress(), None, sealed=sealed)
        runner.run(1_000_000 + seed)
        for folder in ("trainings", "results", "predictions"):
            shutil.rmtree(cache / folder, ignore_errors=True)
        yield Measured(time.monotonic() - start, process.memory_info().rss / 1e6, process.num_fds())


def verdict(measured: list[Measured], allowed_mb: float) -> tuple[float, int, bool]:
    """MB by which memory grew in a loop, files that are open beyond those after the warm-up, and whether that is well.

    Raises:
        ValueError: when there are too few loops to tell.
    """
    if len(measured) < WARM_UP + 3:
        raise ValueError(f"{len(measured)} loops are too few to tell; {WARM_UP + 3} or more are needed")
    settled = measured[WARM_UP:]
    growth = float(np.polyfit(np.arange(len(settled)), [one.memory_mb for one in settled], 1)[0])
    more = settled[-1].open_files - settled[0].open_files
    return growth, more, growth <= allowed_mb and more <= 0


def main() -> None:
    """Parse the arguments, loop, and print a line of JSON for each loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="classifier")
    parser.add_argument("--dataset", default="lartpc")
    parser.add_argument("--shift", default="throws")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--loops", type=int)
    parser.add_argument("--allowed", type=float, default=1.0, help="MB a loop")
    parser.add_argument("--no-sealed", dest="sealed", action="store_false")
    arguments = parser.parse_args()
    settings = dict(each.split("=", 1) for each in arguments.settings)
    request = Request(arguments.method, arguments.shift, "smoke", arguments.dataset, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        data = cache_folder() / "data"
        data.mkdir(exist_ok=True)
        # The data sets are shared, and what is trained on them is not.
        (own / "data").symlink_to(data, target_is_directory=True)
        measured = []
        for one in soak(request, own, loops=arguments.loops, seconds=60 * arguments.minutes, sealed=arguments.sealed):
            measured.append(one)
            sys.stdout.write(json.dumps(asdict(one)) + "\n")
            sys.stdout.flush()
    growth, more, well = verdict(measured, arguments.allowed)
    sys.stdout.write(f"memory grew by {growth:.2f} MB a loop; {more} more open files; {'well' if well else 'A LEAK'}\n")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
