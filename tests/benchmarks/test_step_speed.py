"""What a training step is made of, on the processor: ``pytest tests/benchmarks --benchmark-enable``.

Shares are of times in one run. Without that option each runs once, as a test, on few events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from nubench.backbone import build_backbone
from nubench.backbone_designs import reference_events
from nubench.containers import Events
from nubench.environment import peak_memory_mb
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import build_pyramid
from nubench.training.prefetch import Prefetcher, ready_batches

FORGET_PEAK, PEAK = Path("/proc/self/clear_refs"), Path("/proc/self/status")
CLASSES = 5


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("benchmark_enable"))


@pytest.fixture(scope="module")
def events(measured: bool) -> Events:
    """Events with the occupancy of the LArTPC's, enough for a few batches."""
    return reference_events(512 if measured else 12)


def make_step(preset: str) -> Callable[[SparseBatch], float]:
    """A supervised training step: maps, forward, backward, optimiser."""
    torch.manual_seed(0)
    backbone = build_backbone(preset)
    head = torch.nn.Linear(backbone.embedding_size, CLASSES)
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-3, fused=True)

    def step(batch: SparseBatch) -> float:
        loss = torch.nn.functional.cross_entropy(head(backbone(batch)), torch.arange(batch.size) % CLASSES)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def fastest(function: Callable[[], object], rounds: int = 5) -> float:
    """Shortest of several times, in seconds: other programs can only make it longer."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_memory_of(function: Callable[[], object]) -> float:
    """Largest resident memory of the process while it runs, MiB; before it too where the system cannot forget."""
    if not PEAK.exists():
        function()
        return peak_memory_mb()
    FORGET_PEAK.write_text("5")
    function()
    (line,) = (line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_maps_and_memory_of_a_step(benchmark, events, measured, preset):
    """Of 128 events: the share of the neighbour maps, and the memory at its peak."""
    step = make_step(preset)
    batch = SparseBatch.from_events(events, np.arange(128 if measured else 6))
    assert benchmark.pedantic(step, (batch,), rounds=5 if measured else 1, warmup_rounds=int(measured)) < 10
    peak = peak_memory_of(lambda: step(batch))
    assert peak > 0
    if benchmark.enabled:
        strides, kernel = build_backbone(preset).config.strides, 7
        maps = fastest(lambda: build_pyramid(batch, strides, kernel))
        benchmark.extra_info["share_of_maps"] = maps / benchmark.stats.stats.min
        benchmark.extra_info["events_per_second"] = batch.size / benchmark.stats.stats.min
        benchmark.extra_info["peak_memory_MiB"] = peak


@pytest.mark.parametrize("prefetched", [False, True], ids=["in-turn", "prefetched"])
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_waiting_for_data(benchmark, events, measured, preset, prefetched):
    """The share of a training loop's time that the steps wait for the next batch of 128 events."""
    step = make_step(preset)
    size, steps = (128, 4) if measured else (4, 2)
    waits = []

    def loop() -> int:
        random = np.random.default_rng(0)
        indices = (random.integers(0, len(events), size) for _ in range(steps))
        made = ready_batches(events, indices, 0.0, 1.0, "cpu")
        waited, done = 0.0, 0
        start = asked = time.perf_counter()
        with Prefetcher(made) if prefetched else nullcontext(made) as batches:
            for _, batch in batches:
                waited += time.perf_counter() - asked
                step(batch)
                done += 1
                asked = time.perf_counter()
        waits.append(waited / (time.perf_counter() - start))
        return done

    assert benchmark.pedantic(loop, rounds=2 if measured else 1) == steps
    assert 0 < min(waits) < 1
    if benchmark.enabled:
        benchmark.extra_info["share_of_waiting"] = min(waits)
