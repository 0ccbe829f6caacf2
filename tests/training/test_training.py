from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nubench.containers import LabelledEvents
from nubench.errors import NubenchError, PluginError, UsageError
from nubench.interrupts import Interrupted, listening
from nubench.methods import Context, TrainingConfig, TrainingView
from nubench.progress import SilentProgress
from nubench.training import NetworkModel, Step, TrainingRecord, snapshot_folders, train
from nubench.training import loop as training
from nubench.training.network_model import nearest_mean_accuracy, validation_score
from training_views import training_view

Make = Callable[..., LabelledEvents]
CONFIG = TrainingConfig(views=640, batch_size=16, learning_rate=3e-3)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(synthetic_events: Make) -> TrainingView:
    source, val = synthetic_events(96, 1), synthetic_events(48, 2)
    return training_view(source, val)


def _context(directory: Path) -> Context:
    directory.mkdir(exist_ok=True)
    return Context(3, torch.device("cpu"), "smoke", "tiny", "native", directory, SilentProgress())


def _fit(
    data: TrainingView,
    directory: Path,
    config: TrainingConfig = CONFIG,
    before_step: Callable[[int], None] = lambda _: None,
) -> NetworkModel:
    context = _context(directory)
    backbone = context.build_backbone()
    head = nn.Linear(backbone.embedding_size, 3)

    def loss(step: Step) -> torch.Tensor:
        before_step(step.number)
        return nn.functional.cross_entropy(head(backbone(step.batch)), step.labels)

    record = train({"backbone": backbone, "head": head}, loss, data, config, context)
    return NetworkModel(backbone, data, context, record, head=head)


def test_a_network_learns_what_can_be_learnt(data: TrainingView, tmp_path: Path, synthetic_events: Make) -> None:
    source = synthetic_events(600, 3)
    more = replace(data, train=source.events, train_labels=source.labels)
    model = _fit(more, tmp_path, TrainingConfig(views=6400, batch_size=16, learning_rate=5e-3))
    scores = model.log_probabilities(data.val)
    assert scores is not None
    assert np.mean(scores.argmax(1) == data.val_labels) > 0.9
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert model.embed(data.val).shape == (48, 128)
    assert model.training_record["events"] == 6400


def test_a_killed_training_goes_on_to_the_same_weights(
    data: TrainingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    whole = _fit(data, tmp_path / "whole")

    def kill(number: int) -> None:
        if number == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit(data, tmp_path / "killed", before_step=kill)
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    steps: list[int] = []
    resumed = _fit(data, tmp_path / "killed", before_step=steps.append)

    assert 0 < steps[0] <= 23
    assert np.array_equal(whole.embed(data.val), resumed.embed(data.val))
    assert whole.training_record["history"] == resumed.training_record["history"]
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_a_training_that_is_asked_to_stop_keeps_the_step_that_it_is_in(data: TrainingView, tmp_path: Path) -> None:
    whole = _fit(data, tmp_path / "whole")

    def ask(number: int) -> None:
        if number == 23:
            os.kill(os.getpid(), signal.SIGTERM)

    with listening(), pytest.raises(Interrupted):
        _fit(data, tmp_path / "stopped", before_step=ask)
    steps: list[int] = []
    resumed = _fit(data, tmp_path / "stopped", before_step=steps.append)

    assert steps == list(range(24, 40))
    assert np.array_equal(whole.embed(data.val), resumed.embed(data.val))
    assert whole.training_record["history"] == resumed.training_record["history"]


def test_a_finished_training_is_only_loaded(data: TrainingView, tmp_path: Path) -> None:
    first = _fit(data, tmp_path)
    steps: list[int] = []
    second = _fit(data, tmp_path, before_step=steps.append)
    assert steps == []
    assert np.array_equal(first.embed(data.val), second.embed(data.val))
    assert first.training_record == second.training_record


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_events(data: TrainingView, tmp_path: Path) -> None:
    context = _context(tmp_path)
    layer = nn.Linear(1, 1)
    shown: list[str] = []

    def loss(step: Step) -> torch.Tensor:
        shown.append(", ".join(map(str, step.index)))
        return layer.weight.sum() * (float("nan") if step.number == 4 else 1.0)

    with pytest.raises(NubenchError, match="the loss is nan at step 4 of 40, batch of the training events") as raised:
        train({"layer": layer}, loss, data, CONFIG, context)
    assert f"events {shown[-1]};" in str(raised.value)
    assert not (tmp_path / "weights.safetensors").exists()


def test_every_epoch_shows_every_event_once_and_views_are_the_budget(data: TrainingView, tmp_path: Path) -> None:
    seen: list[int] = []
    layer = nn.Linear(1, 1)
    order = data.train_labels.copy()
    numbered = replace(data, train_labels=np.arange(len(order)))

    def loss(step: Step) -> torch.Tensor:
        seen.extend(step.labels.tolist())
        return layer.weight.sum()

    record = train({"layer": layer}, loss, numbered, CONFIG, _context(tmp_path), views_per_event=2)

    assert record.views == 640
    assert record.events == len(seen) == 320
    epochs = [seen[first : first + 96] for first in range(0, 288, 96)]
    assert all(sorted(epoch) == list(range(96)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_target_events_come_in_batches_of_their_own_order(
    data: TrainingView, tmp_path: Path, synthetic_events: Make
) -> None:
    target = synthetic_events(40, 9).events
    layer = nn.Linear(1, 1)
    voxels: list[int] = []

    def loss(step: Step) -> torch.Tensor:
        assert step.target is not None
        assert step.target.size == step.batch.size == 8
        assert np.array_equal(data.train_labels[step.index], step.labels.numpy())
        voxels.append(len(step.target.coords))
        return layer.weight.sum()

    train({"layer": layer}, loss, data, CONFIG, _context(tmp_path), 2, target=target)
    # Five batches are an epoch: each shows every event once.
    assert [sum(voxels[first : first + 5]) for first in range(0, 40, 5)] == [len(target.coords)] * 8
    with pytest.raises(NubenchError, match="larger than the 5 target events"):
        train({"layer": layer}, loss, data, CONFIG, _context(tmp_path / "few"), 2, target=synthetic_events(5, 1).events)


@pytest.mark.parametrize("killed_at", [None, 31])
def test_the_weights_of_the_highest_score_are_kept(
    data: TrainingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int | None
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    layer = nn.Linear(1, 1, bias=False)
    target_weight = 0.5 - 0.02  # passed on the way from 0.5 to far below
    kill = killed_at

    def loss(step: Step) -> torch.Tensor:
        if step.number == kill:
            raise KeyboardInterrupt
        return layer.weight.sum()

    def closeness() -> float:
        return -abs(layer.weight.item() - target_weight)

    def fit() -> float:
        nn.init.constant_(layer.weight, 0.5)
        train({"layer": layer}, loss, data, CONFIG, _context(tmp_path), select=closeness)
        return layer.weight.item()

    if kill is not None:
        with pytest.raises(KeyboardInterrupt):
            fit()
        kill = None
    assert fit() == pytest.approx(target_weight, abs=0.01)


def test_a_batch_larger_than_the_source_is_refused(data: TrainingView, tmp_path: Path) -> None:
    with pytest.raises(NubenchError, match="a batch of 128 events is larger than the 96 training events"):
        _fit(data, tmp_path, TrainingConfig(views=640, batch_size=128))


def test_what_a_view_does_not_offer_is_refused_with_the_reason(data: TrainingView) -> None:
    with pytest.raises(PluginError, match="'mine' reads the labels of target events"):
        _ = data.target_labels
    with pytest.raises(UsageError, match="'mine' simulates the training events again, which this data set does not"):
        data.resimulator()


def test_undeclared_target_access_names_the_method(data: TrainingView) -> None:
    with pytest.raises(PluginError, match="method 'mine' reads the target events but declares target_access = 'none'"):
        _ = data.target


def test_snapshots_are_finished_trainings_along_the_way(data: TrainingView, tmp_path: Path) -> None:
    context = replace(_context(tmp_path), snapshots=4)

    def fit(context: Context, config: TrainingConfig = CONFIG) -> NetworkModel:
        backbone = context.build_backbone()
        head = nn.Linear(backbone.embedding_size, 3)
        record = train(
            {"backbone": backbone, "head": head},
            lambda step: nn.functional.cross_entropy(head(backbone(step.batch)), step.labels),
            data,
            config,
            context,
        )
        return NetworkModel(backbone, data, context, record, head=head)

    last = fit(context)
    folders = snapshot_folders(tmp_path)
    assert [int(folder.name) for folder in folders] == [160, 320, 480, 640]
    loaded = [fit(replace(context, snapshot=folder)) for folder in folders]
    assert [model.training_record["views"] for model in loaded] == [160, 320, 480, 640]
    assert np.array_equal(loaded[-1].embed(data.val), last.embed(data.val))
    assert not np.allclose(loaded[0].embed(data.val), last.embed(data.val))


def _logging(directory: Path, lines: list[str]) -> Context:
    class Lines(SilentProgress):
        def say(self, text: str) -> None:
            lines.append(text)

    return replace(_context(directory), progress=Lines())


def test_snapshots_that_are_missing_are_made_by_the_same_training_again(data: TrainingView, tmp_path: Path) -> None:
    layer = nn.Linear(1, 1)
    steps: list[int] = []

    def fit(context: Context) -> float:
        nn.init.constant_(layer.weight, 0.5)

        def loss(step: Step) -> torch.Tensor:
            steps.append(step.number)
            return layer.weight.sum() * step.batch.features.mean()

        train({"layer": layer}, loss, data, CONFIG, context)
        return layer.weight.item()

    context = _context(tmp_path)
    first = fit(context)
    assert snapshot_folders(tmp_path) == []
    assert fit(replace(context, snapshots=2)) == first
    assert steps == [*range(40), *range(40)]
    assert fit(replace(context, snapshots=2)) == first
    assert len(steps) == 80
    # A snapshot of another training is not this one's.
    assert fit(replace(context, snapshot=tmp_path / "other" / "snapshots" / "000000000320")) == first
    assert fit(replace(context, snapshot=snapshot_folders(tmp_path)[0])) != first


@pytest.mark.parametrize("killed_at", [None, 26])
def test_early_stop_ends_a_training_that_gets_no_better(
    data: TrainingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int | None
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    layer = nn.Linear(1, 1, bias=False)
    lines: list[str] = []
    kill = killed_at

    def loss(step: Step) -> torch.Tensor:
        if step.number == kill:
            raise KeyboardInterrupt
        return layer.weight.sum()

    def fit(config: TrainingConfig) -> tuple[int, float]:
        nn.init.constant_(layer.weight, 0.5)
        # Two steps an evaluation: best after 8 steps, as the learning rate is constant.
        context = _logging(tmp_path / str(config.early_stop), lines)
        record = train({"layer": layer}, loss, data, config, context, select=lambda: -abs(layer.weight.item() - 0.42))
        return record.steps, layer.weight.item()

    config = CONFIG.model_copy(update={"learning_rate": 0.01, "schedule": "constant", "warmup": 0.0})
    stopping = config.model_copy(update={"early_stop": 10})
    if kill is not None:
        with pytest.raises(KeyboardInterrupt):
            fit(stopping)
        kill = None
    steps, weight = fit(stopping)
    assert steps == 8 + 2 * 10
    assert lines == ["stopped at step 28 of 40: no better on validation events"]
    assert fit(config) == (40, weight)


@pytest.mark.parametrize("with_head", [True, False])
def test_early_stop_scores_source_validation_events(data: TrainingView, tmp_path: Path, with_head: bool) -> None:
    context = _context(tmp_path)
    backbone = context.build_backbone()
    head = nn.Linear(backbone.embedding_size, 3)
    modules = {"backbone": backbone, "head" if with_head else "projection": head}
    score = validation_score(modules, data, context)
    if with_head:
        rows = NetworkModel(backbone, data, context, TrainingRecord(0, 0, 0, 0.0), head).log_probabilities(data.val)
        assert rows is not None
        assert score() == np.mean(rows.argmax(1) == data.val_labels)
    else:
        embeddings = NetworkModel(backbone, data, context, TrainingRecord(0, 0, 0, 0.0)).embed(data.val)
        assert score() == nearest_mean_accuracy(embeddings, data.val_labels)


def test_early_stop_without_anything_to_score_is_refused(data: TrainingView, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"early_stop": 3})
    with pytest.raises(UsageError, match=r"early_stop has nothing to go by .* early_stop=0 turns it off"):
        train({"layer": nn.Linear(1, 1)}, lambda step: torch.zeros(()), data, config, _context(tmp_path))


def test_nearest_mean_accuracy_by_hand() -> None:
    # Two events of each class in each half, along the axes but for the last, which points to the other class.
    rows = np.array([[2, 0], [1, 0], [0, 1], [0, 3], [1, 0.1], [5, 0], [0, 1], [4, 1]], np.float32)
    labels = np.array([7, 7, 9, 9, 7, 7, 9, 9])
    assert nearest_mean_accuracy(rows, labels) == 7 / 8
    assert nearest_mean_accuracy(rows[:, ::-1], labels) == 7 / 8


def test_outputs_are_those_of_embed_and_log_probabilities(data: TrainingView, tmp_path: Path) -> None:
    model = _fit(data, tmp_path, TrainingConfig(views=32, batch_size=16))
    embeddings, scores = model.outputs(data.val)
    assert np.array_equal(embeddings, model.embed(data.val))
    assert np.array_equal(scores, model.log_probabilities(data.val))


def test_bf16_is_used_when_asked_for_and_trains(data: TrainingView, tmp_path: Path) -> None:
    types: set[torch.dtype] = set()
    layer = nn.Linear(4, 4)

    def loss(step: Step) -> torch.Tensor:
        product = layer(step.batch.features.expand(-1, 4))
        types.add(product.dtype)
        return product.float().square().mean()

    for precision in ("auto", "32", "bf16"):
        config = CONFIG.model_copy(update={"precision": precision, "views": 16})
        train({"layer": layer}, loss, data, config, _context(tmp_path / precision))
        assert types == {torch.bfloat16 if precision == "bf16" else torch.float32}
        assert layer.weight.dtype == torch.float32
        types.clear()
