"""Trainings that several processes share: the same loss, gradients and weights as in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shared_trainings as shared
import torch
from safetensors.torch import load_file
from torch import nn

from nubench.containers import LabelledEvents
from nubench.errors import PluginError
from nubench.methods import TrainingView
from nubench.shares import at_share, draw_per_event, equal_shares
from nubench.sparse.batch import SparseBatch, concatenate
from nubench.training.processes import Processes
from nubench.training.sharing import events_of, shared_out
from training_views import training_view

pytestmark = pytest.mark.usefixtures("one_thread")

Make = Callable[..., LabelledEvents]


@pytest.fixture(scope="module")
def data(synthetic_events: Make) -> TrainingView:
    source, val, target = (synthetic_events(count, seed) for count, seed in ((48, 1), (9, 2), (24, 3)))
    return training_view(source, val, target.events)


@pytest.fixture(scope="module")
def traces_of_two(data: TrainingView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    shared.together(2, shared.all_cases, data, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", shared.CASES)
def test_two_processes_compute_what_one_does(
    name: str, data: TrainingView, traces_of_two: Path, tmp_path: Path
) -> None:
    alone = shared.leave_traces(name, data, tmp_path)
    first, second = (load_file(traces_of_two / f"{name} {number}.safetensors") for number in range(2))
    assert sum(key.startswith("loss") for key in alone) == shared.STEPS
    assert set(alone) == set(first) == set(second)
    for key, wanted in alone.items():
        # AdamW divides a gradient by its own size: from the second step on, rounding is no longer rounding.
        allowed = 1e-5 if key.startswith(("loss", "gradient 0")) else 1e-3
        if name.endswith("bf16"):
            # Eight bits, summed in another order.
            allowed = 0.02 if key.startswith(("loss", "gradient 0")) else 0.5
        error = float((first[key] - wanted).double().norm() / wanted.double().norm().clamp_min(1e-12))
        assert error < allowed, (key, error)
        if not key.startswith("loss"):
            assert torch.equal(first[key], second[key]), key


@pytest.mark.slow
def test_when_one_process_is_asked_to_stop_all_do_and_one_goes_on_from_there(
    data: TrainingView, traces_of_two: Path, tmp_path: Path
) -> None:
    folder = traces_of_two / "interrupted"
    assert [path.name for path in folder.iterdir()] == ["checkpoint.pt"]
    shared.CASES["classifier"].fit(data, folder)
    shared.CASES["classifier"].fit(data, tmp_path / "alone")
    record = json.loads((folder / "training.json").read_text())
    assert [views for views, _ in record["history"]] == [16, 32, 48]
    resumed, alone = (load_file(place / "weights.safetensors") for place in (folder, tmp_path / "alone"))
    for name, weight in alone.items():
        assert torch.allclose(resumed[name], weight, atol=1e-4), name


@pytest.mark.slow
def test_a_step_of_fewer_events_than_processes_is_refused(traces_of_two: Path) -> None:
    for number in range(2):
        message = (traces_of_two / f"error {number}.txt").read_text()
        assert message == (
            "a step of 1 events cannot be shared out to 2 devices; take fewer, or a batch_size of at least 4"
        )


def test_shares_are_all_events_in_order() -> None:
    for events, processes in ((7, 3), (8, 2), (5, 5)):
        shares = equal_shares(events, processes)
        assert [event for share in shares for event in range(share.first, share.stop)] == list(range(events))
        assert {share.stop - share.first for share in shares} <= {events // processes, events // processes + 1}


def test_the_events_of_a_share_are_those_of_the_batch(data: TrainingView) -> None:
    batch = SparseBatch.from_events(data.train, np.arange(7))
    parts = [events_of(batch, share) for share in equal_shares(7, 2)]
    assert [part.size for part in parts] == [3, 4]
    whole = concatenate(*parts)
    for name in ("coords", "event", "features", "offsets"):
        assert torch.equal(getattr(whole, name), getattr(batch, name))


def test_what_is_drawn_for_an_event_does_not_depend_on_who_has_it() -> None:
    def draw(events: int) -> torch.Tensor:
        return torch.bernoulli(torch.full((events,), 0.5))

    torch.manual_seed(1)
    whole, after = draw_per_event(draw, 33), torch.rand(1)
    parts = []
    for share in equal_shares(33, 4):
        torch.manual_seed(1)
        with at_share(share):
            parts.append(draw_per_event(draw, share.stop - share.first))
        assert torch.equal(torch.rand(1), after)
    assert torch.equal(torch.cat(parts), whole)


def test_a_backbone_that_needs_the_whole_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.ModuleDict({"backbone": nn.Sequential(nn.BatchNorm1d(3))})
    network["backbone"].embedding_size = 3  # type: ignore[assignment]
    processes = Processes()
    with shared_out(network, processes):
        pass
    processes.count = 2
    with pytest.raises(PluginError, match="0 of the backbone is a BatchNorm1d"), shared_out(network, processes):
        pass
