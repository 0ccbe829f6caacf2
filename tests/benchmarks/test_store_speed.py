"""Speed of the files and their size: ``pytest tests/benchmarks --benchmark-enable``.

Without that option each runs once, as a test, on few events.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nubench.containers import Deposits, Events, LabelledEvents, Primaries
from nubench.events.store import (
    EventAttributes,
    TruthChunk,
    read_events,
    read_truth,
    stream_events,
    write_events,
    write_truth,
)

ATTRIBUTES = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "nominal", "nominal", {}, {})
VOXELS, DEPOSITS = 516, 1200  # means of an event of the LArTPC
EVENTS_A_CHUNK = 512


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def count(request: pytest.FixtureRequest) -> int:
    """4,096 events to measure, 20 to test."""
    return 4096 if request.config.getoption("benchmark_enable") else 20


def _ragged(random: np.random.Generator, count: int, mean: int) -> np.ndarray:
    """Row boundaries of events of very different sizes."""
    return np.concatenate([[0], np.cumsum(random.geometric(1 / mean, count))]).astype(np.int64)


def _primaries(random: np.random.Generator, count: int) -> Primaries:
    numbers = random.normal(size=(count, 7)).astype(np.float32)
    return Primaries(np.arange(count), np.full(count, 13), numbers[:, 0], numbers[:, 1:4], numbers[:, 4:])


@pytest.fixture(scope="module")
def events(random: np.random.Generator, count: int) -> LabelledEvents:
    """Voxels along paths that turn slowly, with counts like those of a readout."""
    offsets = _ragged(random, count, VOXELS)
    rows = int(offsets[-1])
    coords = np.cumsum(random.integers(-1, 2, size=(rows, 3)), axis=0) + np.array([400, -200, 1700])
    features = np.rint(random.gamma(4, 12, size=(rows, 1)) + 78)
    voxels = Events(offsets, coords.astype(np.int32), features.astype(np.float32))
    return LabelledEvents(voxels, random.integers(0, 3, count), _primaries(random, count))


@pytest.fixture(scope="module")
def truth(random: np.random.Generator, count: int) -> list[TruthChunk]:
    """Half of the deposits continue the one before; the others are short, a tenth of all are points."""
    return [_truth_chunk(random, min(EVENTS_A_CHUNK, count - first)) for first in range(0, count, EVENTS_A_CHUNK)]


def _truth_chunk(random: np.random.Generator, count: int) -> TruthChunk:
    offsets = _ragged(random, count, DEPOSITS)
    rows = int(offsets[-1])
    continues = random.random(rows) < 0.52
    continues[offsets[:-1]] = False
    length = np.where(continues, random.exponential(0.3, rows), random.exponential(1e-3, rows))
    length[~continues & (random.random(rows) < 0.2)] = 0
    direction = random.normal(size=(rows, 3))
    step = length[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    gap = np.where(continues[:, None], 0, random.normal(scale=2, size=(rows, 3)))
    track = np.cumsum(step + gap, axis=0)
    track -= np.repeat(track[offsets[:-1]], np.diff(offsets), axis=0)
    end = (track + np.array([150, -70, 660])).astype(np.float32)
    start = (end - step).astype(np.float32)
    start[1:][continues[1:]] = end[:-1][continues[1:]]
    start[length == 0] = end[length == 0]
    deposits = Deposits(
        offsets,
        start,
        end,
        random.lognormal(-2, 1.5, rows).astype(np.float32),
        (0.007 + np.cumsum(random.normal(scale=1e-5, size=rows))).astype(np.float32),
    )
    return TruthChunk(_primaries(random, count), random.integers(0, 3, count), deposits)


def _report(benchmark, count: int, path: Path) -> None:
    benchmark.extra_info["kb_an_event"] = path.stat().st_size / 1e3 / count
    if benchmark.enabled:
        benchmark.extra_info["events_per_second"] = count / benchmark.stats.stats.min


def test_write_events(benchmark, events, count, tmp_path):
    file = tmp_path / "events.h5"
    assert benchmark(write_events, file, [events], ATTRIBUTES)[0] == count
    _report(benchmark, count, file)


def test_read_events(benchmark, events, count, tmp_path):
    file = tmp_path / "events.h5"
    write_events(file, [events], ATTRIBUTES)
    assert len(benchmark(read_events, file)) == count
    _report(benchmark, count, file)


def test_stream_events(benchmark, events, count, tmp_path):
    file = tmp_path / "events.h5"
    write_events(file, [events], ATTRIBUTES)
    assert benchmark(lambda: sum(len(chunk) for chunk in stream_events(file, EVENTS_A_CHUNK))) == count
    _report(benchmark, count, file)


def test_write_truth(benchmark, truth, count, tmp_path):
    file = tmp_path / "truth.h5"
    assert benchmark(write_truth, file, truth, ("a", "b", "c"), {}) == count
    _report(benchmark, count, file)


def test_read_truth(benchmark, truth, count, tmp_path):
    file = tmp_path / "truth.h5"
    write_truth(file, truth, ("a", "b", "c"), {})
    assert benchmark(lambda: sum(len(chunk.labels) for chunk in read_truth(file, EVENTS_A_CHUNK))) == count
    _report(benchmark, count, file)
