"""The page of one submission: what was run, what it measured at every point, what it took, and where."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from nubench.leaderboard.boards import Board
from nubench.leaderboard.shared import moved_parameters
from nubench.leaderboard.site import facts
from nubench.leaderboard.site.paths import METHODS, board_page, method_page, relative, shift_page
from nubench.leaderboard.site.views import (
    CellView,
    Head,
    TableView,
    matrix_view,
    number_cell,
    number_head,
    parameters_table,
    text_cell,
)
from nubench.results.schema import PointResult, Result
from nubench.results.scores import Scores


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
        "file": page.with_suffix(".json").name,
        "identity": facts.identity_facts(result),
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
            ("Settings of the method", facts.settings_facts(method.config)),
            ("Settings of the profile", facts.settings_facts(result.profile.settings)),
            ("Training", facts.training_facts(result)),
            ("Cost", facts.cost_facts(result)),
            ("Environment", facts.environment_facts(result)),
        ],
        "moved": parameters_table(moved_parameters(board), result.points),
        "fixed": facts.fixed_parameter_facts(result.points),
        "digests": facts.digest_facts(result),
    }


def _metrics(result: Result) -> TableView:
    further = sorted({name for point in result.points for _, s in _readouts(result, point) for name in s.further})
    heads = [
        Head("Point", style="name"),
        Head("Read-out"),
        *map(number_head, ("Events", "Accuracy (%)", "Balanced accuracy (%)")),
        *(number_head(title, lower_first=True) for title in ("NLL (nats)", "ECE (%)")),
        *map(number_head, further),
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
