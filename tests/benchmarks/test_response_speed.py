"""Speed of the detector responses on the CPU: ``pytest tests/benchmarks --benchmark-enable``.

Without that option each runs once, as a test, on few events. What is reported are rates, and ratios that do not depend
on the machine; nothing fails on a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nubench.containers import Deposits, Events
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, simulate, simulate_draws
from nubench.simulation.resimulation import Resimulator

NOMINAL = LArTPCParameters()


@pytest.fixture(scope="module")
def tracks(request: pytest.FixtureRequest) -> Deposits:
    """Minimum ionising tracks of 4 m in 1 mm steps, some 1,200 hits each: 64 to measure, 4 to test."""
    random = np.random.default_rng(3)
    events, steps = (64 if request.config.getoption("benchmark_enable") else 4), 4000
    direction = np.repeat(random.normal(size=(events, 1, 3)), steps, axis=1)
    direction += np.cumsum(random.normal(scale=0.01, size=direction.shape), axis=1)
    direction *= 0.1 / np.linalg.norm(direction, axis=2, keepdims=True)
    vertex = random.uniform([-50, -50, 600], [50, 50, 700], (events, 1, 3))
    end = (vertex + np.cumsum(direction, axis=1)).reshape(-1, 3).astype(np.float32)
    start = (end.reshape(events, steps, 3) - direction).reshape(-1, 3).astype(np.float32)
    energy = random.gamma(4.0, 0.052, len(end)).astype(np.float32)
    return Deposits(np.arange(events + 1) * steps, start, end, energy, np.zeros_like(energy))


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Best of three."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return float(best)


def report(benchmark: Any, deposits: Deposits, events: Events) -> None:
    fastest = benchmark.stats.stats.min
    benchmark.extra_info["events_per_second"] = len(deposits) / fastest
    benchmark.extra_info["deposits_per_second"] = len(deposits.energy) / fastest
    benchmark.extra_info["voxels_per_event"] = len(events.coords) / len(events)


def test_lartpc_response(benchmark, tracks):
    """One core, and what two gain."""
    event_id = np.arange(len(tracks))
    events = benchmark(simulate, tracks, event_id, NOMINAL, 1, 1)
    assert 800 < len(events.coords) / len(events) < 1800
    if benchmark.enabled:
        report(benchmark, tracks, events)
        two = seconds(simulate, tracks, event_id, NOMINAL, 1, 2)
        benchmark.extra_info["speed_up_of_two_threads"] = benchmark.stats.stats.min / two


def test_lartpc_resimulation(benchmark, tracks):
    """Two draws of each event, as a method that trains on pairs needs them, against two separate simulations."""
    event_id = np.arange(len(tracks))
    resimulator = Resimulator(tracks, event_id, simulate_draws, draw_parameters)
    first, second = benchmark(resimulator.draws, event_id, 0, 1)
    assert len(first) == len(second) == len(tracks)
    if benchmark.enabled:
        report(benchmark, tracks, first)
        points = draw_parameters(0, event_id)
        separate = 2 * seconds(simulate, tracks, event_id, points, 1)
        benchmark.extra_info["times_faster_than_separate_simulations"] = separate / benchmark.stats.stats.min


def test_lartpc_points_that_share_their_charge(benchmark, tracks):
    """Six throws of the front end at once, against one."""
    event_id, points = np.arange(len(tracks)), draw_parameters(4, np.arange(6))
    draws = benchmark(simulate_draws, tracks, event_id, points, [1] * 6)
    assert len(draws) == 6
    if benchmark.enabled:
        one = seconds(simulate, tracks, event_id, points[0], 1)
        benchmark.extra_info["times_the_cost_of_one_point"] = benchmark.stats.stats.min / one
