"""Names and values of one result, as they are read on the page of a submission."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from nubench.leaderboard.columns import duration
from nubench.leaderboard.shared import parameter_text
from nubench.results.files import shift_folder
from nubench.results.schema import PointResult, Result

Facts = list[tuple[str, str]]

_ANSWERS: Final = {True: "yes", False: "no", None: "not recorded"}


def identity_facts(result: Result) -> Facts:
    """What was run."""
    method, dataset, backbone = result.method, result.dataset, result.backbone
    return [
        ("method", f"{method.name} {method.version}, from {method.distribution}"),
        ("target events in training", method.target_access),
        ("ranked", f"by {method.ranked_by}" if method.ranked else "no, for orientation"),
        ("seed", str(result.seed)),
        ("data set", f"{dataset.name} {dataset.version}, detector {dataset.detector}"),
        ("shift", shift_folder(result)),
        ("profile", result.profile.name),
        (
            "backbone",
            f"{backbone.preset}, {backbone.parameters:,} parameters, embedding of {backbone.embedding_size}, "
            f"engine {result.engine}"
            if backbone
            else "none",
        ),
        ("sealed", _ANSWERS[result.sealed]),
        ("training confined by the operating system", _ANSWERS[result.environment.confined]),
        ("created", f"{result.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("schema version", str(result.schema_version)),
    ]


def settings_facts(settings: Mapping[str, JsonValue], inside: str = "") -> Facts:
    """Settings by name, sorted; those inside others by the names of both.

    Example:
        >>> settings_facts({"views": 80000, "sizes": {"val": 200, "test": 300}})
        [('sizes.test', '300'), ('sizes.val', '200'), ('views', '80000')]
    """
    facts: Facts = []
    for name, value in sorted(settings.items()):
        if isinstance(value, dict) and value:
            facts += settings_facts(value, f"{inside}{name}.")
        else:
            facts.append((f"{inside}{name}", _setting_text(value)))
    return facts


def training_facts(result: Result) -> Facts:
    """How long it was trained, and where that led."""
    training = result.training
    accuracies = {"head": result.validation.head, "probe": result.validation.probe}
    return [
        ("steps", f"{training.steps:,}"),
        ("events seen", f"{training.events_seen:,}"),
        ("time", duration(training.seconds)),
        *(
            (f"validation accuracy, {name}", f"{100 * value:.2f}%")
            for name, value in accuracies.items()
            if value is not None
        ),
        *(
            (f"{name} after {last.step:,} views", f"{value:.6g}")
            for last in training.history[-1:]
            for name, value in sorted(last.values.items())
        ),
    ]


def cost_facts(result: Result) -> Facts:
    """What the whole run took."""
    cost = result.cost
    return [
        ("wall time", duration(cost.wall_seconds)),
        ("processor time", duration(cost.cpu_seconds)),
        ("accelerator time", "none" if cost.device_seconds is None else duration(cost.device_seconds)),
        ("simulation", "not recorded" if cost.simulation_seconds is None else duration(cost.simulation_seconds)),
        ("peak memory", f"{cost.peak_memory_mb:,.0f} MiB"),
        ("trained parameters", f"{cost.parameters:,}"),
        ("operations per event", "not recorded" if cost.flops_per_event is None else f"{cost.flops_per_event:.3g}"),
    ]


def environment_facts(result: Result) -> Facts:
    """Where it ran."""
    environment = result.environment
    return [
        ("nubench", environment.nubench),
        ("git revision", environment.git_revision or "not recorded"),
        ("Python", environment.python),
        ("platform", environment.platform),
        ("processor", f"{environment.processor}, {environment.cpu_count} cores"),
        ("threads", "not recorded" if environment.threads is None else str(environment.threads)),
        ("device", environment.device),
        ("devices that share a training", str(environment.devices)),
        *sorted(environment.packages.items()),
    ]


def digest_facts(result: Result) -> Facts:
    """SHA-256 of the recipe of the data, of the predictions, and of the events of every file."""
    return [
        ("recipe of the data", result.dataset.recipe),
        ("predictions", result.predictions or "not recorded"),
        *sorted(result.dataset.checksums.items()),
    ]


def fixed_parameter_facts(points: Sequence[PointResult]) -> Facts:
    """Detector parameters that are the same at all points, by name."""
    first = points[0].parameters
    return [
        (name, parameter_text(value))
        for name, value in sorted(first.items())
        if all(point.parameters.get(name) == value for point in points)
    ]


def _setting_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
