"""Speed of the torch back end of the LArTPC beside the compiled one: ``pytest tests/benchmarks --benchmark-enable``.

Without that option each runs once, as a test, on few events. On a GPU the same code is what a training that
re-simulates waits for; on a CPU the compiled back end is the faster one. Nothing fails on a clock.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from nubench.containers import Deposits
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, simulate
from nubench.simulation.lartpc.torch_deposits import DeviceDeposits
from nubench.simulation.lartpc.torch_response import simulate_draws_torch, simulate_torch

NOMINAL = LArTPCParameters()
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tracks(request: pytest.FixtureRequest, device: str) -> Deposits:
    """Minimum ionising tracks of 2 m in 1 mm steps, some 550 voxels each: 2 to test, more to measure."""
    measured = 512 if device == "cuda" else 32
    random = np.random.default_rng(3)
    events, steps = (measured if request.config.getoption("benchmark_enable") else 2), 2000
    direction = np.repeat(random.normal(size=(events, 1, 3)), steps, axis=1)
    direction += np.cumsum(random.normal(scale=0.01, size=direction.shape), axis=1)
    direction *= 0.1 / np.linalg.norm(direction, axis=2, keepdims=True)
    vertex = random.uniform([-50, -50, 600], [50, 50, 700], (events, 1, 3))
    end = (vertex + np.cumsum(direction, axis=1)).reshape(-1, 3).astype(np.float32)
    start = (end.reshape(events, steps, 3) - direction).reshape(-1, 3).astype(np.float32)
    energy = random.gamma(4.0, 0.052, len(end)).astype(np.float32)
    return Deposits(np.arange(events + 1) * steps, start, end, energy, np.zeros_like(energy))


def finish(device: str) -> None:
    """Wait for the device, which works on after a call has returned."""
    if device == "cuda":
        torch.cuda.synchronize()


def compiled_rate(tracks: Deposits) -> float:
    """Events per second of the compiled back end on one core, in this run."""
    event_id = np.arange(len(tracks))
    simulate(tracks, event_id, NOMINAL, 1, 1)
    start = time.perf_counter()
    simulate(tracks, event_id, NOMINAL, 1, 1)
    return len(tracks) / (time.perf_counter() - start)


def report(benchmark: Any, tracks: Deposits, draws: int, device: str) -> None:
    rate = draws * len(tracks) / benchmark.stats.stats.min
    benchmark.extra_info["events_per_second"] = rate
    benchmark.extra_info["times_one_core_of_the_compiled_back_end"] = rate / compiled_rate(tracks)
    if device == "cuda":
        benchmark.extra_info["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9


def test_torch_response(benchmark, tracks, device):
    """One point, deposits on the device."""
    event_id, on_device = np.arange(len(tracks)), DeviceDeposits.of(tracks, device)

    def respond() -> int:
        events = simulate_torch(on_device, event_id, NOMINAL, 1)
        finish(device)
        return len(events.coords)

    assert 300 < benchmark(respond) / len(tracks) < 900
    if benchmark.enabled:
        report(benchmark, tracks, 1, device)


def test_torch_resimulation(benchmark, tracks, device):
    """Two draws of each event, each with its own throw, as a method that trains on pairs needs them."""
    event_id, on_device = np.arange(len(tracks)), DeviceDeposits.of(tracks, device)
    points = [draw_parameters(seed, event_id) for seed in (1, 2)]

    def respond() -> int:
        first, second = simulate_draws_torch(on_device, event_id, points, [1, 2])
        finish(device)
        return len(first) + len(second)

    assert benchmark(respond) == 2 * len(tracks)
    if benchmark.enabled:
        report(benchmark, tracks, 2, device)
