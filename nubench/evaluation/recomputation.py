"""A result computed again from its stored predictions and the labels of the data set, and what then differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nubench.containers import Int64
from nubench.datasets.cards import SPLITS
from nubench.datasets.catalogue import find_card, open_dataset
from nubench.errors import DataError, NubenchError
from nubench.evaluation.labels import load_labels
from nubench.evaluation.metrics import Metric
from nubench.evaluation.predictions import PointPredictions
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called, recorded_settings
from nubench.results.bits import pack
from nubench.results.schema import PointResult, Result
from nubench.results.scores import TOLERANCE
from nubench.shifts import ShiftPoint

# A value in a message is cut here: the bits of a thousand events are no use to a reader.
_MOST_CHARACTERS = 60


class NotAtHandError(DataError):
    """What a result would be computed again from is not on this machine; nothing is known about the result."""


@dataclass(frozen=True)
class LabelledPoint:
    """The truth of the test events of one shift point: ids and labels (E,), in the order of the file."""

    point: ShiftPoint
    event_id: Int64
    labels: Int64

    def has_events_of(self, found: PointPredictions) -> bool:
        """Whether predictions are of these very events, in any order."""
        return np.array_equal(np.sort(found.event_id), np.sort(self.event_id))


@dataclass(frozen=True)
class Truth:
    """All that a result is computed from besides its predictions.

    Attributes:
        classes, detector, version, strength_unit: as the card of the data set states them.
        settings: of the profile, without its title.
        events: number of events at the source in each split that is here.
        points: the source first.
        test: the different test events of all points.
        doubt: why the data here are not the very ones that a result was computed from, though of the same recipe;
            empty where they are.
    """

    classes: tuple[str, ...]
    detector: str
    version: str
    strength_unit: str
    settings: Mapping[str, Any]
    events: Mapping[str, int]
    points: tuple[LabelledPoint, ...]
    test: TestEvents
    doubt: str = ""

    def has_events_of(self, predictions: Mapping[str, PointPredictions]) -> bool:
        """Whether predictions are of the test events that are here, at every point."""
        here = {labelled.point.name: labelled for labelled in self.points}
        return here.keys() == predictions.keys() and all(
            here[name].has_events_of(found) for name, found in predictions.items()
        )

    @property
    def moved(self) -> frozenset[str]:
        """The detector parameters that are not the same at all points."""
        first, *others = (labelled.point.settings for labelled in self.points)
        names = {name for settings in (first, *others) for name in settings}
        return frozenset(name for name in names if any(other.get(name) != first.get(name) for other in others))


class TruthSource:
    """Reads the labels of test events from data sets in a cache, those of each data set and shift once.

    Args:
        registry: the plugins that bring the data sets.
        cache: folder of the data sets.
    """

    def __init__(self, registry: PluginRegistry, cache: Path) -> None:
        self._registry, self._cache = registry, cache
        self._known: dict[tuple[str, ...], tuple[Truth, dict[str, str]]] = {}

    def of(self, result: Result) -> Truth:
        """Return what the test events of a result truly are.

        Where the data here differ from those that the result names, the truth says so in its ``doubt``: its labels are
        those of the same recipe, so that scores can still be found wrong, and never found right.

        Raises:
            NotAtHandError: when no data set of the recipe of the result is here.
        """
        key = (result.dataset.name, result.dataset.recipe, result.profile.name, result.shift.name, result.shift.source)
        try:
            if key not in self._known:
                self._known[key] = self._read(result)
        except NotAtHandError:
            raise
        except NubenchError as error:
            raise NotAtHandError(f"data set {result.dataset.name!r} is not at hand: {error}") from error
        truth, checksums = self._known[key]
        if doubt := _doubt(result, truth, checksums):
            # How many events the splits have may be another number there.
            return replace(truth, doubt=doubt, events={})
        return truth

    def _read(self, result: Result) -> tuple[Truth, dict[str, str]]:
        card = find_card(self._registry, self._cache, result.dataset.name, result.shift.name)
        dataset = open_dataset(self._registry, self._cache, card, result.profile.name)
        if dataset.recipe_digest != result.dataset.recipe:
            raise NotAtHandError(
                f"data set {card.name!r} has the recipe {dataset.recipe_digest} here, and {result.dataset.recipe} in "
                "the result: another version, or other Geant4 data"
            )
        shift = card.shift(result.shift.name)
        points = shift.all_points(card.nominal, result.shift.source)
        labelled = []
        for point in points:
            labels = load_labels(dataset, "test", shift.name, point)
            labelled.append(LabelledPoint(point, labels.truth.event_id, labels.labels))
        test = TestEvents.union((found.event_id, found.labels) for found in labelled)
        source = points[0].name
        records = dataset.records(SPLITS, shift.name, points, (source,))
        profile = profile_called(result.profile.name)
        settings = recorded_settings(profile, card.sizes_of(profile.name))
        del settings["title"]
        at_source = {split: records.get(dataset.file_of(split, shift.name, source)) for split in SPLITS}
        truth = Truth(
            classes=card.class_names,
            detector=card.detector,
            version=str(card.version),
            strength_unit=shift.strength_unit,
            settings=settings,
            events={split: record.events for split, record in at_source.items() if record},
            points=tuple(labelled),
            test=test,
        )
        return truth, {file: record.content for file, record in records.items()}


def _doubt(result: Result, truth: Truth, checksums: Mapping[str, str]) -> str:
    recorded = {name: value for name, value in result.profile.settings.items() if name != "title"}
    if difference := _differ(truth.settings, recorded, "settings"):
        return f"the profile {result.profile.name!r} is another one here: {difference}"
    for file, content in checksums.items():
        # Which files of the other splits a method uses is its own affair.
        is_used = file.startswith("test/") or file in result.dataset.checksums
        if is_used and result.dataset.checksums.get(file) != content:
            return (
                f"data set {result.dataset.name!r} here holds other events in {file} than those of the result: "
                f"their SHA-256 is {content}, in the result {result.dataset.checksums.get(file)}"
            )
    return ""


@dataclass(frozen=True)
class Difference:
    """One field of a result that its predictions contradict.

    Attributes:
        field: its path, points by their name.
        stored, computed: both values, cut for reading.
    """

    field: str
    stored: str
    computed: str

    def __str__(self) -> str:
        return f"{self.field} is {self.stored} in the file, and {self.computed} when computed again"


def first_difference(
    result: Result, predictions: Mapping[str, PointPredictions], truth: Truth, metrics: Sequence[Metric] = ()
) -> Difference | None:
    """Compute a result again and return the first field that differs, or None.

    Compared are the points with their parameters and strengths, the events at each, every metric and every bit of every
    read-out, the classes and the version of the data set, and the number of events in each split that is here. Whole
    numbers and bits must be equal, fractions within 1e-9, since two machines may add up in another order.

    Args:
        result: of version 2.
        predictions: by the name of the point.
        truth: of its test events.
        metrics: those that plugins bring; every one that the result holds must be among them.

    Raises:
        NotAtHandError: when the result holds a metric of a plugin that is not here.
        DataError: when the predictions are of fewer classes than the data set has.
        PluginError: when a metric of a plugin fails.
    """
    events = {split: result.dataset.events[split] for split in truth.events if split in result.dataset.events}
    stored = _comparable(result, result.points) | {"events": events}
    if (given := sorted(predictions)) != (expected := sorted(result.shift.points)):
        return Difference("points", _short(expected), f"{_short(given)} in the predictions")
    computed: dict[str, Any] = {
        "classes": list(truth.classes),
        "detector": truth.detector,
        "data-set version": truth.version,
        "events": {split: truth.events[split] for split in events},
        "test_events": len(truth.test),
        "strength_unit": truth.strength_unit,
        "shift points": [labelled.point.name for labelled in truth.points],
    }
    # Before the points are computed: they may be others altogether.
    if difference := _differ(computed, {name: stored[name] for name in computed}):
        return difference
    known = {metric.name: metric for metric in metrics}
    points = []
    for labelled, before in zip(truth.points, result.points, strict=True):
        found = predictions[labelled.point.name]
        if not labelled.has_events_of(found):
            return Difference(
                f"points.{before.point}.event_id", "those of the predictions", "other test events in the data set"
            )
        metrics_here = _named_in(before, known)
        try:
            readouts = readouts_from(found, truth.test, metrics_here, probe_converged=before.readouts.probe_converged)
        except ValueError as error:
            raise DataError(f"point {before.point!r}: {error}") from error
        settings = labelled.point.settings
        points.append(
            PointResult(
                point=before.point,
                # A parameter that a later version adds, switched off, is in the card and not in the result. One that
                # moves is what the point is.
                parameters={
                    name: value for name, value in settings.items() if name in before.parameters or name in truth.moved
                },
                events=len(labelled.event_id),
                strength=labelled.point.strength,
                present=pack(truth.test.present(found.event_id)),
                readouts=readouts,
            )
        )
    return _differ({**computed, **_points(points)}, stored)


def _named_in(point: PointResult, known: Mapping[str, Metric]) -> list[Metric]:
    scores = [found for found in (point.readouts.head, point.readouts.probe) if found is not None]
    names = sorted({name for found in scores for name in found.further})
    for name in names:
        if name not in known:
            raise NotAtHandError(f"the result holds the metric {name!r} of a plugin that is not here; see --plugin")
    return [known[name] for name in names]


def _comparable(result: Result, points: Sequence[PointResult]) -> dict[str, Any]:
    return {
        "classes": list(result.dataset.classes),
        "detector": result.dataset.detector,
        "data-set version": result.dataset.version,
        "test_events": result.test_events,
        "strength_unit": result.shift.strength_unit,
        "shift points": list(result.shift.points),
        **_points(points),
    }


def _points(points: Sequence[PointResult]) -> dict[str, Any]:
    return {"points": {point.point: point.model_dump(mode="json") for point in points}}


def _differ(computed: Any, stored: Any, place: str = "") -> Difference | None:
    if isinstance(computed, dict) and isinstance(stored, dict):
        for name in [*stored, *(name for name in computed if name not in stored)]:
            inner = f"{place}.{name}" if place else str(name)
            if name not in computed or name not in stored:
                return Difference(inner, _short(stored.get(name)), _short(computed.get(name)))
            if difference := _differ(computed[name], stored[name], inner):
                return difference
        return None
    if isinstance(computed, list) and isinstance(stored, list) and len(computed) == len(stored):
        pairs = enumerate(zip(computed, stored, strict=True))
        return next((found for i, (a, b) in pairs if (found := _differ(a, b, f"{place}.{i}"))), None)
    if isinstance(computed, float) and isinstance(stored, float | int):
        return None if abs(computed - stored) <= TOLERANCE else Difference(place, repr(stored), repr(computed))
    return None if computed == stored else Difference(place, _short(stored), _short(computed))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
