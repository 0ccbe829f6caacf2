"""`nubench data verify --audit` from end to end: a data set is let pass, or refused with the name of the leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nubench.cli import main
from nubench.containers import LabelledEvents
from nubench.datasets.cards import SPLITS, Split
from nubench.datasets.catalogue import open_dataset
from nubench.datasets.dataset import FIRST_EVENT_ID
from nubench.plugins.discovery import load_plugins
from small_dataset import CLASSES, small_card

Make = Callable[..., LabelledEvents]
#: What is done to the events of a split at a point before they are written.
Plant = Callable[[Split, str, LabelledEvents], LabelledEvents]

EVENTS = 150


def _clean(split: Split, point: str, events: LabelledEvents) -> LabelledEvents:
    return events


def _many_leaks(split: Split, point: str, events: LabelledEvents) -> LabelledEvents:
    """The order of ``test``, the ids of ``train``, and the split tell the class."""
    in_turn = np.argsort(events.labels, kind="stable")
    match split:
        case "test":
            return events.select(in_turn)
        case "train":
            ids = np.empty(EVENTS, np.int64)
            ids[in_turn] = FIRST_EVENT_ID[split] + np.arange(EVENTS)
            return replace(events, truth=replace(events.truth, event_id=ids))
        case "val" | "adapt":
            return replace(events, labels=np.full(EVENTS, 0 if split == "val" else 1))


def _sorted_at_one_point(split: Split, point: str, events: LabelledEvents) -> LabelledEvents:
    """Nothing is wrong at nominal; ``adapt`` is handed over in this order."""
    return events.select(np.argsort(events.labels)) if (split, point) == ("adapt", "gain2") else events


def _charge_of_the_class(split: Split, point: str, events: LabelledEvents) -> LabelledEvents:
    """A pedestal that hangs on the class."""
    of_voxel = np.repeat(events.labels, np.diff(events.events.offsets))[:, None]
    features = (events.events.features + 10 * of_voxel).astype(np.float32)
    return replace(events, events=replace(events.events, features=features)) if split == "val" else events


def _without_charge(events: LabelledEvents) -> LabelledEvents:
    """Events whose smallest charge is the same in all: in synthetic ones the class sets it."""
    return replace(events, events=replace(events.events, features=0 * events.events.features + 90))


def _write(cache: Path, synthetic_events: Make, plant: Plant) -> None:
    registry = load_plugins()
    card = small_card(registry)
    dataset = open_dataset(registry, cache, card, "smoke")
    dataset.write_card()
    for number, split in enumerate(SPLITS):
        events = _without_charge(synthetic_events(EVENTS, 20 + number, len(CLASSES)))
        ids = FIRST_EVENT_ID[split] + np.arange(EVENTS)
        events = replace(events, truth=replace(events.truth, event_id=ids))
        for point in card.shift("gains").all_points(card.nominal)[: None if split in ("adapt", "test") else 1]:
            planted = plant(split, point.name, events)
            dataset.add_events(split, "gains", point, [planted], len(planted), {})


def _audit(cache: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", "verify", "drawn", "--audit", "--cache", str(cache)])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, " ".join(printed.out.split()), " ".join(printed.err.split())


def test_a_clean_data_set_passes(synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, synthetic_events, _clean)
    code, out, err = _audit(tmp_path, capsys)
    assert (code, err) == (0, "")
    assert "LEAK" not in out
    assert "events and order at other points those of nominal in 4 of 4 files ok" in out


def test_a_pedestal_that_hangs_on_the_class_is_named(
    synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, synthetic_events, _charge_of_the_class)
    code, _, err = _audit(tmp_path, capsys)
    assert (code, err) == (1, "nubench: data set 'drawn' gives classes away: val: smallest charge of the event")


@pytest.mark.slow
def test_planted_leaks_are_named(synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, synthetic_events, _many_leaks)
    code, out, err = _audit(tmp_path, capsys)
    assert code == 1
    assert out.count("LEAK") == 3
    assert err == (
        "nubench: data set 'drawn' gives classes away: train: event id; test: position in the file; split that the "
        "event is in"
    )


@pytest.mark.slow
def test_what_is_wrong_at_one_point_alone_is_named(
    synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    borrowed = synthetic_events(EVENTS, 20, len(CLASSES)).truth

    def plant(split: Split, point: str, events: LabelledEvents) -> LabelledEvents:
        if (split, point) == ("test", "gain1"):
            # Not to the last bit, which is looked for without an audit.
            truth = replace(borrowed, event_id=events.truth.event_id, vertex=borrowed.vertex + np.float32(1e-3))
            return replace(events, truth=truth)
        return _sorted_at_one_point(split, point, events)

    _write(tmp_path, synthetic_events, plant)
    code, out, err = _audit(tmp_path, capsys)
    assert code == 1
    assert "events and order at other points those of nominal in 2 of 4 files ok" in out
    assert err == (
        "nubench: data set 'drawn' gives classes away: same particle in two of test at gain1 of gains, train, val, "
        "adapt; adapt at gain2 of gains: position in the file"
    )


def test_without_nominal_events_nothing_is_audited_and_that_is_said(
    synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = load_plugins()
    card = small_card(registry)
    dataset = open_dataset(registry, tmp_path, card, "smoke")
    dataset.write_card()
    dataset.add_events("test", "gains", card.shift("gains").points[0], [synthetic_events(9, 1)], 9, {})
    code, _, err = _audit(tmp_path, capsys)
    assert code == 1
    assert "nothing can be audited: no split of 'drawn' is built at nominal" in err
