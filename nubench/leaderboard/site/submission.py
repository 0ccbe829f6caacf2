"""The page of one submission: what was run, what it measured at every point, what it took, and where."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from nubench.leaderboard.boards import Board
from nubench.leaderboard.columns import duration
from nubench.leaderboard.shared import parameter_text
from nubench.leaderboard.site.paths import METHODS, board_page, method_page, relative, shift_page
from nubench.leaderboard.site.views import CellView, Head, TableView, matrix_view, number_cell, text_cell
from nubench.results.files import shift_folder
from nubench.results.schema import PointResult, Result
from nubench.results.scores import Scores

Pairs = list[tuple[str, str]]


def submission_context(result: Result, board: Board, page: PurePosixPath) -> dict[str, Any]:
    """What the template of a submission needs.

    Args:
        board: one that it stands on.
    """
    method, detector, shift = result.method, result.dataset.detector, result.shift.name
    return {
        "title": f"{method.name}, seed {result.seed}",
        "description": method.title,
        "crumbs": [
            ("Methods", relative(METHODS, page)),
            (method.name, relative(method_page(method.name), page)),
            (f"{detector}, {shift}", relative(shift_page(detector, shift), page)),
            (board.title, relative(board_page(board), page)),
        ],
        "identity": _identity(result),
        "metrics": _metrics(result),
        "classes": result.dataset.classes,
        "points": [
            {
                "name": point.point,
                "matrices": [matrix_view(title, scores) for title, scores in _readouts(result, point)],
            }
            for point in result.points
        ],
        "records": [
            ("Settings of the method", [(name, _json(value)) for name, value in sorted(method.config.items())]),
            ("Settings of the profile", [(k, _json(value)) for k, value in sorted(result.profile.settings.items())]),
            ("Training", _training(result)),
            ("Cost", _cost(result)),
            ("Environment", _environment(result)),
            ("Events used", [(name, digest) for name, digest in sorted(result.dataset.checksums.items())]),
            ("Detector parameters", _parameters(result)),
        ],
    }


def _identity(result: Result) -> Pairs:
    method, dataset, backbone = result.method, result.dataset, result.backbone
    sealed = {True: "yes", False: "no", None: "not recorded"}[result.sealed]
    return [
        ("method", f"{method.name} {method.version}, from {method.distribution}"),
        ("target events in training", method.target_access),
        ("ranked", f"by {method.ranked_by}" if method.ranked else "no, for orientation"),
        ("seed", str(result.seed)),
        ("data set", f"{dataset.name} {dataset.version}, detector {dataset.detector}"),
        ("recipe", dataset.recipe),
        ("shift", shift_folder(result)),
        ("profile", result.profile.name),
        (
            "backbone",
            f"{backbone.preset}, {backbone.parameters:,} parameters, embedding of {backbone.embedding_size}, "
            f"engine {result.engine}"
            if backbone
            else "none",
        ),
        ("sealed", sealed),
        ("predictions (SHA-256)", result.predictions or "not recorded"),
        ("created", result.created.isoformat()),
        ("schema version", str(result.schema_version)),
    ]


def _metrics(result: Result) -> TableView:
    further = sorted({name for point in result.points for _, s in _readouts(result, point) for name in s.further})
    heads = [
        Head("Point", style="name"),
        Head("Read-out"),
        *(
            Head(title, "number", "number")
            for title in ("Events", "Accuracy (%)", "Balanced accuracy (%)", "NLL (nats)", "ECE (%)", *further)
        ),
    ]
    return TableView(
        heads,
        [
            _metrics_row(point, title, scores, further)
            for point in result.points
            for title, scores in _readouts(result, point)
        ],
    )


def _metrics_row(point: PointResult, title: str, scores: Scores, further: Iterable[str]) -> list[CellView]:
    return [
        text_cell(point.point),
        text_cell(title),
        number_cell(point.events, f"{point.events:,}"),
        number_cell(scores.accuracy, f"{100 * scores.accuracy:.2f}"),
        number_cell(scores.balanced_accuracy, f"{100 * scores.balanced_accuracy:.2f}"),
        number_cell(scores.nll, f"{scores.nll:.4f}"),
        number_cell(scores.calibration_error, f"{100 * scores.calibration_error:.2f}"),
        *(number_cell(value, "" if value is None else f"{value:.4g}") for value in map(scores.further.get, further)),
    ]


def _readouts(result: Result, point: PointResult) -> list[tuple[str, Scores]]:
    """The read-outs of a point, the one that ranks first."""
    found = [(name, scores) for name in ("head", "probe") if (scores := getattr(point.readouts, name)) is not None]
    found.sort(key=lambda pair: pair[0] != result.method.ranked_by)
    return [(f"{name} (ranks)" if name == result.method.ranked_by else name, scores) for name, scores in found]


def _training(result: Result) -> Pairs:
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
            (f"{name} at step {last.step:,}", f"{value:.6g}")
            for last in training.history[-1:]
            for name, value in sorted(last.values.items())
        ),
    ]


def _cost(result: Result) -> Pairs:
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


def _environment(result: Result) -> Pairs:
    environment = result.environment
    return [
        ("nubench", environment.nubench),
        ("git revision", environment.git_revision or "not recorded"),
        ("Python", environment.python),
        ("platform", environment.platform),
        ("processor", f"{environment.processor}, {environment.cpu_count} cores"),
        ("device", environment.device),
        *sorted(environment.packages.items()),
    ]


def _parameters(result: Result) -> Pairs:
    pairs = []
    for name in sorted({name for point in result.points for name in point.parameters}):
        values = [parameter_text(point.parameters.get(name)) for point in result.points]
        if len(set(values)) == 1:
            pairs.append((name, f"{values[0]} at every point"))
        else:
            places = zip(values, result.points, strict=True)
            pairs.append((name, ", ".join(f"{value} at {point.point}" for value, point in places)))
    return pairs


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
