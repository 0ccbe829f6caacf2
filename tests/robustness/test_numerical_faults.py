"""Numbers that break methods: what happens is defined, and said here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nubench.augment import Augmentation, augment
from nubench.containers import Events, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.errors import DataError, NubenchError
from nubench.evaluation.handout import Handout
from nubench.evaluation.scoring import FittedReadouts
from nubench.evaluation.trainee import Job, Trainee
from nubench.events.event_files import EventAttributes, read_events, read_voxels, write_events
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.scores import Scores
from nubench.sparse.batch import SparseBatch

Make = Callable[..., LabelledEvents]
NETWORKS = ("classifier", "classifier-augmented", "supcon", "simclr")
METHODS = (*NETWORKS, "summary-features")
CLASSES = ("a", "b", "c")

pytestmark = pytest.mark.usefixtures("one_thread")


def trainee(folder: Path, method: str, train: LabelledEvents, val: LabelledEvents, **config: Any) -> Trainee:
    """A training of a method, not begun yet."""
    registry = load_plugins()
    if method in NETWORKS:
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
    handout = Handout(train.events, train.labels, val.events, val.labels)
    return Trainee(job, handout, registry.method(method).thing, registry.backbone("tiny").thing, SilentProgress())


def readouts(trained: Trainee, train: LabelledEvents) -> FittedReadouts:
    return FittedReadouts.fit("method", len(CLASSES), trained.source_outputs("train"), train.labels)


def fitted(trained: Trainee, train: LabelledEvents) -> FittedReadouts:
    trained.fit()
    return readouts(trained, train)


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
@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("method", ["classifier", "summary-features"])
def test_a_class_without_training_events_ends_with_a_message(
    synthetic_events: Make, tmp_path: Path, method: str, missing: int
) -> None:
    every = synthetic_events(60, 1)
    train = every.select(np.flatnonzero(every.labels != missing))
    trained = trainee(tmp_path, method, train, synthetic_events(9, 2))
    with pytest.raises(NubenchError, match=rf"events of every class.* without events: \[{missing}\]"):
        fitted(trained, train)


def test_a_class_without_test_events_has_no_efficiency_and_everything_else() -> None:
    rows = np.log(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]))
    scores = Scores.measure(np.array([0, 1, 1]), rows)
    assert scores.efficiency == (1.0, 0.5, None)
    assert scores.purity == (0.5, 1.0, None)
    assert scores.balanced_accuracy == 0.75
    assert scores.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("method", NETWORKS)
def test_a_batch_of_one_event_is_trained_on_or_refused(synthetic_events: Make, tmp_path: Path, method: str) -> None:
    """Methods that compare events have nothing to compare: their loss is 0 or the batch is refused, never no number."""
    train, val = synthetic_events(12, 1), synthetic_events(9, 2)
    trained = trainee(tmp_path, method, train, val, views=12, batch_size=1)
    try:
        trained.fit()
    except NubenchError as error:
        assert "batch" in str(error)  # noqa: PT017 (one of two accepted ends)
        return
    rows = readouts(trained, train).rows(trained.source_outputs("val"), 9)
    assert all(np.isfinite(found).all() for found in rows.values())


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
