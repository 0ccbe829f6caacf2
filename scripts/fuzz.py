"""Feed the readers of files with what a fuzzer makes up, for a bounded time (needs atheris; Linux).

    python scripts/fuzz.py result --seconds 60

A reader may return or refuse with a message (nubench's own errors). Anything else ends the fuzzer, which prints the
input and keeps it: another exception, more than 2 GB of memory, more than 10 s for one input.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["nubench"]):
    from nubench.datasets.cards import read_card
    from nubench.errors import NubenchError
    from nubench.evaluation.predictions import read_predictions
    from nubench.events.event_files import read_events
    from nubench.importing.archives import unpack
    from nubench.importing.safe_loading import load_arrays
    from nubench.importing.segments import read_segments
    from nubench.results.files import read_result
    from nubench.storage.checked_tensors import read_arrays
    from nubench.studies.study_file import read_study


def _unpack(path: Path) -> None:
    # Alone in its folder: what an earlier input left there could stand in the way of this one.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unpack(path, Path(folder))


#: What is read, and the name of the file that it is read from.
READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "archive": (_unpack, "input.zip"),
    "card": (read_card, "input.toml"),
    "events": (read_events, "input.h5"),
    "imported-card": (read_card, "input.json"),
    "npz": (load_arrays, "input.npz"),
    "predictions": (read_predictions, "input.safetensors"),
    "result": (read_result, "input.json"),
    "segments": (lambda path: list(read_segments(path)), "input.h5"),
    "study": (read_study, "input.toml"),
    "tensors": (read_arrays, "input.safetensors"),
    "torch": (load_arrays, "input.pt"),
}


def main() -> None:
    """Parse the arguments and fuzz; the fuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="folder of examples to begin with")
    arguments = parser.parse_args()
    read, name = READERS[arguments.reader]
    # A disk in memory, where there is one: an input is a file.
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))

    def one_input(content: bytes) -> None:
        (folder / name).write_bytes(content)
        try:
            read(folder / name)
        except NubenchError:
            return

    limits = [f"-max_total_time={arguments.seconds}", "-rss_limit_mb=2048", "-timeout=10", "-max_len=65536"]
    corpus = [str(arguments.corpus)] if arguments.corpus else []
    atheris.Setup([sys.argv[0], *limits, *corpus], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
