"""The charts of a board: what is drawn of it, after Figs. 3 to 5 of arXiv 2502.07724, and what those leave open."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nubench.evaluation.statistics import Interval
from nubench.foreign_text import printable
from nubench.leaderboard.boards import Board, Row, Spread, spread
from nubench.leaderboard.charts import Chart, Kind, Panel, Series
from nubench.leaderboard.columns import duration, median_cost
from nubench.leaderboard.displacements import on_one_line
from nubench.results.scores import Scores

#: Names of all charts.
CHARTS: Final = ("overview", "figure", "strength", "differences", "calibration", "cost")

#: The costs that an accuracy is drawn against: the field, its axis, its text.
_COSTS: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("cpu_seconds", "processor time of a run (s)", duration),
    ("wall_seconds", "wall time of a run (s)", duration),
    ("parameters", "trained parameters", lambda value: f"{value:,.0f} parameters"),
    ("flops_per_event", "operations per event, forwards", lambda value: f"{value:.3g} operations"),
)

#: Characters of the title of an axis in one line.
_TITLE_WIDTH: Final = 30

#: Costs that differ by less than this share tell no rows apart.
_LIKE_COSTS: Final = 0.01

_NO_LINE: Final = (
    " The points do not follow each other on one line through the space of the detector's parameters: those of like "
    "strength may be quite different detectors, so no line joins them and there is no area."
)


def charts_of(board: Board) -> tuple[Chart, ...]:
    """Every chart of one board; those for which its results hold nothing are left out."""
    drawn = (overview_chart, accuracy_chart, strength_chart, difference_chart, calibration_chart, cost_chart)
    return tuple(chart for chart in (draw(board) for draw in drawn) if chart)


def overview_chart(board: Board) -> Chart:
    """Accuracy of every row at every point as coloured cells, the mean over the targets first: what ranks."""
    chance = 100 / len(board.example.dataset.classes)
    mean = f"mean of {len(board.points) - 1} targets"
    names = tuple(printable(row.label if row.rank else f"{row.label} (not ranked)") for row in board.rows)
    series = tuple(
        Series(
            name=name,
            x=(mean, *board.points),
            y=(100 * row.mean.mean, *(100 * row.at(point).mean for point in board.points)),
            number=number,
            kind="cells",
        )
        for number, (name, row) in enumerate(zip(names, board.rows, strict=True))
    )
    return Chart(
        name="overview",
        title="Accuracy at a glance",
        caption=f"Test accuracy in per cent, means over seeds, in the order of the ranking. The mean over the target "
        f"points, which ranks, stands apart; then {board.example.shift.source}, where the methods were trained, and "
        f"each target. Colours run from {chance:.0f}, which is guessing, to 100.",
        panels=(
            Panel(
                title="",
                x_title="",
                y_title="",
                series=series,
                # The empty one parts what ranks from what it is made of.
                categories=(mean, "", *board.points),
                ticks_y=names,
                range_shades=(chance, 100),
            ),
        ),
    )


def accuracy_chart(board: Board) -> Chart:
    """Bars of accuracy by point, below them the change from the source (Fig. 3)."""
    source = board.example.shift.source
    chance = 100 / len(board.example.dataset.classes)
    upper = _bars(board, lambda row, point: row.at(point))
    lower = _bars(board, _change_at)
    shift = board.example.shift.name
    return Chart(
        name="figure",
        title=f"Accuracy at every point, and its change from {source}",
        caption=f"Bars are means over seeds, error bars their standard deviation. Below: accuracy minus that at "
        f"{source}, in percentage points. Rows with oblique hatching are not ranked; other patterns only tell "
        "rows of one colour apart.",
        panels=(
            Panel(
                title="",
                x_title="",
                y_title="test accuracy (%)",
                series=upper,
                categories=board.points,
                range_y=(0, 100),
                lines_y=((chance, f"guessing ({chance:.0f}%)"),),
                height=3,
            ),
            # A flat board must not be magnified into a mountain range.
            Panel(
                title="",
                x_title=shift,
                y_title=f"change from {source}\n(percentage points)",
                series=lower,
                categories=board.points,
                range_y=(-5, 2),
                grows=True,
                lines_y=((0, ""),),
                height=2,
            ),
        ),
        stacked=True,
    )


def strength_chart(board: Board) -> Chart | None:
    """Accuracy against the strength of the shift; None when some point has no recorded strength.

    Lines join the points that follow each other on one line through the space of the detector's parameters.
    """
    if not _has_strengths(board):
        return None
    numbers = {row.label: number for number, row in enumerate(board.rows)}
    return Chart(
        name="strength",
        title="Accuracy against the strength of the shift",
        caption="One mark for each point, ordered by strength; error bars are standard deviations over seeds. "
        f"Hollow marks are rows that are not ranked.{'' if on_one_line(board.example.points) else _NO_LINE}",
        panels=(_strength_panel(board, "", numbers),),
    )


def sources_chart(boards: Sequence[Board], number: int) -> Chart | None:
    """Accuracy against the strength of the shift, a panel for each source (Figs. 4 and 5).

    Args:
        boards: of one shift, data set, profile and backbone, trained at different sources, in the order of the panels.
        number: tells its files from those of other such charts.

    Returns:
        None when some point has no recorded strength.
    """
    if not all(map(_has_strengths, boards)):
        return None
    labels = dict.fromkeys(row.label for board in boards for row in board.rows)
    accuracies = [100 * row.at(point).mean for board in boards for row in board.rows for point in board.points]
    # One scale for all panels, or they could not be compared.
    limits = max(min(accuracies) - 4, 0.0), min(max(accuracies) + 4, 100.0)
    numbers = {label: place for place, label in enumerate(labels)}
    shared = boards[0].example
    return Chart(
        name=f"sources-{number}",
        title=f"Accuracy against the strength of {shared.shift.name} by source: {shared.profile.name}, "
        f"backbone {boards[0].backbone}",
        caption="One panel for each point that methods were trained at, one mark for each point that they were read "
        f"at; error bars are standard deviations over seeds.{'' if on_one_line(shared.points) else _NO_LINE}",
        panels=tuple(
            _strength_panel(board, f"trained at {board.example.shift.source}", numbers, limits) for board in boards
        ),
    )


def difference_chart(board: Board) -> Chart | None:
    """Mean accuracies with intervals, and bars that join the rows that are not clearly different.

    A critical-difference diagram whose axis is the accuracy itself, and whose bars join rows by the paired interval of
    their difference, not by one critical distance for all.
    """
    rows = [row for row in board.rows if row.rank]
    if not rows:
        return None
    names = tuple(printable(row.label) for row in rows)
    intervals = [row.interval for row in rows]
    marks = tuple(
        Series(
            name=name,
            x=(100 * row.mean.mean,),
            y=(float(place),),
            number=place,
            kind="marks",
            errors_x=(_lengths(interval),),
            notes=(f"rank {row.rank}, {100 * interval.low:.1f} to {100 * interval.high:.1f}",),
        )
        for place, (name, row, interval) in enumerate(zip(names, rows, intervals, strict=True))
    )
    right, left = (100 * f(i.high if f is max else i.low for i in intervals) for f in (max, min))
    step = max(right - left, 1.0) * 0.03
    joins = tuple(
        Series(
            name=f"joined {lane}",
            x=(right + (lane + 1) * step,) * 2,
            y=(first - 0.15, last + 0.15),
            number=0,
            kind="joins",
        )
        for lane, (first, last) in enumerate(joined_rows(board, rows))
    )
    return Chart(
        name="differences",
        title="Critical differences",
        caption="Mean accuracy over the target points with its 95% interval. A bar at the right joins rows that are "
        "not clearly different: the 95% interval of each difference holds zero. Only rows next to each other can be "
        "joined: no bar does not mean a clear difference. Rows that are not ranked are left out.",
        panels=(Panel("", "mean accuracy (%)", "", (*marks, *joins), ticks_y=names),),
    )


def joined_rows(board: Board, rows: Sequence[Row]) -> list[tuple[int, int]]:
    """The longest runs of rows, first and last, of which no two are clearly different; runs of one are left out."""
    runs: list[tuple[int, int]] = []
    for first in range(len(rows)):
        last = first
        while last + 1 < len(rows) and all(
            _holds_zero(board.difference(rows[one], rows[last + 1])) for one in range(first, last + 1)
        ):
            last += 1
        if last > first and not (runs and last <= runs[-1][1]):
            runs.append((first, last))
    return runs


def calibration_chart(board: Board) -> Chart:
    """Calibration error and negative log-likelihood against accuracy, one mark for each point."""
    found = (
        ("expected calibration error (%)", 100.0, lambda scores: scores.calibration_error),
        ("negative log-likelihood (nats)", 1.0, lambda scores: scores.nll),
    )
    panels = tuple(
        Panel(
            title="",
            x_title="test accuracy (%)",
            y_title=title,
            series=tuple(_marks_at_points(row, number, scale, read) for number, row in enumerate(board.rows)),
            range_y=(0, 0.01),
            grows=True,
        )
        for title, scale, read in found
    )
    return Chart(
        name="calibration",
        title="Calibration",
        caption="One mark for each point, means over seeds, by the read-out that ranks the row. Lower is better: a "
        "calibrated row stays at the bottom when its accuracy falls.",
        panels=panels,
    )


def cost_chart(board: Board) -> Chart | None:
    """Mean accuracy over the targets against what a run took; None when no cost tells the rows apart.

    A cost that no row has, or that all of them share, is left out.
    """
    panels = []
    for name, title, text in _COSTS:
        costs = [median_cost(row, name) for row in board.rows]
        known = [cost for cost in costs if cost]
        if not known or max(known) <= (1 + _LIKE_COSTS) * min(known):
            continue
        series = tuple(
            Series(
                name=printable(row.label),
                x=(cost,),
                y=(100 * row.mean.mean,),
                number=number,
                kind="marks",
                apart=row.rank is None,
                errors_y=(_lengths(row.interval),),
                notes=(text(cost),),
            )
            for number, (row, cost) in enumerate(zip(board.rows, costs, strict=True))
            if cost
        )
        panels.append(Panel("", title, "mean accuracy over the targets (%)", series, log_x=True))
    if not panels:
        return None
    return Chart(
        name="cost",
        title="Accuracy against cost",
        caption="Mean accuracies and median costs over seeds; error bars are 95% intervals of the accuracy. The axes "
        "of cost are logarithmic: a row that has none of a cost, such as parameters, is not in that panel. A cost that "
        "all rows share is left out. Wall times may have been taken beside other programs; processor times suffer less "
        "from that.",
        panels=tuple(panels),
    )


def _has_strengths(board: Board) -> bool:
    return all(point.strength is not None for point in board.example.points)


def _strength_panel(
    board: Board, title: str, numbers: Mapping[str, int], limits: tuple[float, float] | None = None
) -> Panel:
    return Panel(
        title=title,
        x_title=textwrap.fill(f"strength: {printable(board.example.shift.strength_unit or '')}", _TITLE_WIDTH),
        y_title="test accuracy (%)",
        series=tuple(_over_strength(board, row, numbers[row.label]) for row in board.rows),
        range_y=limits,
    )


def _bars(board: Board, value: Callable[[Row, str], Spread]) -> tuple[Series, ...]:
    return tuple(
        _series_of_spreads(row, number, "bars", board.points, [value(row, point) for point in board.points])
        for number, row in enumerate(board.rows)
    )


def _over_strength(board: Board, row: Row, number: int) -> Series:
    points = sorted(board.example.points, key=lambda point: (point.strength or 0.0, point.point))
    return _series_of_spreads(
        row,
        number,
        "lines" if on_one_line(board.example.points) else "marks",
        tuple(point.strength or 0.0 for point in points),
        [row.at(point.point) for point in points],
        tuple(point.point for point in points),
    )


def _series_of_spreads(
    row: Row,
    number: int,
    kind: Kind,
    x: tuple[float, ...] | tuple[str, ...],
    spreads: Sequence[Spread],
    points: tuple[str, ...] = (),
) -> Series:
    deviations = [100 * (one.deviation or 0.0) for one in spreads]
    return Series(
        name=printable(row.label),
        x=x,
        y=tuple(100 * one.mean for one in spreads),
        number=number,
        kind=kind,
        apart=row.rank is None,
        errors_y=tuple((length, length) for length in deviations) if len(row.results) > 1 else (),
        notes=points,
    )


def _marks_at_points(row: Row, number: int, scale: float, read: Callable[[Scores], float]) -> Series:
    def mean(place: int) -> float:
        return scale * statistics.fmean(read(result.scores(result.points[place])) for result in row.results)

    points = [point.point for point in row.first.points]
    return Series(
        name=printable(row.label),
        x=tuple(100 * row.at(point).mean for point in points),
        y=tuple(mean(place) for place in range(len(points))),
        number=number,
        kind="marks",
        apart=row.rank is None,
        notes=tuple(points),
    )


def _change_at(row: Row, point: str) -> Spread:
    pairs = zip(row.accuracies(point), row.accuracies(row.first.shift.source), strict=True)
    return spread([at_point - at_source for at_point, at_source in pairs])


def _lengths(interval: Interval) -> tuple[float, float]:
    return 100 * (interval.estimate - interval.low), 100 * (interval.high - interval.estimate)


def _holds_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high
