"""What the pages over boards show, as the values that their templates are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from nubench.leaderboard.across import Standing, standings
from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.columns import (
    Column,
    duration,
    interval_text,
    method_columns,
    per_cent,
    ranking_columns,
    seeds_remark,
)
from nubench.leaderboard.groups import AcrossGroup, groups_across
from nubench.leaderboard.shared import best_words, interval_words, moved_parameters, notes, shared_facts
from nubench.leaderboard.site.facts import settings_facts
from nubench.leaderboard.site.paths import board_page, method_page, relative, shift_page, submission_page
from nubench.leaderboard.site.views import (
    CellView,
    Head,
    TableView,
    board_tables,
    chart_view,
    number_cell,
    number_head,
    parameters_table,
    rows_table,
    text_cell,
)
from nubench.results.files import shift_folder
from nubench.results.schema import SCHEMA_VERSION

Context = dict[str, Any]


def index_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page that links every board."""
    heads = [Head("Board", style="name"), Head("Best", style="label"), number_head("Its mean over the targets")]
    heads += [number_head("95% interval"), number_head("Methods")]
    heads += map(Head, ("Shift", "Data set", "Source", "Profile", "Backbone"))
    lines = [_board_line(board, page) for board in boards]
    return {"title": "Leaderboards", "boards": TableView(heads, lines, stacks=True)}


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
                "title": board_name(board),
                "href": relative(board_page(board), page),
                "notes": notes(board),
                "ranked": ranked,
                "apart": apart,
            }
        )
    return {
        "title": f"{shared.dataset.detector}, {shared.shift.name}",
        "crumbs": [("Boards", relative("index.html", page))],
        "charts": [chart_view(chart, page, page.with_suffix("")) for chart in charts],
        "boards": shown,
    }


def board_context(
    board: Board, charts: Sequence[Chart], page: PurePosixPath, further: Iterable[Column] = ()
) -> Context:
    """The page of one board: its ranking, charts, methods and submissions."""
    shared = board.example
    ranked, apart = board_tables(ranking_columns(board, further), board, page)
    shift = shared.shift.name
    return {
        "title": board.title,
        "crumbs": [
            ("Boards", relative("index.html", page)),
            (f"{shared.dataset.detector}, {shift}", relative(shift_page(shared.dataset.detector, shift), page)),
        ],
        "source": shared.shift.source,
        "notes": notes(board),
        "intervals": interval_words(board),
        "ranked": ranked,
        "apart": apart,
        "charts": [chart_view(chart, page, page.parent) for chart in charts],
        "methods": rows_table(method_columns(), board.rows, page, stacks=True),
        "submissions": submissions_table([(board, row) for row in board.rows], page),
        "shifted": parameters_table(moved_parameters(board), shared.points),
        # The profile has a table of its own.
        "shared": [(name, value) for name, value in shared_facts(board) if name != "profile"],
        "profile": shared.profile.name,
        "settings": settings_facts(shared.profile.settings),
    }


def across_context(boards: Sequence[Board], page: PurePosixPath) -> Context:
    """The page that compares methods over detectors."""
    return {"title": "Across detectors", "groups": [_across_group(group, page) for group in groups_across(boards)]}


def _board_line(board: Board, page: PurePosixPath) -> list[CellView]:
    shared, best = board.example, board.rows[0]
    detector, shift = shared.dataset.detector, shared.shift.name
    first = [text_cell(best_words(board)), number_cell(None, ""), number_cell(None, "")]
    if best.rank:
        first[1:] = [number_cell(best.mean.mean, per_cent(best.mean)), interval_cell(best)]
    return [
        text_cell(board_name(board), relative(board_page(board), page)),
        *first,
        number_cell(len(board.rows), str(len(board.rows))),
        text_cell(f"{detector}, {shift}", relative(shift_page(detector, shift), page)),
        text_cell(f"{shared.dataset.name} {shared.dataset.version}"),
        text_cell(shared.shift.source),
        text_cell(shared.profile.name),
        text_cell(board.backbone),
    ]


def board_name(board: Board) -> str:
    """What tells the boards of a site apart, conditions included."""
    parts = [*board.folder.parts]
    if board.backbone not in parts:
        parts.append(board.backbone)
    if board.example.schema_version != SCHEMA_VERSION:
        parts.append(f"schema version {board.example.schema_version}")
    return ", ".join(parts)


def _across_group(group: AcrossGroup, page: PurePosixPath) -> Context:
    heads = [Head("Method", style="name"), number_head("Mean rank", lower_first=True)]
    heads += [number_head("Normalised score")]
    heads += [number_head(f"{b.example.dataset.detector}, {shift_folder(b.example)}") for b in group.boards]
    remarks = []
    if len(group.detectors) < 2:
        remarks.append(f"Only one detector so far: {group.detectors[0]}.")
    if group.left_out:
        remarks.append(f"Left out as older or of other conditions: {', '.join(map(board_name, group.left_out))}.")
    return {
        "title": group.title,
        "notes": remarks,
        "table": TableView(heads, [_standing_line(one, group, page) for one in standings(group.boards)]),
    }


def _standing_line(standing: Standing, group: AcrossGroup, page: PurePosixPath) -> list[CellView]:
    rank, score = standing.mean_rank, standing.normalised_score
    # The standing may be named with its distribution; a method's page is shared by all that bring its name.
    name = next(row.first.method.name for row in standing.rows if row is not None)
    cells = [
        text_cell(standing.method, relative(method_page(name), page)),
        number_cell(rank, "" if rank is None else f"{rank:.2f}"),
        number_cell(score, "" if score is None else f"{score:.3f}"),
    ]
    for board, row in zip(group.boards, standing.rows, strict=True):
        if row is None:
            cells.append(number_cell(None, "none"))
        else:
            text = per_cent(row.mean) + seeds_remark(board, row)
            cells.append(number_cell(row.mean.mean, text, relative(board_page(board), page)))
    return cells


def interval_cell(row: Row) -> CellView:
    """The 95% interval of the mean over the target points, sorted by its lower end."""
    return number_cell(row.interval.low, interval_text(row))


def submissions_table(placed: Iterable[tuple[Board, Row]], page: PurePosixPath) -> TableView:
    """The submissions of some rows, each once."""
    heads = [Head("Submission", style="name"), number_head("Seed", lower_first=True), Head("Shift"), Head("Profile")]
    heads += [number_head("Mean over targets"), number_head("Wall time", lower_first=True), Head("Device")]
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
    return TableView(heads, list(lines.values()), stacks=True)
