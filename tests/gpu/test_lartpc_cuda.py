"""The torch back end of the LArTPC on a GPU: the numbers of the CPU, and the same bits in every run and batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nubench.containers import Deposits, Events
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, simulate
from nubench.simulation.lartpc.torch_deposits import DeviceDeposits
from nubench.simulation.lartpc.torch_hits import DeviceEvents
from nubench.simulation.lartpc.torch_random import random_words
from nubench.simulation.lartpc.torch_response import simulate_draws_torch, simulate_torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that this build of torch can use")

NOMINAL = LArTPCParameters()
EVENTS = 40


@pytest.fixture(scope="module")
def tracks() -> Deposits:
    """Minimum ionising tracks of half a metre in 1 mm steps."""
    random = np.random.default_rng(3)
    steps = 500
    direction = random.normal(size=(EVENTS, 1, 3))
    direction *= 0.1 / np.linalg.norm(direction, axis=2, keepdims=True)
    vertex = random.uniform([-50, -50, 600], [50, 50, 700], (EVENTS, 1, 3))
    start = (vertex + np.arange(steps)[None, :, None] * direction).reshape(-1, 3)
    end = start + np.repeat(direction[:, 0], steps, axis=0)
    energy = random.gamma(4.0, 0.052, len(start)).astype(np.float32)
    offsets = np.arange(EVENTS + 1) * steps
    return Deposits(offsets, start.astype(np.float32), end.astype(np.float32), energy, np.zeros_like(energy))


def voxels(events: Events) -> set[tuple[float, ...]]:
    event = np.repeat(np.arange(len(events)), events.voxels_per_event)
    return set(map(tuple, np.column_stack([event, events.coords, events.features]).tolist()))


def agreement(first: Events, second: Events) -> float:
    return len(voxels(first) & voxels(second)) / len(voxels(first) | voxels(second))


def same(first: DeviceEvents, second: DeviceEvents) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("offsets", "coords", "features"))


def test_random_bits_are_those_of_the_cpu() -> None:
    key, channel = torch.randint(-(2**62), 2**62, (2, 1000), generator=torch.Generator().manual_seed(1))
    words = random_words(key, channel, 7, 3)
    assert torch.equal(random_words(key.cuda(), channel.cuda(), 7, 3).cpu(), words)


@pytest.mark.parametrize(
    "parameters", [NOMINAL, LArTPCParameters(recombination="box", electric_field=0.45)], ids=["nominal", "box"]
)
def test_voxels_are_those_of_both_cpu_back_ends(tracks: Deposits, parameters: LArTPCParameters) -> None:
    event_id = np.arange(EVENTS)
    events = simulate_torch(tracks, event_id, parameters, 5, "cuda").to_events()
    assert len(events.coords) > 2000
    assert agreement(events, simulate_torch(tracks, event_id, parameters, 5).to_events()) > 0.9995
    assert agreement(events, simulate(tracks, event_id, parameters, 5)) > 0.999


@pytest.mark.parametrize("strict", [False, True], ids=["as it is", "deterministic mode"])
def test_the_same_bits_in_every_run_and_batch(tracks: Deposits, strict: bool) -> None:
    event_id = np.arange(EVENTS)
    points = draw_parameters(3, event_id)
    on_device = DeviceDeposits.of(tracks, "cuda")
    together = simulate_torch(on_device, event_id, points, 5)
    torch.use_deterministic_algorithms(strict)
    try:
        assert same(simulate_torch(on_device, event_id, points, 5), together)
        assert same(simulate_torch(on_device, event_id, points, 5, pairs_at_once=1), together)
        draws = simulate_draws_torch(on_device, event_id, [NOMINAL, points], [4, 5])
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(draws[1], together)
    order = np.random.default_rng(0).permutation(EVENTS)
    shuffled = simulate_torch(on_device.select(order), order, [points[event] for event in order], 5)
    assert voxels(together.to_events().select(order)) == voxels(shuffled.to_events())


def test_results_stay_on_the_device(tracks: Deposits) -> None:
    events = simulate_torch(tracks, np.arange(EVENTS), NOMINAL, 1, "cuda")
    assert events.coords.is_cuda
    assert events.features.is_cuda
    assert events.offsets.is_cuda
