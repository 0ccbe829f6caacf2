from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nubench.containers import Deposits, Events, Int64, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.errors import UsageError
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench.simulation.resimulation import Resimulator
from nubench.sparse.batch import SparseBatch
from nubench.training import NetworkModel, Step
from nubench.training import loop as training
from nubench_plugins import resimulation
from nubench_plugins.classifier import Classifier
from nubench_plugins.resimulation import (
    AugmentedResimulation,
    Resimulation,
    ResimulationClassifier,
    ResimulationClassifierConfig,
    ResimulationConfig,
    Resimulations,
)
from training_views import training_view

Make = Callable[..., LabelledEvents]
METHODS: list[type[Method]] = [Resimulation, AugmentedResimulation, ResimulationClassifier]
BUDGET = {"views": 512, "batch_size": 64, "learning_rate": 3e-3}
EMPTY = 7  # event that no re-simulation sees

pytestmark = pytest.mark.usefixtures("one_thread")


class Detector:
    """Reads its own events again, each with another pedestal; counts the calls."""

    def __init__(self, events: Events, ids: Int64) -> None:
        self._events, self._ids = events, ids
        self.calls = 0

    def __call__(self) -> Resimulator[Events, float, Events]:
        self.calls += 1
        return Resimulator(self._events, self._ids, self._respond, self._draw)

    def _draw(self, seed: int, event_id: Int64) -> Sequence[float]:
        return [float(np.random.default_rng([seed, event]).uniform(-9, 9)) for event in event_id]

    def _respond(
        self, events: Events, event_id: Int64, parameters: Sequence[Sequence[float]], seeds: Sequence[int]
    ) -> Sequence[Events]:
        return [self._read(events, event_id, of_draw) for of_draw in parameters]

    def _read(self, events: Events, event_id: Int64, pedestals: Sequence[float]) -> Events:
        count = events.voxels_per_event
        kept = np.repeat(event_id != self._ids[EMPTY], count)
        offsets = np.concatenate([[0], np.cumsum(np.where(event_id == self._ids[EMPTY], 0, count))])
        features = events.features + np.repeat(np.array(pedestals, np.float32), count)[:, None]
        return Events(offsets, events.coords[kept], features[kept])


@pytest.fixture
def source(synthetic_events: Make) -> LabelledEvents:
    return synthetic_events(192, 1)


@pytest.fixture
def detector(source: LabelledEvents) -> Detector:
    return Detector(source.events, source.truth.event_id)


@pytest.fixture
def view(source: LabelledEvents, detector: Detector, synthetic_events: Make) -> TrainingView:
    val = synthetic_events(48, 2)
    return replace(training_view(source, val, method="resimulation"), _resimulator=detector)


def _context(directory: Path, seed: int = 3) -> Context:
    directory.mkdir(exist_ok=True)
    return Context(seed, torch.device("cpu"), "smoke", "tiny", "native", directory, SilentProgress())


def _fit(method: type[Method], view: TrainingView, directory: Path, **settings: Any) -> Any:
    config = make_config(method, PROFILES["smoke"], BUDGET | settings)
    return method(config).fit(view, _context(directory))


def _step(view: TrainingView, index: Int64, seed: int = 0) -> Step:
    batch = SparseBatch.from_events(view.train, index)
    labels = torch.from_numpy(view.train_labels[index])
    return Step(batch, labels, index, None, torch.Generator().manual_seed(seed), 0, 0.0)


def _pedestals(view: TrainingView, batch: SparseBatch, index: Int64) -> list[float]:
    """How far the raw features of each event lie above those of the training event, which must have equal voxels."""
    nominal = SparseBatch.from_events(view.train, index, 90, 10)
    assert torch.equal(batch.coords, nominal.coords)
    moved = 10 * (batch.features - nominal.features)
    of_events = [moved[nominal.event == event] for event in range(nominal.size)]
    assert all(torch.allclose(event, event[0], atol=1e-4) for event in of_events)
    return [float(event[0]) for event in of_events]


def test_the_views_are_different_draws_of_the_events_of_the_step(
    view: TrainingView, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resimulation, "EVENTS_A_CHUNK", 50)
    made = Resimulations(view, _context(tmp_path, seed=5), draws=3)
    index = np.array([180, 3, 50, 49, 3])
    resimulator = detector()
    expected = [
        _pedestals(view, SparseBatch.from_events(draw, offset=90, scale=10), index)
        for draw in resimulator.draws(index, 5, 0, 3)
    ]
    seen: list[set[float]] = [set() for _ in index]
    for seed in range(12):
        first, second = made.batch(_step(view, index, seed), 2)
        for event, pair in enumerate(zip(_pedestals(view, first, index), _pedestals(view, second, index), strict=True)):
            numbers = [int(np.argmin(np.abs(np.array(expected)[:, event] - value))) for value in pair]
            assert pair == pytest.approx([expected[number][event] for number in numbers], abs=1e-3)
            assert numbers[0] != numbers[1]
            seen[event].update(numbers)
    assert all(numbers == {0, 1, 2} for numbers in seen)
    assert detector.calls == 2  # one of them above


def test_an_event_that_no_throw_shows_is_the_one_of_the_training_set(view: TrainingView, tmp_path: Path) -> None:
    made = Resimulations(view, _context(tmp_path), draws=2)
    index = np.array([EMPTY - 1, EMPTY, EMPTY + 1])
    for batch in made.batch(_step(view, index), 2):
        pedestals = _pedestals(view, batch, index)
        assert pedestals[1] == pytest.approx(0, abs=1e-4)
        assert abs(pedestals[0]) > 0.01
        assert abs(pedestals[2]) > 0.01


def test_the_choice_of_draws_follows_from_the_step(view: TrainingView, tmp_path: Path) -> None:
    index = np.arange(60)
    one, other = (Resimulations(view, _context(tmp_path), draws=4) for _ in range(2))
    other.batch(_step(view, index, 1), 2)  # as in a training that was not interrupted
    for mine, theirs in zip(one.batch(_step(view, index, 2), 2), other.batch(_step(view, index, 2), 2), strict=True):
        assert torch.equal(mine.features, theirs.features)
    differing = [one.batch(_step(view, index, seed), 1)[0].features for seed in (3, 4)]
    assert not torch.equal(*differing)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_of_each_method_falls(method: type[Method], view: TrainingView, tmp_path: Path) -> None:
    losses = [loss for _, loss in _fit(method, view, tmp_path, views=1280).training_record["history"]]
    assert losses[-1] < 0.8 * losses[0]


def test_the_classifier_learns_what_the_throws_do_not_change(tmp_path: Path) -> None:
    """Classes are 10 counts of charge apart in the second half of the event; all of it is read 9 counts higher."""
    events, voxels = 96, 12
    line = np.stack([np.arange(voxels), np.zeros(voxels), np.zeros(voxels)], axis=1).astype(np.int32)
    labels = np.arange(events) % 3
    added = 10 * np.repeat(labels, voxels) * (np.tile(np.arange(voxels), events) >= voxels // 2)
    charge = 80 + added + np.random.default_rng(0).normal(size=events * voxels)
    source = Events(np.arange(events + 1) * voxels, np.tile(line, (events, 1)), charge[:, None].astype(np.float32))
    view = TrainingView(
        ("a", "b", "c"), source, labels, source, labels,
        Normalisation(offset=90, scale=10, unit="ADC counts", how="test"), 0.38, "resimulation", None,
        _resimulator=Detector(source, np.arange(events)),
    )  # fmt: skip
    classifier = _fit(Classifier, view, tmp_path / "classifier", views=5120)
    resimulated = _fit(ResimulationClassifier, view, tmp_path / "resimulated", views=5120)

    def accuracy(model: NetworkModel, pedestal: float) -> float:
        scores = model.log_probabilities(replace(source, features=source.features + np.float32(pedestal)))
        assert scores is not None
        return float(np.mean(scores.argmax(1) == labels))

    assert accuracy(classifier, 0) > 0.95
    for pedestal in (-9, 9):
        assert accuracy(classifier, pedestal) < 0.5
        assert accuracy(resimulated, pedestal) > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_training_goes_on_to_the_same_weights(
    method: type[Method], view: TrainingView, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    whole = _fit(method, view, tmp_path / "whole")
    steps: list[int] = []
    make_batch = Resimulations.batch

    def batch_or_kill(self: Resimulations, step: Step, number: int) -> list[SparseBatch]:
        steps.append(step.number)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return make_batch(self, step, number)

    monkeypatch.setattr(Resimulations, "batch", batch_or_kill)
    with pytest.raises(KeyboardInterrupt):
        _fit(method, view, tmp_path / "killed")
    resumed = _fit(method, view, tmp_path / "killed")
    assert steps[:5] == [0, 1, 2, 3, 3]
    assert np.array_equal(whole.embed(view.val), resumed.embed(view.val))
    calls = detector.calls
    finished = _fit(method, view, tmp_path / "killed")
    assert np.array_equal(whole.embed(view.val), finished.embed(view.val))
    assert detector.calls == calls  # what is finished needs no simulation


def test_labels_count_only_with_alpha(view: TrainingView, tmp_path: Path) -> None:
    other = replace(view, train_labels=np.roll(view.train_labels, 1))

    def embeddings(view: TrainingView, alpha: float, name: str) -> Any:
        return _fit(AugmentedResimulation, view, tmp_path / name, alpha=alpha).embed(view.val)

    assert np.array_equal(embeddings(view, 0.0, "a"), embeddings(other, 0.0, "b"))
    assert not np.allclose(embeddings(view, 1.0, "c"), embeddings(other, 1.0, "d"))


def test_the_classifier_can_be_augmented(view: TrainingView, tmp_path: Path) -> None:
    plain = _fit(ResimulationClassifier, view, tmp_path / "plain")
    augmented = _fit(ResimulationClassifier, view, tmp_path / "augmented", augmented="true")
    assert not np.allclose(plain.embed(view.val), augmented.embed(view.val))


@pytest.mark.parametrize("method", METHODS)
def test_data_without_resimulation_are_refused(method: type[Method], view: TrainingView, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="simulates the training events again, which this data set does not offer"):
        _fit(method, replace(view, _resimulator=None), tmp_path)


def test_the_detector_s_own_draws_can_be_trained_on(tmp_path: Path) -> None:
    """Short tracks of a known charge through the response of the LArTPC, as a data set hands them over."""
    from nubench.detectors import LArTPC

    rng = np.random.default_rng(0)
    events, deposits_an_event = 16, 30
    labels = np.arange(events) % 2
    along = np.arange(deposits_an_event)[:, None] * np.array([0.3, 0, 0])
    start = (np.array([0, 0, 650]) + rng.uniform(-10, 10, (events, 1, 3)) + along).reshape(-1, 3).astype(np.float32)
    end = start + np.array([0.3, 0, 0], np.float32)
    energy = np.repeat(0.6 + 0.6 * labels, deposits_an_event).astype(np.float32)
    offsets = np.arange(events + 1) * deposits_an_event
    deposits = Deposits(offsets, start, end, energy, np.zeros(len(start), np.float32))
    ids = np.arange(events) + 40
    detector = LArTPC()
    nominal = detector.respond(deposits, ids, {}, 0).events
    view = TrainingView(
        ("a", "b"), nominal, labels, nominal, labels,
        Normalisation(offset=74, scale=20, unit="ADC counts", how="test"), 0.38, "resimulation", None,
        _resimulator=lambda: detector.resimulator(deposits, ids),
    )  # fmt: skip
    made = Resimulations(view, _context(tmp_path), draws=2)
    index = np.arange(events)[::-1].copy()
    means = []
    for batch in made.batch(_step(view, index), 2):
        raw = torch.segment_reduce(batch.features[:, 0] * 20 + 74, "mean", lengths=batch.offsets.diff()).numpy()
        expected = np.array([event.mean() for event in np.split(nominal.features[:, 0], nominal.offsets[1:-1])])
        means.append(raw - expected[index])
    # Mostly the pedestal's 29 counts, one sigma.
    assert 10 < np.std(means) < 60
    assert np.abs(means[0] - means[1]).min() > 0


def test_the_settings_stand_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "resimulation.md").read_text()
    for config in (ResimulationConfig, ResimulationClassifierConfig):
        for name, field in config.model_fields.items():
            if name not in TrainingConfig.model_fields:
                assert f"| `{name}` | {field.default} |" in page
