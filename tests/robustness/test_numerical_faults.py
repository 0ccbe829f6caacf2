"""Numbers that break methods: what happens is defined, and said here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quick_world
import torch
from typer.testing import CliRunner

import small_world
from nubench.augment import Augmentation, augment
from nubench.cli import app
from nubench.containers import Events, LabelledEvents
from nubench.datasets import building as dataset_building
from nubench.datasets.cards import Normalisation
from nubench.errors import DataError, NubenchError, UsageError
from nubench.evaluation.handout import Handout
from nubench.evaluation.scoring import FittedReadouts
from nubench.evaluation.trainee import Job, Trainee
from nubench.events.event_files import EventAttributes, read_events, read_voxels, write_events
from nubench.leaderboard import generate
from nubench.plugins.discovery import load_plugins
from nubench.profiles import profile_called
from nubench.progress import SilentProgress
from nubench.results.files import load_results
from nubench.results.scores import Scores
from nubench.runs.request import make_config
from nubench.sparse.batch import SparseBatch

Make = Callable[..., LabelledEvents]
NETWORKS = ("classifier", "classifier-augmented", "supcon", "simclr")
METHODS = (*NETWORKS, "summary-features")
#: They see unlabelled events of the target: two in the loss of every step, one after the training, one in rounds of it.
SEEING_THE_TARGET = ("dann", "coral", "statistics-alignment", "pseudo-label")
CLASSES = ("a", "b", "c")

pytestmark = pytest.mark.usefixtures("one_thread")


def trainee(
    folder: Path,
    method: str,
    train: LabelledEvents,
    val: LabelledEvents,
    target: Events | None = None,
    **config: Any,
) -> Trainee:
    """A training of a method, not begun yet."""
    registry = load_plugins()
    if method != "summary-features":
        config = {"views": 48, "batch_size": 16, **config}
    job = Job(
        method=method,
        config=config,
        classes=CLASSES,
        normalisation=Normalisation(offset=90.0, scale=10.0, unit="ADC", how="fixed"),
        voxel_size_cm=1.0,
        seed=0,
        device="cpu",
        profile="smoke",
        backbone="tiny",
        engine="native",
        directory=folder,
        source_directory=folder,
        threads=1,
    )
    handout = Handout(train.events, train.labels, val.events, val.labels, target)
    return Trainee(job, handout, registry.method(method).thing, registry.backbone("tiny").thing, SilentProgress())


def readouts(trained: Trainee, train: LabelledEvents) -> FittedReadouts:
    return FittedReadouts.fit("method", len(CLASSES), trained.source_outputs("train"), train.labels)


def fitted(trained: Trainee, train: LabelledEvents) -> FittedReadouts:
    trained.fit()
    return readouts(trained, train)


def without(events: LabelledEvents, label: int) -> LabelledEvents:
    """The events of the other classes."""
    return events.select(np.flatnonzero(events.labels != label))


def judges(trained: Trainee, train: LabelledEvents, events: Events) -> None:
    """Every read-out gives each event probabilities that are finite and add up to one."""
    outputs = trained.outputs(events)
    fitted = FittedReadouts.fit("method", len(CLASSES), trained.source_outputs("train"), train.labels)
    rows = fitted.rows(outputs, len(events))
    assert rows
    for found in rows.values():
        assert np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


def fit_and_judge(trained: Trainee, train: LabelledEvents, events: Events) -> None:
    trained.fit()
    judges(trained, train, events)


def one_voxel_each(events: Events) -> Events:
    """The same events with their first voxel alone."""
    first = events.offsets[:-1]
    return Events(np.arange(len(events) + 1), events.coords[first], events.features[first])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_are_refused_when_a_file_is_read(
    synthetic_events: Make, tmp_path: Path, value: float
) -> None:
    events = synthetic_events(10, 1)
    events.events.features[5:7] = value
    path = tmp_path / "events.h5"
    write_events(path, [events], EventAttributes("lartpc", CLASSES, 0.4, "nominal", "nominal", {}, {}))
    for read in (read_events, read_voxels):
        with pytest.raises(DataError, match=r"events\.h5: 2 features are not finite numbers"):
            read(path)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_on_what_is_no_number_stops_and_says_so(
    synthetic_events: Make, tmp_path: Path, method: str, value: float
) -> None:
    train, val = synthetic_events(32, 1), synthetic_events(9, 2)
    train.events.features[:] = value
    trained = trainee(tmp_path, method, train, val)
    with pytest.raises(
        NubenchError, match=r"not finite|the loss is (nan|inf)|NaN|infinity|'summary-features' failed in fit"
    ):
        fitted(trained, train)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_events_of_one_voxel_are_trained_on_and_judged(synthetic_events: Make, tmp_path: Path, method: str) -> None:
    train, val = (
        replace(made, events=one_voxel_each(made.events)) for made in (synthetic_events(32, 1), synthetic_events(9, 2))
    )
    trained = trainee(tmp_path, method, train, val)
    rows = fitted(trained, train).rows(trained.source_outputs("val"), 9)
    for found in rows.values():
        assert np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", SEEING_THE_TARGET)
def test_a_target_of_one_voxel_an_event_is_trained_on_and_judged(
    synthetic_events: Make, tmp_path: Path, method: str
) -> None:
    """Features of such events hardly spread, and a covariance of theirs has no inverse."""
    train, val, other = synthetic_events(32, 1), synthetic_events(9, 2), synthetic_events(32, 3)
    target = one_voxel_each(other.events)
    trained = trainee(tmp_path, method, train, val, target)
    fit_and_judge(trained, train, target)
    judges(trained, train, val.events)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", [*SEEING_THE_TARGET, "moment-alignment"])
def test_a_target_that_is_no_number_ends_with_a_message(
    synthetic_events: Make, tmp_path: Path, method: str, value: float
) -> None:
    """In the training where its loss sees the target, else when the target is judged: never a number for the boards."""
    train, val, other = synthetic_events(32, 1), synthetic_events(9, 2), synthetic_events(32, 3)
    other.events.features[:] = value
    trained = trainee(tmp_path, method, train, val, other.events)
    with pytest.raises(NubenchError, match=rf"the loss is (nan|inf)|'{method}'.* not finite"):
        fit_and_judge(trained, train, synthetic_events(9, 4).events)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("method", ["classifier", "summary-features"])
def test_a_class_without_training_events_ends_with_a_message(
    synthetic_events: Make, tmp_path: Path, method: str, missing: int
) -> None:
    train = without(synthetic_events(60, 1), missing)
    trained = trainee(tmp_path, method, train, synthetic_events(9, 2))
    with pytest.raises(NubenchError, match=rf"events of every class.* without events: \[{missing}\]"):
        fitted(trained, train)


@pytest.mark.slow
def test_a_class_without_test_events_gets_onto_the_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One class leaves too few hits in the test split: the rest is built, trained, scored, submitted and drawn."""
    draw, missing = generate.draw, 1

    def drawn(gun: Any, material: str, events_per_class: int, **settings: Any) -> Iterator[Any]:
        for primaries, labels, deposits in quick_world.drawn_truth(gun, material, events_per_class, **settings):
            if events_per_class == small_world.SIZES["test"]:
                steps = np.diff(deposits.offsets)
                deposits.energy[np.repeat(labels, steps) == missing] = 1e-9
            yield primaries, labels, deposits

    quick_world.open_world(tmp_path, monkeypatch)
    monkeypatch.setattr(dataset_building, "generate", drawn)
    monkeypatch.setattr(generate, "draw", draw)
    cache, boards = tmp_path / "cache", tmp_path / "boards"
    run = quick_world.command(cache, boards, "--no-sealed")
    submit = ["submit", "--all", "--unsealed", "--cache", str(cache), "--leaderboards", str(boards)]
    for arguments in (run, submit):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    (result,) = load_results(boards / "submissions")
    for point in result.points:
        for scores in (point.readouts.head, point.readouts.probe):
            assert scores is not None
            assert [k for k, found in enumerate(scores.efficiency) if found is None] == [missing]
            seen = [found for found in scores.efficiency if found is not None]
            assert scores.balanced_accuracy == pytest.approx(sum(seen) / len(seen))
    (board,) = boards.rglob("scintillator/**/README.md")
    assert "classifier" in board.read_text()
    assert "nan" not in board.read_text().lower().split()
    assert list(board.parent.glob("*.png"))


def test_a_class_without_test_events_has_no_efficiency_and_everything_else() -> None:
    rows = np.log(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]))
    scores = Scores.measure(np.array([0, 1, 1]), rows)
    assert scores.efficiency == (1.0, 0.5, None)
    assert scores.purity == (0.5, 1.0, None)
    assert scores.balanced_accuracy == 0.75
    assert scores.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["classifier", "supcon"])
def test_a_class_without_validation_events_counts_nowhere(synthetic_events: Make, tmp_path: Path, method: str) -> None:
    train, val = synthetic_events(48, 1), without(synthetic_events(18, 2), 2)
    assert set(val.labels) == {0, 1}
    trained = trainee(tmp_path, method, train, val)
    found = fitted(trained, train).validate(trained.source_outputs("val"), val.labels)
    accuracies = [one for one in (found.head, found.probe) if one is not None]
    assert accuracies
    assert all(0 <= one <= 1 for one in accuracies)
    judges(trained, train, synthetic_events(9, 4).events)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "pseudo-label", "statistics-alignment"])
def test_a_class_without_target_events_is_trained_without(synthetic_events: Make, tmp_path: Path, method: str) -> None:
    """No method is told: the target has no labels."""
    train, val, target = synthetic_events(48, 1), synthetic_events(18, 2), without(synthetic_events(48, 3), 2)
    trained = trainee(tmp_path, method, train, val, target.events)
    fit_and_judge(trained, train, target.events)
    judges(trained, train, synthetic_events(9, 4).events)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_batch_of_one_view_is_refused(method: str) -> None:
    registered = load_plugins().method(method).thing
    with pytest.raises(UsageError, match=r"--set batch_size=1 is not accepted: .*greater than or equal to 2"):
        make_config(registered, profile_called("smoke"), {"batch_size": 1})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["supcon", "simclr"])
def test_one_event_a_step_is_trained_on(synthetic_events: Make, tmp_path: Path, method: str) -> None:
    """Two views of one event have nothing else to be compared with: the loss is 0."""
    train, val = synthetic_events(12, 1), synthetic_events(9, 2)
    trained = trainee(tmp_path, method, train, val, views=12, batch_size=2)
    fit_and_judge(trained, train, val.events)
    record = trained.report().training
    assert record.steps == 6
    assert record.history
    assert all(entry.values["loss"] == 0 for entry in record.history)


def test_an_augmentation_that_drops_everything_leaves_one_voxel_of_each_event(synthetic_events: Make) -> None:
    events = synthetic_events(40, 1).events
    batch = SparseBatch.from_events(events, np.arange(40))
    settings = Augmentation(1.0, drop=1 - 1e-9, draws=8)
    found = augment(batch, torch.Generator().manual_seed(1), settings)
    counts = torch.bincount(found.event, minlength=40)
    assert found.size == 40
    assert counts.min() == 1
    assert (counts == 1).sum() > 20
    assert torch.isfinite(found.features).all()
