"""Feed the readers of files with what a fuzzer makes up, for a bounded time (needs atheris; Linux).

    python scripts/fuzz.py result --seconds 60
    python scripts/fuzz.py --all --seconds 10

A reader may return or refuse with a message (nubench's own errors). Anything else ends the fuzzer, which prints the
input and keeps it: another exception, more than 2 GB of memory, more than 10 s for one input. It begins with valid
files that are made here. ``--all`` goes through the readers one after another, but for ``events``, where faults of the
HDF5 library itself end it; where atheris is not installed it says so and does not fail.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[1]

#: The name of the file that each reader reads.
FILES: Final = {
    "archive": "input.zip",
    "card": "input.toml",
    "events": "input.h5",
    "imported-card": "input.json",
    "npz": "input.npz",
    "predictions": "input.safetensors",
    "result": "input.json",
    "segments": "input.h5",
    "study": "input.toml",
    "tensors": "input.safetensors",
    "torch": "input.pt",
}

#: Readers at which the fuzzer ends for faults of a library that nubench cannot mend.
LEFT_OUT: Final = ("events",)

_LIMITS: Final = ("-rss_limit_mb=2048", "-timeout=10", "-max_len=65536")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and fuzz; return what the process ends with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("reader", nargs="?", choices=FILES)
    which.add_argument("--all", action="store_true", help="all readers, one after another")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--corpus", type=Path, help="folder of examples to begin with, instead of those made here")
    given = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("Nothing was fuzzed: atheris is not installed (pip install 'nubench[fuzz]', on Linux)\n")
        return 0 if given.all else 1
    if given.all:
        return _all(given.seconds)
    return _fuzz(given.reader, given.seconds, given.corpus)


def write_examples(reader: str, folder: Path) -> None:
    """Write a valid file or two for a reader, smaller than what the fuzzer takes."""
    make = _EXAMPLES[reader]
    suffix = Path(FILES[reader]).suffix
    if isinstance(make, tuple):
        for number, pattern in enumerate(make):
            source = min(REPOSITORY.glob(pattern), key=lambda path: (path.stat().st_size, path))
            (folder / f"{number}{suffix}").write_bytes(source.read_bytes())
    else:
        make(folder / f"made{suffix}")


def _all(seconds: int) -> int:
    failed = []
    for reader in FILES:
        if reader in LEFT_OUT:
            sys.stdout.write(f"{reader}: left out, faults of the HDF5 library end the fuzzer\n")
            continue
        command = [sys.executable, __file__, reader, "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            failed.append(reader)
            sys.stdout.write(done.stdout)
        # Its last line counts the inputs.
        last = done.stdout.strip().splitlines()[-1:] or ["nothing"]
        sys.stdout.write(f"{reader}: {'ended early' if done.returncode else last[0]}\n")
        sys.stdout.flush()
    return int(bool(failed))


def _fuzz(reader: str, seconds: int, corpus: Path | None) -> int:
    # A disk in memory, where there is one: an input is a file.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        # The fuzzer ends its process as it stands, so the folder is another's.
        child = os.fork()
        if child == 0:
            _fuzz_in(Path(folder), reader, seconds, corpus)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _fuzz_in(folder: Path, reader: str, seconds: int, corpus: Path | None) -> None:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["nubench"]):
        read = _reader(reader)
        from nubench.errors import NubenchError

    examples = folder / "examples"
    examples.mkdir()
    if corpus is None:
        write_examples(reader, examples)
    file = folder / FILES[reader]

    def one_input(content: bytes) -> None:
        file.write_bytes(content)
        try:
            read(file)
        except NubenchError:
            return

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *_LIMITS, str(corpus or examples)], one_input)
    atheris.Fuzz()
    os._exit(0)


def _reader(name: str) -> Callable[[Path], Any]:
    from nubench.datasets.cards import read_card
    from nubench.evaluation.predictions import read_predictions
    from nubench.events.event_files import read_events
    from nubench.importing.safe_loading import load_arrays
    from nubench.importing.segments import read_segments
    from nubench.results.files import read_result
    from nubench.storage.checked_tensors import read_arrays
    from nubench.studies.study_file import read_study

    readers: dict[str, Callable[[Path], Any]] = {
        "archive": _unpack,
        "card": read_card,
        "events": read_events,
        "imported-card": read_card,
        "npz": load_arrays,
        "predictions": read_predictions,
        "result": read_result,
        "segments": lambda path: list(read_segments(path)),
        "study": read_study,
        "tensors": read_arrays,
        "torch": load_arrays,
    }
    return readers[name]


def _unpack(path: Path) -> None:
    from nubench.importing.archives import unpack

    # Alone in its folder: what an earlier input left there could stand in the way of this one.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unpack(path, Path(folder))


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.txt", "text " * 20)


def _imported_card(path: Path) -> None:
    from nubench.datasets.cards import read_card

    path.write_text(json.dumps(read_card(REPOSITORY / "datasets" / "lartpc.toml").model_dump(mode="json")))


def _numpy(path: Path) -> None:
    import numpy as np

    np.savez(path, a=np.arange(6.0).reshape(2, 3), b=np.arange(3))


def _torch(path: Path) -> None:
    import torch

    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(3)}, path)


def _tensors(path: Path) -> None:
    import numpy as np

    from nubench.storage.checked_tensors import write_arrays

    write_arrays(path, {"a": np.arange(6.0), "b": np.arange(3)})


def _predictions(path: Path) -> None:
    import numpy as np

    from nubench.evaluation.predictions import PointPredictions, write_predictions

    rows = np.log(np.full((4, 2), 0.5, np.float32))
    write_predictions(path, {"nominal": PointPredictions(np.arange(4), {"probe": rows})})


def _segments(path: Path) -> None:
    import h5py
    import numpy as np

    places = [f"{axis}_{end}" for end in ("start", "end") for axis in "xyz"]
    columns = [(name, "f4") for name in (*places, "dx", "dE", "t")]
    rows = np.zeros(4, [("eventID", "u4"), ("trackID", "u4"), ("pdgId", "i4"), *columns])
    rows["eventID"], rows["pdgId"], rows["dE"] = [0, 0, 1, 1], 13, 2.0
    rows["x_start"], rows["x_end"], rows["dx"] = np.arange(4), np.arange(4) + 1, 1.0
    with h5py.File(path, "w") as file:
        file["segments"] = rows


def _events(path: Path) -> None:
    import numpy as np

    from nubench.containers import Events, LabelledEvents, Primaries
    from nubench.events.event_files import EventAttributes, write_events

    count = 3
    coords = np.stack([np.arange(count, dtype=np.int32)] * 3, axis=1)
    truth = Primaries(
        event_id=np.arange(count),
        pdg=np.full(count, 13),
        kinetic_energy=np.ones(count, np.float32),
        vertex=np.zeros((count, 3), np.float32),
        direction=np.tile(np.array([0, 0, 1], np.float32), (count, 1)),
    )
    events = Events(np.arange(count + 1), coords, np.ones((count, 1), np.float32))
    attributes = EventAttributes("lartpc", ("muon", "pion"), 0.4, "", "nominal", {}, {})
    write_events(path, [LabelledEvents(events, np.array([0, 1, 0]), truth)], attributes)


#: What makes an example, or patterns of files of the repository that are examples.
_EXAMPLES: Final[dict[str, Callable[[Path], None] | tuple[str, ...]]] = {
    "archive": _archive,
    "card": ("datasets/lartpc.toml", "datasets/scintillator.toml"),
    "events": _events,
    "imported-card": _imported_card,
    "npz": _numpy,
    "predictions": _predictions,
    "result": ("leaderboards/submissions/lartpc/**/*.json", "leaderboards/submissions/scintillator/**/*.json"),
    "segments": _segments,
    "study": ("studies/smoke.toml", "studies/paper.toml"),
    "tensors": _tensors,
    "torch": _torch,
}


if __name__ == "__main__":
    sys.exit(main())
