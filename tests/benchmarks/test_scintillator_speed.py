"""Speed of the scintillator's response: ``pytest tests/benchmarks --benchmark-enable``.

Without that option it runs once, as a test, on few events.
"""

from __future__ import annotations

import numpy as np
import pytest

from nubench.containers import Deposits
from nubench.simulation.scintillator import ScintillatorParameters, simulate


def wandering_track(random: np.random.Generator, steps: int) -> np.ndarray:
    """Corners of a path in steps of 1 mm that turns slowly, with the origin somewhere near its beginning."""
    direction = random.normal(size=3) + np.cumsum(0.05 * random.normal(size=(steps, 3)), axis=0)
    direction *= 0.1 / np.linalg.norm(direction, axis=1, keepdims=True)
    return random.uniform(-50, 50, 3) + np.cumsum(direction, axis=0)


@pytest.fixture(scope="module")
def deposits(request: pytest.FixtureRequest) -> Deposits:
    """512 events of about 900 deposits to measure, as Geant4 gives on average; 8 to test."""
    size = 512 if request.config.getoption("benchmark_enable") else 8
    random = np.random.default_rng(0)
    paths = [wandering_track(random, int(random.integers(200, 1600))) for _ in range(size)]
    start = np.concatenate([path[:-1] for path in paths]).astype(np.float32)
    end = np.concatenate([path[1:] for path in paths]).astype(np.float32)
    offsets = np.cumsum([0, *(len(path) - 1 for path in paths)]).astype(np.int64)
    energy = random.gamma(4.0, 0.052, len(start)).astype(np.float32)
    return Deposits(offsets, start, end, energy, np.zeros(len(start), np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_response(benchmark, deposits, threads):
    event_id = np.arange(len(deposits))
    response = benchmark(simulate, deposits, event_id, ScintillatorParameters(), 1, threads)
    assert len(response) == len(deposits)
    assert np.all(response.events.voxels_per_event > 0)
    if benchmark.enabled:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["events_per_second"] = len(deposits) / seconds
        benchmark.extra_info["deposits_per_second"] = len(deposits.energy) / seconds
