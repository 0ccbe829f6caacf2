"""Loop runs for a while, and watch memory and open files: neither may grow.

    python scripts/soak.py --minutes 60 --study studies/smoke.toml --trainings here
    python scripts/soak.py --minutes 60 --method supcon --method classifier-augmented --set views=6400
    python scripts/soak.py --loops 6 --dataset lartpc --method classifier --set views=2000

Every loop trains and scores each method, or each cell of a study, twice with another seed, once in this process and
once sealed in a child, submits the sealed run, writes the boards, and removes all that it made. Its cache lies beside
the data. The first runs load libraries and fill caches of the process; growth is looked for after them, as one
straight line through the memory after the others, over the number of the loop, with a height of its own for each
cell. What is free and only kept by the allocator for later is given back before memory is measured (with glibc): at
the profile ``smoke`` it goes up and down by 100 MB. It ends with 1, and says so, where memory grows by more than
``--allowed`` MB a loop, or more files are open after the last run than after the same run when it first counted.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from nubench.cache import cache_folder
from nubench.cli.submitting import Submitter
from nubench.evaluation.embeddings import EMBEDDINGS_FOLDER
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.submissions import run_file
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.studies.grid_of_study import all_requests
from nubench.studies.study_file import read_study

#: Loops at the beginning that do not count: of methods; of a study, each of whose cells has run once then.
WARM_UP: Final = 3
WARM_UP_OF_A_STUDY: Final = 1
#: Whether a training is a process of its own: both ways in a loop, this process alone, children alone.
WAYS: Final = {"both": (False, True), "here": (False,), "sealed": (True,)}


@dataclass(frozen=True)
class Measured:
    """After one run: which loop it belongs to and which run of it it is, counted from 0; seconds since the start;
    resident memory in MB; open files of the process."""

    loop: int
    run: int
    seconds: float
    memory_mb: float
    open_files: int


def soak(
    requests: Sequence[Request], cache: Path, *, loops: int | None, seconds: float, ways: Sequence[bool]
) -> Iterator[Measured]:
    """Run again and again, with another seed each time.

    Args:
        requests: what is run in a loop.
        cache: folder whose data sets are used; all else that is in it after a run is removed.
        loops: how many; None for as many as fit into ``seconds``.
        seconds: after which no new run begins.
        ways: for each run of a request in a loop, whether its training is sealed; sealed ones are submitted.
    """
    start, process = time.monotonic(), psutil.Process()
    for loop in itertools.count() if loops is None else range(loops):
        for run, (request, sealed) in enumerate(itertools.product(requests, ways)):
            if time.monotonic() - start > seconds:
                return
            _run(request, 1_000_000 + loop, cache, sealed=sealed)
            for folder in ("trainings", "results", "predictions", EMBEDDINGS_FOLDER, "boards"):
                shutil.rmtree(cache / folder, ignore_errors=True)
            _give_back()
            yield Measured(loop, run, time.monotonic() - start, process.memory_info().rss / 1e6, process.num_fds())


def _run(request: Request, seed: int, cache: Path, *, sealed: bool) -> None:
    registry = load_plugins()
    runner = Runner(request, registry, cache, SilentProgress(), None, sealed=sealed)
    runner.run(seed)
    if sealed:
        submitter = Submitter(registry, cache, cache / "boards")
        submitter.submit(run_file(cache, runner.key(seed)))
        submitter.write_boards()


def _give_back() -> None:
    """Collect garbage, and have the allocator give back what is free."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def verdict(measured: Sequence[Measured], allowed_mb: float, warm_up: int) -> tuple[float, int, bool]:
    """MB by which memory grew in a loop, files that are open beyond those after the warm-up, and whether that is well.

    Args:
        measured: after every run, in order.
        allowed_mb: growth in a loop that is still well.
        warm_up: runs at the beginning that do not count.

    Raises:
        ValueError: when there are too few runs to tell.
    """
    settled = measured[warm_up:]
    kinds = sorted({one.run for one in settled})
    if len(settled) < len(kinds) + 2:
        raise ValueError(f"{len(settled)} runs after the first {warm_up} are too few to tell; the same must come again")
    heights = [[float(one.run == kind) for kind in kinds] for one in settled]
    line = np.column_stack([heights, [one.loop for one in settled]])
    growth = float(np.linalg.lstsq(line, [one.memory_mb for one in settled], rcond=None)[0][-1])
    first = next(one for one in settled if one.run == settled[-1].run)
    more = settled[-1].open_files - first.open_files
    return growth, more, growth <= allowed_mb and more <= 0


def cells_of(study: Path, settings: Mapping[str, str]) -> list[Request]:
    """The runs of a study, without their seeds; ``settings`` go before those of the study."""
    registry = load_plugins()
    return [
        replace(request, settings={**(request.settings or {}), **settings})
        for request in all_requests(read_study(study), registry)
    ]


def main() -> None:
    """Parse the arguments, loop, and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", dest="methods", action="append", help="may be repeated; classifier without it")
    parser.add_argument("--study", type=Path, help="file of a study, whose cells are run instead of methods")
    parser.add_argument("--dataset", default="lartpc")
    parser.add_argument("--shift", default="throws")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--loops", type=int)
    parser.add_argument("--allowed", type=float, default=1.0, help="MB a loop")
    parser.add_argument("--trainings", choices=WAYS, default="both", help="in this process, sealed in a child, or both")
    arguments = parser.parse_args()
    settings, ways = dict(each.split("=", 1) for each in arguments.settings), WAYS[arguments.trainings]
    if arguments.study is not None:
        requests, warm_up = cells_of(arguments.study, settings), WARM_UP_OF_A_STUDY
    else:
        methods = arguments.methods or ["classifier"]
        requests = [Request(each, arguments.shift, "smoke", arguments.dataset, settings=settings) for each in methods]
        warm_up = WARM_UP
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        data = cache_folder() / "data"
        data.mkdir(exist_ok=True)
        # The data sets are shared, and what is trained on them is not.
        (own / "data").symlink_to(data, target_is_directory=True)
        measured = []
        for one in soak(requests, own, loops=arguments.loops, seconds=60 * arguments.minutes, ways=ways):
            measured.append(one)
            sys.stdout.write(json.dumps(asdict(one)) + "\n")
            sys.stdout.flush()
    growth, more, well = verdict(measured, arguments.allowed, warm_up * len(requests) * len(ways))
    sys.stdout.write(f"memory grew by {growth:.2f} MB a loop; {more} more open files; {'well' if well else 'A LEAK'}\n")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
