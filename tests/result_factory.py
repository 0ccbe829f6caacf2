"""Made-up results for tests: plausible in form, with accuracies that the test chooses."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nubench.result_schema import Result

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
    }


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
    return {
        "schema_version": 1,
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
        "shift": {"name": shift, "points": list(accuracies)},
        "backbone": {"preset": backbone, "parameters": 340_000, "embedding_size": 128} if backbone else None,
        "engine": "native" if backbone else None,
        "profile": {"name": profile, "settings": {"views": 160_000, "batch_size": 128, "seeds": 3}},
        "seed": seed,
        "points": [
            {
                "point": point,
                "parameters": {"pedestal": 60.0 + number, "gain": 1.0},
                "events": events,
                "readouts": {
                    "head": scores(accuracy, events) if readout == "head" else None,
                    "probe": scores(accuracy - 0.01 * (readout == "head"), events),
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
    }


def make_result(*args: Any, **kwargs: Any) -> Result:
    """A valid result; arguments as those of :func:`result_content`."""
    return Result.model_validate(result_content(*args, **kwargs))
