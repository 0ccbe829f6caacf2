"""What the pages of methods show, as the values that their templates are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from nubench.foreign_text import printable
from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.charts import COLOURS, Chart, Panel, Series
from nubench.leaderboard.columns import duration, median_cost, per_cent, places_text, seeds_text
from nubench.leaderboard.site.contexts import Context, board_name, interval_cell, submissions_table
from nubench.leaderboard.site.paths import METHODS, board_page, method_page, relative, submission_page
from nubench.leaderboard.site.views import CellView, Head, TableView, chart_view, number_cell, number_head, text_cell


def method_names(boards: Iterable[Board]) -> list[str]:
    """Names of all methods, sorted."""
    return sorted({row.first.method.name for board in boards for row in board.rows})


def methods_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The list of all methods."""
    heads = [Head("Method", style="name"), Head("What it is", style="wide"), Head("Target events in training")]
    heads += [number_head("Boards"), number_head("Submissions")]
    lines = []
    for name in method_names(boards):
        placed = _rows_of(name, boards)
        method = placed[-1][1].first.method
        submissions = len({submission_page(result) for _, row in placed for result in row.results})
        lines.append(
            [
                text_cell(name, relative(method_page(name), page)),
                text_cell(method.title),
                text_cell(method.target_access),
                number_cell(len({board.folder for board, _ in placed}), str(len({b.folder for b, _ in placed}))),
                number_cell(submissions, str(submissions)),
            ]
        )
    return {"title": "Methods", "methods": TableView(heads, lines, stacks=True)}


def method_context(name: str, boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page of one method: where it stands, and what was submitted."""
    placed = _rows_of(name, boards)
    heads = [Head("Board", style="name"), Head("Variant", style="label"), number_head("Rank", lower_first=True)]
    heads += [number_head("Places", lower_first=True)]
    titles = ("Seeds", "Mean over targets", "95% interval", "Worst point", "Change from the source")
    heads += [*map(number_head, titles), number_head("Wall time", lower_first=True)]
    return {
        "title": name,
        "descriptions": list(dict.fromkeys(_description(row) for _, row in placed)),
        "crumbs": [("Methods", relative(METHODS, page))],
        "charts": [chart_view(_chart(name, placed), page)],
        "places": TableView(heads, [_place_line(board, row, page) for board, row in placed], stacks=True),
        "submissions": submissions_table(placed, page),
    }


def _rows_of(name: str, boards: Iterable[Board]) -> list[tuple[Board, Row]]:
    return [(board, row) for board in boards for row in board.rows if row.first.method.name == name]


def _description(row: Row) -> str:
    method = row.first.method
    return (
        f"{method.title}. Version {method.version}, from {method.distribution}; target events: {method.target_access}."
    )


def _place_line(board: Board, row: Row, page: PurePosixPath) -> list[CellView]:
    worst, point = row.worst
    wall = median_cost(row, "wall_seconds")
    return [
        text_cell(board_name(board), relative(board_page(board), page)),
        text_cell(row.label),
        number_cell(row.rank, str(row.rank or "not ranked")),
        number_cell(row.rank_interval and row.rank_interval.low, places_text(row)),
        number_cell(len(row.results), seeds_text(board, row)),
        number_cell(row.mean.mean, per_cent(row.mean)),
        interval_cell(row),
        number_cell(worst, f"{100 * worst:.1f} at {point}"),
        number_cell(row.change.mean, per_cent(row.change, signed=True)),
        number_cell(wall, "" if wall is None else duration(wall)),
    ]


def _chart(name: str, placed: Sequence[tuple[Board, Row]]) -> Chart:
    """The accuracy over the targets beside that at the source, on every board."""
    places = tuple(map(float, range(len(placed))))
    intervals = [row.interval for _, row in placed]
    targets = Series(
        name="mean over the targets, 95% interval",
        x=tuple(100 * row.mean.mean for _, row in placed),
        y=places,
        number=0,
        kind="marks",
        errors_x=tuple((100 * (i.estimate - i.low), 100 * (i.high - i.estimate)) for i in intervals),
        notes=tuple(f"{100 * i.low:.1f} to {100 * i.high:.1f}" for i in intervals),
    )
    source = Series(
        name="source",
        x=tuple(100 * row.at(row.first.shift.source).mean for _, row in placed),
        y=places,
        number=len(COLOURS) + 1,
        kind="marks",
        notes=tuple(f"at {printable(row.first.shift.source)}" for _, row in placed),
    )
    ticks = tuple(printable(board_name(board) + f": {row.label}" * (row.label != name)) for board, row in placed)
    return Chart(
        name="boards",
        title="Accuracy on each board",
        caption="Means over seeds. The further a mean over the targets lies left of the source, the more the shift "
        "costs. Accuracies on different boards are not comparable.",
        panels=(Panel("", "accuracy (%)", "", (source, targets), ticks_y=ticks),),
    )
