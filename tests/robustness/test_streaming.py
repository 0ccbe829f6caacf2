"""Many events in little memory: what grows with their number lies on disk.

A process is given a hard limit for all memory of its own (RLIMIT_DATA: everything but mapped files) and then reads,
hands out, batches and judges a data set. The limit is one that a quarter of the events leaves some room below, so that
room is all that four times as many may take.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from nubench.containers import Events, LabelledEvents, Primaries
from nubench.errors import PluginError
from nubench.evaluation import scoring
from nubench.evaluation.handout import OutputRows, Outputs
from nubench.evaluation.scoring import FittedReadouts
from nubench.evaluation.trainee import TrainingSession
from nubench.events.store import EventAttributes, write_events
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.storage import large_arrays
from small_dataset import build

Make = Callable[..., LabelledEvents]

EVENTS = 15_000
VOXELS = 100
#: Megabytes that four times the events may take beyond a quarter of them; their voxels are 96 MB, in pieces of 16 MB.
ALLOWED_MB = 32

PROGRAM = '''
"""Arguments: files of few and of many events, folder, bytes from which an array is large, megabytes allowed."""
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from nubench.events.store import read_events
from nubench.evaluation.handout import Handout, Outputs
from nubench.evaluation.probe import Probe
from nubench.evaluation import scoring
from nubench.evaluation.scoring import FittedReadouts
from nubench.storage import large_arrays
from nubench.training.prefetch import ready_batches

torch.set_num_threads(1)
few, many, folder, large, allowed = (*map(Path, sys.argv[1:4]), int(sys.argv[4]), float(sys.argv[5]))
large_arrays.LARGE = large
# In proportion to the events here.
scoring.EVENTS_AT_A_TIME = 4096
SIZE, CLASSES = 64, 3


class Session:
    """Judges events by their mean charge."""

    def outputs(self, events):
        means = np.add.reduceat(events.features[:, 0], events.offsets[:-1]) / events.voxels_per_event
        scores = np.log(np.full((len(events), CLASSES), 1 / CLASSES, np.float32))
        return Outputs(np.repeat(means[:, None], SIZE, axis=1), scores)


def use(path):
    """Read, hand out, show every event once, judge every event."""
    source = read_events(path)
    Handout(source.events, source.labels, source.events, source.labels).save(folder)
    handout = Handout.load(folder)
    order = np.random.default_rng(0).permutation(len(handout.train))
    charge = 0.0
    batches = (order[first : first + 256] for first in range(0, len(order), 256))
    for _, batch in ready_batches(handout.train, batches, 0.0, 1.0, "cpu"):
        charge += float(batch.features.double().sum())
    zeros = np.zeros((SIZE, CLASSES))
    probe = Probe(np.zeros(SIZE), np.ones(SIZE), zeros, np.zeros(CLASSES), 1, True)
    readouts = FittedReadouts("mean", CLASSES, probe, SIZE)
    outputs = readouts.shuffled_outputs(Session(), source.events, bytes(16), "nominal", folder)
    rows = readouts.rows(outputs, len(source))
    assert np.isclose(float((outputs.embeddings[:, 0] * source.events.voxels_per_event).sum(dtype=np.float64)), charge)
    assert rows["probe"].shape == rows["head"].shape == (len(source), CLASSES)


def own_memory():
    """What RLIMIT_DATA counts, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmData"].split()[0]) * 1024


use(few)
limit = own_memory() + int(allowed * 2**20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
use(many)
print("enough")
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a quarter of the events and of all."""
    folder = tmp_path_factory.mktemp("streaming")
    paths = folder / "few.h5", folder / "many.h5"
    attributes = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "nominal", "nominal", {}, {})
    for path, count in zip(paths, (EVENTS, 4 * EVENTS), strict=True):
        write_events(path, (drawn(5_000, first) for first in range(0, count, 5_000)), attributes)
    return paths


def drawn(count: int, first: int) -> LabelledEvents:
    """Events of :data:`VOXELS` voxels on a line."""
    rng = np.random.default_rng(first)
    coords = np.zeros((count, VOXELS, 3), np.int32)
    coords[:, :, 0] = np.arange(VOXELS)
    coords += rng.integers(-100, 100, (count, 1, 3), dtype=np.int32)
    truth = Primaries(
        first + np.arange(count),
        np.full(count, 13),
        np.ones(count, np.float32),
        np.zeros((count, 3), np.float32),
        np.ones((count, 3), np.float32),
    )
    features = rng.normal(100, 1, (count * VOXELS, 1)).astype(np.float32)
    events = Events(np.arange(count + 1) * VOXELS, coords.reshape(-1, 3), features)
    return LabelledEvents(events, rng.integers(0, 3, count), truth)


def run(files: tuple[Path, Path], folder: Path, large: int) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    arguments = [*map(str, files), str(folder), str(large), str(ALLOWED_MB)]
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        # Every thread, and every arena of the allocator, would count with its stack or its reserve.
        env={
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
            "PYTHONPATH": ":".join(sys.path),
        },
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts mapped memory in RLIMIT_DATA")
def test_four_times_the_events_take_no_more_memory(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(files, tmp_path, large=2**20)
    assert done.stdout == "enough\n", done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts mapped memory in RLIMIT_DATA")
def test_the_limit_is_one_that_events_in_memory_do_not_keep(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(files, tmp_path, large=2**40)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr or "alloc" in done.stderr, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sealed", [False, True])
def test_arrays_on_disk_give_the_same_bits(
    synthetic_events: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    """A run whose arrays lie on disk ends with the same predictions.

    In the sealed one the child reads as always what a parent whose arrays are mapped has handed over.
    """
    request = Request(
        "classifier", "gains", dataset="drawn", device="cpu", settings={"views": "160", "batch_size": "16"}
    )
    found = []
    for name in ("memory", "disk"):
        if name == "disk":
            monkeypatch.setattr(large_arrays, "LARGE", 0)
        registry = load_plugins()
        build(registry, tmp_path / name, synthetic_events)
        runner = Runner(request, registry, tmp_path / name, SilentProgress(), 1, sealed=sealed)
        found.append(runner.run(0).predictions)
    assert found[0] == found[1]


def test_events_handed_over_in_parts_come_back_in_their_order(
    synthetic_events: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = synthetic_events(50, 3).events
    expected = np.add.reduceat(events.features[:, 0], events.offsets[:-1])
    sizes: list[int] = []

    class Session:
        def outputs(self, some: Events) -> Outputs:
            sizes.append(len(some))
            return Outputs(np.add.reduceat(some.features[:, 0], some.offsets[:-1])[:, None], None)

    monkeypatch.setattr(scoring, "EVENTS_AT_A_TIME", 16)
    readouts = FittedReadouts("sums", 3, None, 1)
    outputs = readouts.shuffled_outputs(cast("TrainingSession", Session()), events, bytes(16), "nominal", tmp_path)
    assert sizes == [16, 16, 16, 2]
    assert outputs.log_probabilities is None
    assert outputs.embeddings is not None
    assert np.array_equal(outputs.embeddings[:, 0], expected)


def test_a_model_that_gives_scores_for_some_events_alone_is_blamed(tmp_path: Path) -> None:
    rows = OutputRows(4, tmp_path)
    one = np.zeros((2, 3), np.float32)
    rows.put(np.array([0, 1]), Outputs(one, one), "mine")
    with pytest.raises(
        PluginError, match="'mine' returned embeddings, log_probabilities for some events and embeddings"
    ):
        rows.put(np.array([2, 3]), Outputs(one, None), "mine")
    assert OutputRows(0, tmp_path).whole() == Outputs(None, None)
