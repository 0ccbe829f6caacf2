"""The figures of a study, from the submissions that are there: pictures, tables, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nubench.leaderboard.boards import Board, Row, boards_of
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.figure import draw
from nubench.leaderboard.plots import accuracy_chart, sources_chart
from nubench.studies.collected import CellResult
from nubench.studies.study_file import FigureSpec, Study


@dataclass(frozen=True)
class FigureReport:
    """One figure and its cells.

    Attributes:
        figure: what the study asks for.
        cells: all of them, with their results.
        boards: of the results that are there, in the order of the figure's sources. A source has more than one where
            its results may not be compared, such as runs on different data.
    """

    figure: FigureSpec
    cells: Sequence[CellResult]
    boards: tuple[Board, ...]

    @classmethod
    def of(cls, figure: FigureSpec, cells: Sequence[CellResult]) -> FigureReport:
        """Sort the results of a figure into boards."""
        results = [cell.result for cell in cells if cell.result is not None]
        order = {source: place for place, source in enumerate(figure.sources)}
        boards = sorted(boards_of(results), key=lambda board: order[board.example.shift.source])
        return cls(figure, cells, tuple(boards))

    @property
    def charts(self) -> dict[str, Chart]:
        """Its pictures by the names of their files, without endings; none while nothing is there."""
        if self.figure.kind == "lines":
            chart = sources_chart(self.boards, 1) if self.boards else None
            return {self.figure.name: chart} if chart else {}
        names = _file_names(self.figure.name, self.boards)
        return {name: accuracy_chart(board) for name, board in zip(names, self.boards, strict=True)}


def report_files(study: Study, reports: Iterable[FigureReport]) -> Mapping[str, bytes]:
    """Return the files of a study's report by their names: a page, and PNG and SVG of every picture."""
    files: dict[str, bytes] = {}
    page = [f"# {study.title}", ""]
    page += [study.description.strip(), ""] if study.description else []
    page += [f"Profile `{study.profile}`, {len(study.all_seeds)} seeds. Accuracies in per cent; ± over seeds.", ""]
    for report in reports:
        finished = sum(cell.result is not None for cell in report.cells)
        page += [f"## {report.figure.title}", "", f"{finished} of {len(report.cells)} runs are there.", ""]
        for name, chart in report.charts.items():
            files[f"{name}.png"], files[f"{name}.svg"] = draw(chart, report.figure.title)
            page += [f"![{chart.title}]({name}.png)", "", chart.caption, ""]
        for board in report.boards:
            page += [f"Trained at {board.example.shift.source} ({board.title}):", "", *_table(report.figure, board), ""]
        page += _missing(report)
    files["README.md"] = ("\n".join(page).rstrip() + "\n").encode()
    return files


def _file_names(figure: str, boards: Sequence[Board]) -> list[str]:
    sources = [board.example.shift.source for board in boards]
    names = [figure if len(boards) == 1 else f"{figure}-{source}" for source in sources]
    return [
        name if names.count(name) == 1 else f"{name}-{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def _table(figure: FigureSpec, board: Board) -> list[str]:
    order = {method: place for place, method in enumerate(figure.methods)}
    rows = sorted(board.rows, key=lambda row: order.get(row.first.method.name, len(order)))
    head = ["method", "seeds", *board.points, "mean of the targets", "change"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(_cells(row, board.points))} |" for row in rows]
    return lines


def _cells(row: Row, points: Sequence[str]) -> list[str]:
    accuracies = [row.at(point) for point in points]
    spreads = [*accuracies, row.mean]
    texts = [
        f"{100 * one.mean:.1f}" + (f" ± {100 * one.deviation:.1f}" if one.deviation is not None else "")
        for one in spreads
    ]
    return [row.label.replace("|", "\\|"), str(len(row.results)), *texts, f"{100 * row.change.mean:+.1f}"]


def _missing(report: FigureReport) -> list[str]:
    left: dict[tuple[str, str], list[int]] = {}
    for cell in report.cells:
        if cell.result is None:
            left.setdefault((cell.request.method, cell.request.source), []).append(cell.seed)
    if not left:
        return []
    lines = [
        f"- `{method}` trained at {source}: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        for (method, source), seeds in left.items()
    ]
    return ["Not there yet:", "", *lines, ""]
