"""What the templates are given: tables, charts and matrices as plain values, made of boards and results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from nubench.leaderboard.boards import Board, Row
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.columns import Column, cells
from nubench.leaderboard.shared import parameter_text
from nubench.leaderboard.site.interactive import plotly_chart
from nubench.leaderboard.site.paths import method_page, relative
from nubench.results.schema import PointResult
from nubench.results.scores import Scores

#: ``name`` is the column that says what a row is: it stays in view while the others are scrolled.
Style = Literal["", "number", "name", "label", "wide"]
_SHADES: Final = 10

#: Columns of rows where the smallest number is the best.
_LOWER_IS_BETTER: Final = frozenset({"rank", "places", "parameters", "wall-time", "cpu-time"})


@dataclass(frozen=True)
class Head:
    """The head of a column.

    Attributes:
        kind: how the cells are sorted.
        lower_first: whether the first click puts the smallest number on top, as where lower is better.
    """

    title: str
    kind: Literal["text", "number"] = "text"
    style: Style = ""
    lower_first: bool = False

    @property
    def first(self) -> str:
        """The direction of the first click, as ``aria-sort`` calls it."""
        return "ascending" if self.kind == "text" or self.lower_first else "descending"


@dataclass(frozen=True)
class CellView:
    """A cell: ``sort`` decides the order, ``href`` is a link that this package made."""

    text: str
    sort: str
    href: str | None = None


@dataclass(frozen=True)
class TableView:
    """A table that can be sorted and filtered.

    Attributes:
        stacks: on a phone each row becomes a paragraph, for tables that are read row by row; others scroll sideways.
    """

    heads: Sequence[Head]
    rows: Sequence[Sequence[CellView]]
    stacks: bool = False


@dataclass(frozen=True)
class ChartView:
    """A chart with the files that show the same, where there are such."""

    title: str
    caption: str
    stacked: bool
    svg: str | None
    png: str | None
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


def number_head(title: str, *, lower_first: bool = False) -> Head:
    """The head of a column of numbers."""
    return Head(title, "number", "number", lower_first)


def rows_table(
    columns: Sequence[Column], rows: Iterable[Row], page: PurePosixPath, *, stacks: bool = False
) -> TableView:
    """The table of some rows of a board, with links to the pages of their methods."""
    rows = tuple(rows)
    found = [cells(columns, row) for row in rows]
    heads = []
    for place, column in enumerate(columns):
        is_number = any(isinstance(line[place].sort, int | float) for line in found)
        style = _style(column.name, is_number)
        lower_first = column.name in _LOWER_IS_BETTER
        heads.append(Head(column.title, "number" if is_number else "text", style, lower_first))
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
        stacks,
    )


def parameters_table(names: Iterable[str], points: Sequence[PointResult]) -> TableView:
    """Detector parameters, a row for each of ``names``, at every point."""
    heads = [Head("Parameter", style="name"), *(Head(point.point, style="number") for point in points)]
    lines = []
    for name in names:
        values = [parameter_text(point.parameters.get(name)) for point in points]
        lines.append([text_cell(name), *map(text_cell, values)])
    return TableView(heads, lines)


def chart_view(chart: Chart, page: PurePosixPath, folder: PurePosixPath | None = None) -> ChartView:
    """A chart, with the addresses of its picture files where they lie in ``folder``."""
    return ChartView(
        title=chart.title,
        caption=chart.caption,
        stacked=chart.stacked,
        svg=relative(folder / f"{chart.name}.svg", page) if folder else None,
        png=relative(folder / f"{chart.name}.png", page) if folder else None,
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
