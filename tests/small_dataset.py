"""A data set of a few drawn events in a cache, and runs on it whose predictions the test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from nubench.containers import LabelledEvents
from nubench.datasets.cards import Card, Imported, ParticleClass, Sizes, read_card
from nubench.datasets.catalogue import open_dataset
from nubench.datasets.dataset import Dataset
from nubench.evaluation.metrics import Metric
from nubench.evaluation.predictions import PointPredictions, write_predictions
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called, recorded_settings
from nubench.results.bits import pack
from nubench.results.files import write_result
from nubench.results.schema import Result
from nubench.shifts import Shift, ShiftPoint
from result_factory import result_content

Make = Callable[..., LabelledEvents]
CLASSES = ("electron", "muon", "proton")
EVENTS = 60


def small_card(registry: PluginRegistry) -> Card:
    """A card of the detector of the LArTPC with three points."""
    lartpc = read_card(registry.card("lartpc").thing)
    sizes = Sizes(train=20, val=5, adapt=5, test=20)
    points = tuple(ShiftPoint(name=f"gain{i}", strength=float(i), parameters={"gain": 4.0 + i}) for i in (1, 2))
    return lartpc.model_copy(
        update={
            "name": "drawn",
            "truth": None,
            "imported": Imported(format="test", source="drawn", sha256="0" * 64),
            "classes": tuple(ParticleClass(name=name) for name in CLASSES),
            "sizes": {"smoke": sizes},
            "shifts": (Shift(name="gains", title="gains", strength_unit="uV/e", points=points),),
        }
    )


def build(registry: PluginRegistry, cache: Path, synthetic_events: Make) -> Dataset:
    """Write events of every split; of the test events nominal has all, the other points lack some."""
    card = small_card(registry)
    dataset = open_dataset(registry, cache, card, "smoke")
    dataset.write_card()
    every = synthetic_events(EVENTS, 7)
    points = card.shift("gains").all_points(card.nominal)
    for split, seed in (("train", 8), ("val", 9)):
        dataset.add_events(split, "gains", points[0], [synthetic_events(EVENTS, seed)], EVENTS, {})  # type: ignore[arg-type]
    for number, point in enumerate(points):
        events = every.select(np.arange(EVENTS)[number:])
        dataset.add_events("test", "gains", point, [events], EVENTS, {})
    return dataset


def predictions(dataset: Dataset, truth: Mapping[str, tuple[Any, Any]], seed: int = 0) -> dict[str, PointPredictions]:
    """Drawn predictions that are right more often than not, for every test event of every point."""
    found = {}
    for number, (point, (event_id, labels)) in enumerate(truth.items()):
        rng = np.random.default_rng([seed, number])
        logits = {name: rng.normal(size=(len(labels), len(CLASSES))) for name in ("head", "probe")}
        for rows in logits.values():
            rows[np.arange(len(labels)), labels] += 1
        rows32 = {name: log_softmax(rows, axis=1).astype(np.float32) for name, rows in logits.items()}
        found[point] = PointPredictions(event_id, {"head": rows32["head"], "probe": rows32["probe"]})
    return found


def run_content(
    dataset: Dataset,
    truth: Mapping[str, tuple[Any, Any]],
    found: Mapping[str, PointPredictions],
    digest: str,
    metrics: tuple[Metric, ...] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The JSON content of the result that these predictions give."""
    card = dataset.card
    shift = card.shift("gains")
    points = shift.all_points(card.nominal)
    test = TestEvents.union(truth.values())
    content = result_content(seed=seed, shift="gains", events=EVENTS)
    records = dataset.records(("train", "val", "test"), "gains", points)
    settings = recorded_settings(profile_called("smoke"), card.sizes_of("smoke"))
    content["profile"] = {"name": "smoke", "settings": settings}
    content |= {"predictions": digest, "test_events": len(test)}
    content["dataset"] |= {
        "name": card.name,
        "version": str(card.version),
        "detector": card.detector,
        "classes": list(card.class_names),
        "recipe": dataset.recipe_digest,
        "checksums": {file: record.content for file, record in records.items()},
        "events": dict.fromkeys(("train", "val", "test"), EVENTS),
    }
    content["shift"] = {
        "name": "gains",
        "points": [point.name for point in points],
        "strength_unit": shift.strength_unit,
    }
    content["points"] = [
        {
            "point": point.name,
            "parameters": dict(point.settings),
            "events": len(truth[point.name][0]),
            "strength": point.strength,
            "present": pack(test.present(truth[point.name][0])),
            "readouts": readouts_from(found[point.name], test, metrics, probe_converged=True).model_dump(mode="json"),
        }
        for point in points
    ]
    return content


def write_run(cache: Path, content: Mapping[str, Any], found: Mapping[str, PointPredictions], key: str) -> Path:
    """Put a run into a cache; the content's digest is set to that of the predictions."""
    digest = write_predictions(cache / "predictions" / f"{key}.safetensors", found)
    path = cache / "results" / f"{key}.json"
    write_result(Result.model_validate({**content, "predictions": digest}), path)
    return path
