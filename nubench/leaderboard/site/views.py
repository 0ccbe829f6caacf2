"""What the templates are given: tables, charts and matrices as plain values, made of boards and results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.columns import Column, cells
from nubench.leaderboard.site.interactive import plotly_chart
from nubench.leaderboard.site.paths import method_page, relative
from nubench.results.scores import Scores

Style = Literal["", "number", "name", "wide", "value"]
_SHADES: Final = 10


@dataclass(frozen=True)
class Head:
    """The head of a column; ``kind`` is how the cells are sorted."""

    title: str
    kind: Literal["text", "number"] = "text"
    style: Style = ""


@dataclass(frozen=True)
class CellView:
    """A cell: ``sort`` decides the order, ``href`` is a link that this package made."""

    text: str
    sort: str
    href: str | None = None


@dataclass(frozen=True)
class TableView:
    """A table that can be sorted and filtered."""

    heads: Sequence[Head]
    rows: Sequence[Sequence[CellView]]


@dataclass(frozen=True)
class ChartView:
    """A chart with the files that show the same."""

    title: str
    caption: str
    stacked: bool
    svg: str
    png: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Share:
    """A cell of a confusion matrix: events, their share of the true class, and a step of the shading."""

    count: str
    share: str
    shade: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, rows true, with the purity of each column."""

    title: str
    rows: Sequence[Sequence[Share]]
    purity: Sequence[str]


def text_cell(text: str, href: str | None = None) -> CellView:
    """A cell that is sorted by its text."""
    return CellView(text, text, href)


def number_cell(value: float | None, text: str, href: str | None = None) -> CellView:
    """A cell that is sorted by a number, last when there is none."""
    return CellView(text, "" if value is None else repr(value), href)


def rows_table(columns: Sequence[Column], rows: Iterable[Row], page: PurePosixPath) -> TableView:
    """The table of some rows of a board, with links to the pages of their methods."""
    rows = tuple(rows)
    found = [cells(columns, row) for row in rows]
    heads = []
    for place, column in enumerate(columns):
        is_number = any(isinstance(line[place].sort, int | float) for line in found)
        heads.append(Head(column.title, "number" if is_number else "text", _style(column.name, is_number)))
    return TableView(
        heads,
        [
            [
                CellView(
                    cell.text,
                    "" if cell.sort is None else str(cell.sort),
                    relative(method_page(row.first.method.name), page) if column.name == "method" else None,
                )
                for column, cell in zip(columns, line, strict=True)
            ]
            for row, line in zip(rows, found, strict=True)
        ],
    )


def chart_view(chart: Chart, folder: PurePosixPath, page: PurePosixPath) -> ChartView:
    """A chart whose picture files lie in ``folder``."""
    return ChartView(
        title=chart.title,
        caption=chart.caption,
        stacked=chart.stacked,
        svg=relative(folder / f"{chart.name}.svg", page),
        png=relative(folder / f"{chart.name}.png", page),
        content=plotly_chart(chart),
    )


def matrix_view(title: str, scores: Scores) -> Matrix:
    """A confusion matrix as a table."""
    rows = []
    for counts in scores.confusion:
        total = sum(counts)
        rows.append([_share(count, total) for count in counts])
    return Matrix(title, rows, ["none" if value is None else f"{100 * value:.1f}%" for value in scores.purity])


def board_tables(columns: Sequence[Column], board: Board, page: PurePosixPath) -> tuple[TableView, TableView]:
    """The table of the ranked rows of a board, and that of the others."""
    ranked, apart = ([row for row in board.rows if bool(row.rank) is wanted] for wanted in (True, False))
    return rows_table(columns, ranked, page), rows_table(columns, apart, page)


def _share(count: int, total: int) -> Share:
    share = count / total if total else 0.0
    return Share(f"{count:,}", f"{100 * share:.1f}%" if total else "none", round(_SHADES * share))


def _style(column: str, is_number: bool) -> Style:
    if column == "method":
        return "name"
    return "wide" if column == "title" else "number" if is_number else ""
