"""What is said of a board as a whole: what its rows share, what its shift moves, and what a reader must beware of."""

from __future__ import annotations

import json

from nubench.leaderboard.boards import NO_BACKBONE, Board
from nubench.leaderboard.columns import seeds_remark
from nubench.leaderboard.displacements import moved_names


def shared_facts(board: Board) -> list[tuple[str, str]]:
    """Names and values of what makes the rows comparable."""
    shared = board.example
    return [
        ("data set", f"{shared.dataset.name} {shared.dataset.version}"),
        ("classes", ", ".join(shared.dataset.classes)),
        (f"test events at {shared.shift.source}", str(shared.points[0].events)),
        ("backbone", _backbone_words(board)),
        ("profile", f"{shared.profile.name}: {json.dumps(shared.profile.settings, sort_keys=True)}"),
    ]


def best_words(board: Board) -> str:
    """The first row of a board, and with how many others it shares its rank."""
    best = board.rows[0]
    if best.rank is None:
        return "(none ranked)"
    others = sum(row.rank == best.rank for row in board.rows) - 1
    return f"{best.label}{seeds_remark(board, best)}{f', shares rank 1 with {others}' if others else ''}"


def interval_words(board: Board) -> str:
    """How intervals were made, where that is by the bootstrap; :func:`notes` says so where it is not."""
    if all(row.approximate for row in board.rows):
        return ""
    return (
        "Intervals are a bootstrap over test events and seeds; two rows that were scored on the same events are "
        "compared event by event."
    )


def notes(board: Board) -> list[str]:
    """Sentences on what a reader of this board must know of its rows: what is missing, unsure or not as agreed."""
    found = []
    if board.missing_baselines:
        found.append(
            f"Not yet run here: {', '.join(board.missing_baselines)}. Without them nobody knows what a number is worth."
        )
    if not all(row.complete for row in board.rows):
        found.append(f"Rows with fewer than {board.seeds} seeds are incomplete.")
    alone = [row for row in board.rows if len(row.results) == 1]
    if any(row.borrowed is not None for row in alone):
        found.append(
            "With one seed the spread between trainings is taken from the other rows of the board: rank and places of "
            "such a row are provisional."
        )
    if any(row.borrowed is None for row in alone):
        found.append(
            "Some rows have one seed, and no row like them has more: their intervals hold the test events alone, not "
            "the spread between trainings, and are too narrow. Their rank and places are provisional."
        )
    if any(row.approximate for row in board.rows):
        found.append(
            "Some results do not say which events were right. Their intervals are normal approximations, and their "
            "rows are compared by their intervals alone, not event by event."
        )
    if _compared_unpaired(board):
        found.append(
            "Some rows were not scored on the very same test events: they are compared by their intervals alone, which "
            "tells less apart."
        )
    if any(result.sealed is False for row in board.rows for result in row.results):
        found.append("Some rows are not sealed: their training ran in one process with the labels of the target.")
    return found


def moved_parameters(board: Board) -> list[str]:
    """Names of the detector parameters that are not the same at all points, sorted."""
    return moved_names(board.example.points)


def parameter_text(value: float | str | None) -> str:
    """A detector parameter to be read; empty where a point lacks it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value if value is not None else "")


def _compared_unpaired(board: Board) -> bool:
    """Whether two rows that do say which events were right could not be compared event by event."""
    known = {row.label for row in board.rows if not row.approximate}
    return any(not pair.paired and {pair.first, pair.second} <= known for pair in board.pairs)


def _backbone_words(board: Board) -> str:
    found = [row.first.backbone for row in board.rows if row.first.backbone]
    if not found:
        return NO_BACKBONE
    counts = sorted({backbone.parameters for backbone in found})
    return f"{board.backbone}, {' to '.join(f'{n:,}' for n in sorted({counts[0], counts[-1]}))} parameters"
