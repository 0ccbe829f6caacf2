"""What the pages over boards and methods show, as the values that their templates are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from nubench.leaderboard.across import Standing, standings
from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.columns import (
    Column,
    duration,
    method_columns,
    per_cent,
    places_text,
    ranking_columns,
    seeds_text,
)
from nubench.leaderboard.groups import AcrossGroup, groups_across
from nubench.leaderboard.shared import moved_parameters, notes, parameter_text, shared_facts
from nubench.leaderboard.site.paths import METHODS, board_page, method_page, relative, shift_page, submission_page
from nubench.leaderboard.site.views import (
    CellView,
    Head,
    TableView,
    board_tables,
    chart_view,
    number_cell,
    rows_table,
    text_cell,
)
from nubench.results.files import shift_folder

Context = dict[str, Any]
#: How a column of numbers is sorted, and how it looks.
_NUMBER: Final = ("number", "number")


def index_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page that links every board."""
    heads = [Head("Board", style="name"), Head("Best", style="name"), Head("Its mean over the targets", *_NUMBER)]
    heads += [Head("Methods", *_NUMBER), *map(Head, ("Shift", "Data set", "Source", "Profile", "Backbone"))]
    return {"title": "Leaderboards", "boards": TableView(heads, [_board_line(board, page) for board in boards])}


def shift_context(
    boards: Sequence[Board], charts: Sequence[Chart], page: PurePosixPath, further: Iterable[Column]
) -> Context:
    """The page of one detector and shift: its boards under each other, each with its own table."""
    shared, further = boards[0].example, tuple(further)
    shown = []
    for board in boards:
        ranked, apart = board_tables(ranking_columns(board, further), board, page)
        shown.append(
            {
                "title": _board_name(board),
                "href": relative(board_page(board), page),
                "notes": notes(board),
                "ranked": ranked,
                "apart": apart,
            }
        )
    return {
        "title": f"{shared.dataset.detector}, {shared.shift.name}",
        "crumbs": [("Boards", relative("index.html", page))],
        "charts": [chart_view(chart, page.with_suffix(""), page) for chart in charts],
        "boards": shown,
    }


def board_context(
    board: Board, charts: Sequence[Chart], page: PurePosixPath, further: Iterable[Column] = ()
) -> Context:
    """The page of one board: its ranking, charts, methods and submissions."""
    shared = board.example
    ranked, apart = board_tables(ranking_columns(board, further), board, page)
    points = shared.points
    parameters = [
        [text_cell(name), *(text_cell(parameter_text(point.parameters.get(name))) for point in points)]
        for name in moved_parameters(board)
    ]
    shift = shared.shift.name
    return {
        "title": board.title,
        "crumbs": [
            ("Boards", relative("index.html", page)),
            (f"{shared.dataset.detector}, {shift}", relative(shift_page(shared.dataset.detector, shift), page)),
        ],
        "source": shared.shift.source,
        "notes": notes(board),
        "ranked": ranked,
        "apart": apart,
        "charts": [chart_view(chart, page.parent, page) for chart in charts],
        "methods": rows_table(method_columns(), board.rows, page),
        "submissions": _submissions_table([(board, row) for row in board.rows], page),
        "shifted": TableView([Head("Parameter", style="name"), *(Head(name) for name in board.points)], parameters),
        "shared": shared_facts(board),
    }


def across_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page that compares methods over detectors."""
    return {"title": "Across detectors", "groups": [_across_group(group, page) for group in groups_across(boards)]}


def method_names(boards: Iterable[Board]) -> list[str]:
    """Names of all methods, sorted."""
    return sorted({row.first.method.name for board in boards for row in board.rows})


def methods_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The list of all methods."""
    heads = [Head("Method", style="name"), Head("What it is", style="wide"), Head("Target events in training")]
    heads += [Head("Boards", *_NUMBER), Head("Submissions", *_NUMBER)]
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
    return {"title": "Methods", "methods": TableView(heads, lines)}


def method_context(name: str, boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page of one method: where it stands, and what was submitted."""
    placed = _rows_of(name, boards)
    heads = [Head("Board", style="name"), Head("Variant", style="name")]
    titles = ("Rank", "Places", "Seeds", "Mean over targets", "Worst point", "Change from the source", "Wall time")
    heads += [Head(title, *_NUMBER) for title in titles]
    return {
        "title": name,
        "descriptions": list(dict.fromkeys(_description(row) for _, row in placed)),
        "crumbs": [("Methods", relative(METHODS, page))],
        "places": TableView(heads, [_place_line(board, row, page) for board, row in placed]),
        "submissions": _submissions_table(placed, page),
    }


def _board_line(board: Board, page: PurePosixPath) -> list[CellView]:
    shared, best = board.example, board.rows[0]
    detector, shift = shared.dataset.detector, shared.shift.name
    return [
        text_cell(_board_name(board), relative(board_page(board), page)),
        text_cell(best.label if best.rank else "(none ranked)"),
        number_cell(best.mean.mean, per_cent(best.mean)) if best.rank else number_cell(None, ""),
        number_cell(len(board.rows), str(len(board.rows))),
        text_cell(f"{detector}, {shift}", relative(shift_page(detector, shift), page)),
        text_cell(f"{shared.dataset.name} {shared.dataset.version}"),
        text_cell(shared.shift.source),
        text_cell(shared.profile.name),
        text_cell(board.backbone),
    ]


def _board_name(board: Board) -> str:
    """What tells the boards of a site apart, conditions included."""
    return ", ".join(board.folder.parts) + (f", {board.backbone}" if board.backbone not in board.folder.parts else "")


def _across_group(group: AcrossGroup, page: PurePosixPath) -> Context:
    heads = [Head("Method", style="name"), Head("Mean rank", *_NUMBER)]
    heads += [Head("Normalised score", *_NUMBER)]
    heads += [Head(f"{b.example.dataset.detector}, {shift_folder(b.example)}", *_NUMBER) for b in group.boards]
    remarks = []
    if len(group.detectors) < 2:
        remarks.append(f"Only one detector so far: {group.detectors[0]}.")
    if group.left_out:
        remarks.append(f"Left out as older or of other conditions: {', '.join(map(_board_name, group.left_out))}.")
    return {
        "title": group.title,
        "notes": remarks,
        "table": TableView(heads, [_standing_line(one, group, page) for one in standings(group.boards)]),
    }


def _standing_line(standing: Standing, group: AcrossGroup, page: PurePosixPath) -> list[CellView]:
    rank, score = standing.mean_rank, standing.normalised_score
    cells = [
        text_cell(standing.method, relative(method_page(standing.method), page)),
        number_cell(rank, "" if rank is None else f"{rank:.2f}"),
        number_cell(score, "" if score is None else f"{score:.3f}"),
    ]
    for board, row in zip(group.boards, standing.rows, strict=True):
        if row is None:
            cells.append(number_cell(None, "none"))
        else:
            incomplete = "" if row.complete else f" ({seeds_text(board, row)} seeds)"
            cells.append(number_cell(row.mean.mean, per_cent(row.mean) + incomplete, relative(board_page(board), page)))
    return cells


def _rows_of(name: str, boards: Iterable[Board]) -> list[tuple[Board, Row]]:
    return [(board, row) for board in boards for row in board.rows if row.first.method.name == name]


def _description(row: Row) -> str:
    method = row.first.method
    return (
        f"{method.title}. Version {method.version}, from {method.distribution}; target events: {method.target_access}."
    )


def _place_line(board: Board, row: Row, page: PurePosixPath) -> list[CellView]:
    worst, point = row.worst
    wall = sum(result.cost.wall_seconds for result in row.results) / len(row.results)
    return [
        text_cell(_board_name(board), relative(board_page(board), page)),
        text_cell(row.label),
        number_cell(row.rank, str(row.rank or "not ranked")),
        number_cell(row.rank_interval and row.rank_interval.low, places_text(row)),
        number_cell(len(row.results), seeds_text(board, row)),
        number_cell(row.mean.mean, per_cent(row.mean)),
        number_cell(worst, f"{100 * worst:.1f} at {point}"),
        number_cell(row.change.mean, per_cent(row.change, signed=True)),
        number_cell(wall, duration(wall)),
    ]


def _submissions_table(placed: Iterable[tuple[Board, Row]], page: PurePosixPath) -> TableView:
    heads = [Head("Submission", style="name"), Head("Seed", *_NUMBER), Head("Shift"), Head("Profile")]
    heads += [Head("Mean over targets", *_NUMBER), Head("Wall time", *_NUMBER), Head("Device")]
    lines = {}
    for _, row in placed:
        for result, mean in zip(row.results, row.target_means, strict=True):
            found = submission_page(result)
            lines[found] = [
                text_cell(found.stem, relative(found, page)),
                number_cell(result.seed, str(result.seed)),
                text_cell(f"{result.dataset.detector}, {shift_folder(result)}"),
                text_cell(result.profile.name),
                number_cell(mean, f"{100 * mean:.2f}"),
                number_cell(result.cost.wall_seconds, duration(result.cost.wall_seconds)),
                text_cell(result.environment.device),
            ]
    return TableView(heads, list(lines.values()))
