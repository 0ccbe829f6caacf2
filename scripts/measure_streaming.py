"""Train on and judge a data set of a million events, and measure what it takes of disk and memory.

    python scripts/measure_streaming.py --folder /path/with/room

The events are drawn: straight tracks of some 60 voxels, so that a million of them need a few GB of disk, not tens. They
are written by nubench's own writer, as an imported data set; the training is a sealed one, of the backbone ``tiny``.
All that is written is removed at the end. Linux alone tells memory of its own from mapped files.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from nubench.containers import Events, LabelledEvents, Primaries
from nubench.datasets.cards import Card, Imported, ParticleClass, Sizes, read_card
from nubench.datasets.catalogue import open_dataset
from nubench.datasets.dataset import FIRST_EVENT_ID, Dataset
from nubench.evaluation.handout import KEY_SIZE
from nubench.evaluation.scoring import FittedReadouts
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.shifts import Shift, ShiftPoint

CLASSES: Final = ("electron", "muon", "proton")
SHIFT: Final = "gains"
SHORTEST, LONGEST = 30, 90
_EVENTS_A_CHUNK: Final = 20_000
_VALIDATION: Final = 3_000
_SECONDS_BETWEEN_LOOKS: Final = 0.02


class MemoryWatch:
    """Looks at the memory of this process and its children every 20 ms.

    Attributes:
        peaks: MiB by stage and process (``"evaluation"`` or ``"training"``): what is its own, and what is resident with
            the pages of mapped files, which the system may take back.
    """

    def __init__(self) -> None:
        self.peaks: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.seconds: dict[str, float] = {}
        self._stage = ""
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name what is going on, and time it."""
        self._stage, start = name, time.monotonic()
        yield
        self._stage, self.seconds[name] = "", time.monotonic() - start

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            if stage := self._stage:
                self._look(stage, "evaluation", process.pid)
                for child in process.children(recursive=True):
                    self._look(stage, "training", child.pid)
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _look(self, stage: str, who: str, pid: int) -> None:
        with suppress(OSError, KeyError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines)
            own, resident = (int(status[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))
            before = self.peaks[stage, who]
            self.peaks[stage, who] = max(own, before[0]), max(resident, before[1])


def drawn(count: int, first_id: int) -> LabelledEvents:
    """Straight tracks with one voxel a step of their longest direction; the class sets their charge."""
    rng = np.random.default_rng(first_id)
    labels = rng.integers(0, len(CLASSES), count)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    direction = rng.normal(size=(count, 3)).astype(np.float32)
    direction /= np.abs(direction).max(axis=1, keepdims=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    event = np.repeat(np.arange(count), lengths)
    along = (np.arange(offsets[-1]) - offsets[event]).astype(np.float32)
    vertex = rng.integers(-200, 200, (count, 3), dtype=np.int32)
    coords = vertex[event] + np.rint(direction[event] * along[:, None]).astype(np.int32)
    features = (200.0 + 40 * labels[event] + rng.normal(0, 30, len(event))).astype(np.float32)[:, None]
    truth = Primaries(
        event_id=first_id + np.arange(count, dtype=np.int64),
        pdg=np.full(count, 13),
        kinetic_energy=lengths.astype(np.float32),
        vertex=vertex.astype(np.float32),
        direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
    )
    return LabelledEvents(Events(offsets, coords, features), labels, truth)


def card_of(registry: PluginRegistry, train: int, test: int) -> Card:
    """The card of the detector of the LArTPC with one point beside nominal."""
    lartpc = read_card(registry.card("lartpc").thing)
    point = ShiftPoint(name="gain5", strength=1.0, parameters={"gain": 5.0})
    return lartpc.model_copy(
        update={
            "name": "streamed",
            "truth": None,
            "imported": Imported(format="drawn", source="drawn", sha256="0" * 64),
            "classes": tuple(ParticleClass(name=name) for name in CLASSES),
            "sizes": {"smoke": Sizes(train=train // 3, val=_VALIDATION // 3, adapt=1, test=test // 3)},
            "shifts": (Shift(name=SHIFT, title="gains", strength_unit="uV/e", points=(point,)),),
        }
    )


def write(dataset: Dataset, train: int, test: int) -> None:
    """Write the three splits that the training and its judgement need."""
    dataset.write_card()
    nominal = dataset.card.shift(SHIFT).all_points(dataset.card.nominal)[0]
    for split, count in (("train", train), ("val", _VALIDATION), ("test", test)):
        first = FIRST_EVENT_ID[split]  # type: ignore[index]
        chunks = (drawn(min(_EVENTS_A_CHUNK, count - done), first + done) for done in range(0, count, _EVENTS_A_CHUNK))
        dataset.add_events(split, SHIFT, nominal, chunks, count, {})  # type: ignore[arg-type]


def measure(folder: Path, train: int, test: int, steps: int) -> None:
    """Write, train, judge, and print a table."""
    registry, watch, progress = load_plugins(), MemoryWatch(), SilentProgress()
    dataset = open_dataset(registry, folder, card_of(registry, train, test), "smoke")
    with watch.stage("write"):
        write(dataset, train, test)
    size = sum(file.stat().st_size for file in dataset.directory.rglob("*.h5"))
    request = Request("classifier", SHIFT, "smoke", "streamed", settings={"views": str(128 * steps)}, device="cpu")
    runner = Runner(request, registry, folder, progress, None)
    with ExitStack() as stack:
        with watch.stage("open"):
            training = stack.enter_context(runner.session(runner.job(0, None), None))
        with watch.stage("train"):
            training.fit()
        record = training.report().training
        with watch.stage("judge"):
            events = dataset.events("test", SHIFT, runner.points[0])
            readouts = FittedReadouts("classifier", len(CLASSES), None, None)
            readouts.shuffled_outputs(training, events, secrets.token_bytes(KEY_SIZE), "nominal", folder)
    voxels = events.voxels_per_event.mean()
    lines = [
        f"{train:,} training and {test:,} test events of {voxels:.0f} voxels; {size / 1e9:.2f} GB of HDF5 files; "
        f"{record.steps} steps",
        "| stage | events | s | events a second | evaluation, own | with maps | training, own | with maps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    done = {
        "write": train + _VALIDATION + test,
        "open": train + _VALIDATION,
        "train": record.events_seen,
        "judge": test,
    }
    for stage, count in done.items():
        seconds = watch.seconds[stage]
        found = (*watch.peaks[stage, "evaluation"], *watch.peaks[stage, "training"])
        memory = " | ".join(f"{mebibytes:,.0f} MiB" if mebibytes else "" for mebibytes in found)
        lines.append(f"| {stage} | {count:,} | {seconds:.0f} | {count / seconds:,.0f} | {memory} |")
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Parse the arguments and measure in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on a disk with room")
    parser.add_argument("--train", type=int, default=1_000_000, help="training events")
    parser.add_argument("--test", type=int, default=200_000, help="test events")
    parser.add_argument("--steps", type=int, default=300, help="of the training, each of 128 events")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), arguments.train, arguments.test, arguments.steps)


if __name__ == "__main__":
    main()
