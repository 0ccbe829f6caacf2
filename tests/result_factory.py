"""Made-up results for tests: plausible in form, with accuracies that the test chooses."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nubench.results.bits import pack
from nubench.results.schema import Result

CLASSES = ("electron", "photon", "muon")
EVENTS = 3000
THROWS = {"nominal": 0.9, "throw1": 0.85, "throw2": 0.8}


def scores(accuracy: float, events: int = EVENTS, classes: int = len(CLASSES)) -> dict[str, Any]:
    """Scores whose accuracy is ``accuracy`` to within one event, in every class alike."""
    each, (right, spare) = events // classes, divmod(round(accuracy * events), classes)
    confusion = [[0] * classes for _ in range(classes)]
    for true in range(classes):
        confusion[true][true] = right + (true < spare)
        confusion[true][(true + 1) % classes] = each - confusion[true][true]
    found = sum(confusion[k][k] for k in range(classes))
    predicted = [sum(row[k] for row in confusion) for k in range(classes)]
    return {
        "accuracy": found / (each * classes),
        "balanced_accuracy": sum(confusion[k][k] / each for k in range(classes)) / classes,
        "efficiency": [confusion[k][k] / each for k in range(classes)],
        "purity": [confusion[k][k] / predicted[k] if predicted[k] else None for k in range(classes)],
        "confusion": confusion,
        "nll": 0.5,
        "calibration_error": 0.02,
        "right": None,
        "further": {},
    }


def right_bits(scores: Mapping[str, Any], events: int, training: str) -> str:
    """Which events were judged right: as many as the confusion matrix says, the easy ones first.

    What is easy is much the same for every ``training``, as it is for real methods.
    """
    ease = np.random.default_rng(0).random(events)
    luck = np.random.default_rng(list(training.encode())).random(events)
    right = np.zeros(events, dtype=bool)
    right[np.argsort(ease + 0.3 * luck)[: sum(row[k] for k, row in enumerate(scores["confusion"]))]] = True
    return pack(right)


def as_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """The same result as the first version of the schema wrote it."""
    for name in ("sealed", "predictions", "test_events"):
        del content[name]
    del content["shift"]["strength_unit"]
    for name in ("simulation_seconds", "flops_per_event"):
        del content["cost"][name]
    for point in content["points"]:
        del point["strength"], point["present"], point["readouts"]["probe_converged"]
        for scores in (point["readouts"]["head"], point["readouts"]["probe"]):
            if scores is not None:
                del scores["right"], scores["further"]
    return {**content, "schema_version": 1}


def with_bits(content: dict[str, Any]) -> dict[str, Any]:
    """The content with ``right`` that agrees with the confusion matrices it has now."""
    for point in content["points"]:
        for readout, scores in point["readouts"].items():
            if isinstance(scores, dict):
                training = f"{content['method']['name']} {content['seed']} {point['point']} {readout}"
                scores["right"] = right_bits(scores, content["test_events"], training)
    return content


def result_content(
    name: str = "supcon",
    accuracies: Mapping[str, float] = THROWS,
    seed: int = 0,
    *,
    readout: str = "probe",
    ranked: bool = True,
    backbone: str | None = "tiny",
    config: Mapping[str, Any] | None = None,
    version: str = "1",
    shift: str = "throws",
    profile: str = "smoke",
    events: int = EVENTS,
) -> dict[str, Any]:
    """The JSON content of a result file."""
    rng = random.Random(f"{name} {seed}")
    content = {
        "schema_version": 2,
        "method": {
            "name": name,
            "version": version,
            "distribution": "nubench",
            "title": f"The method {name}",
            "target_access": "none",
            "config": dict(config or {"temperature": 0.1}),
            "ranked_by": readout,
            "ranked": ranked,
        },
        "dataset": {
            "name": "lartpc-singles",
            "version": "1",
            "detector": "lartpc",
            "classes": list(CLASSES),
            "recipe": "a" * 64,
            "checksums": {f"test/{point}": f"{number:064x}" for number, point in enumerate(accuracies)},
            "events": {"train": 9000, "val": 900, "adapt": 3000, "test": events},
        },
        "shift": {"name": shift, "points": list(accuracies), "strength_unit": "sigma"},
        "backbone": {"preset": backbone, "parameters": 340_000, "embedding_size": 128} if backbone else None,
        "engine": "native" if backbone else None,
        "profile": {"name": profile, "settings": {"views": 160_000, "batch_size": 128, "seeds": 3}},
        "seed": seed,
        "points": [
            {
                "point": point,
                "parameters": {"pedestal": 60.0 + number, "gain": 1.0},
                "events": events,
                "strength": float(number),
                "present": pack(np.ones(events, dtype=bool)),
                "readouts": {
                    "head": scores(accuracy, events) if readout == "head" else None,
                    "probe": scores(accuracy - 0.01 * (readout == "head"), events),
                    "probe_converged": True,
                },
            }
            for number, (point, accuracy) in enumerate(accuracies.items())
        ],
        "validation": {"head": None, "probe": 0.9},
        "training": {
            "steps": 1250,
            "events_seen": 160_000,
            "seconds": rng.uniform(200, 400),
            "history": [{"step": 100, "values": {"loss": 1.5}}],
        },
        "cost": {
            "wall_seconds": 400.0,
            "cpu_seconds": 700.0,
            "device_seconds": None,
            "peak_memory_mb": 900.0,
            "parameters": 350_000,
            "simulation_seconds": 0.0,
            "flops_per_event": 1.0e8,
        },
        "environment": {
            "python": "3.12.1",
            "platform": "Linux",
            "processor": "x86_64",
            "cpu_count": 2,
            "device": "cpu",
            "packages": {"torch": "2.13.0"},
            "git_revision": None,
            "nubench": "0.1.0",
        },
        "created": datetime(2025, 1, 2, 3, 4, 5 + seed, tzinfo=UTC).isoformat(),
        "sealed": True,
        "predictions": "b" * 64,
        "test_events": events,
    }
    return with_bits(content)


def make_result(*args: Any, **kwargs: Any) -> Result:
    """A valid result; arguments as those of :func:`result_content`."""
    return Result.model_validate(result_content(*args, **kwargs))
