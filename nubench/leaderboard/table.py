"""A leaderboard for programs: one line for each training and point, as CSV."""

from __future__ import annotations

import csv
import io

from nubench.leaderboard.boards import Board
from nubench.results.files import canonical


def csv_text(board: Board) -> str:
    """Write one line for each row of the board, seed and point; accuracies are fractions in full precision."""
    lines = [
        {
            "rank": row.rank or "",
            "label": row.label,
            "method": result.method.name,
            "version": result.method.version,
            "config": canonical(result.method.config),
            "target_access": result.method.target_access,
            "sealed": "" if result.sealed is None else str(result.sealed).lower(),
            "readout": result.method.ranked_by,
            "seeds_asked": board.seeds,
            "seed": result.seed,
            "point": point.point,
            "strength": "" if point.strength is None else point.strength,
            "events": point.events,
            "accuracy": result.scores(point).accuracy,
            "change_from_source": result.scores(point).accuracy - result.scores(result.points[0]).accuracy,
            "balanced_accuracy": result.scores(point).balanced_accuracy,
            "nll": result.scores(point).nll,
            "calibration_error": result.scores(point).calibration_error,
        }
        for row in board.rows
        for result in row.results
        for point in result.points
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
