"""The columns of a board's tables: Markdown, LaTeX and the site show the same ones, a plugin's among them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nubench.errors import PluginError
from nubench.leaderboard.boards import Board, Row, Spread

Value = str | float | None


@dataclass(frozen=True)
class Column:
    """One column of a table of rows.

    Attributes:
        name: unique on a board; what a program calls it.
        title: what stands above it.
        value: what the row is sorted by: a text, a finite number, or None where there is nothing to say.
        text: what is shown; without it, the value, numbers with four significant digits.

    Example:
        >>> Column("seeds", "Seeds", lambda row: len(row.results)).title
        'Seeds'
    """

    name: str
    title: str
    value: Callable[[Row], Value]
    text: Callable[[Row], str] | None = None


@dataclass(frozen=True)
class Cell:
    """What one column says of one row: ``sort`` for the order, ``text`` to be read."""

    sort: Value
    text: str


def cell(column: Column, row: Row) -> Cell:
    """Ask a column about a row.

    Raises:
        PluginError: when the column fails, or returns something that cannot stand in a table.
    """
    try:
        value = column.value(row)
        text = column.text(row) if column.text else _plain(value)
    except Exception as error:
        raise PluginError(f"column {column.name!r} failed at row {row.label!r}: {error}") from error
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (value is None or isinstance(value, str) or is_number) or not isinstance(text, str):
        raise PluginError(f"column {column.name!r} must give a text, a finite number or None; got {value!r}")
    return Cell(value, text)


def cells(columns: Iterable[Column], row: Row) -> list[Cell]:
    """Ask several columns about a row; see :func:`cell`."""
    return [cell(column, row) for column in columns]


def ranking_columns(board: Board, further: Iterable[Column] = ()) -> tuple[Column, ...]:
    """The columns of a board: the place and what it rests on, the accuracies, and a plugin's own."""
    source = board.example.shift.source
    return (
        Column("rank", "Rank", lambda row: row.rank, lambda row: str(row.rank or "")),
        Column("method", "Method", lambda row: row.label),
        # What ranks stands beside the name: a phone shows no more than that.
        Column("mean", "Mean over targets", lambda row: row.mean.mean, lambda row: per_cent(row.mean)),
        Column("interval", "95% interval", lambda row: row.interval.low, interval_text),
        Column("places", "Places", lambda row: row.rank_interval and row.rank_interval.low, places_text),
        Column("seeds", "Seeds", lambda row: len(row.results), lambda row: seeds_text(board, row)),
        Column("target-access", "Target events", lambda row: row.first.method.target_access),
        Column("worst", "Worst point", lambda row: row.worst[0], _worst_text),
        Column(
            "change",
            f"Change from {source}",
            lambda row: row.change.mean,
            lambda row: per_cent(row.change, signed=True),
        ),
        *(
            [Column("area", "Area", lambda row: row.area and row.area.mean, _area_text)]
            if any(row.area for row in board.rows)
            else []
        ),
        *(_point_column(point) for point in board.points),
        Column("readout", "Read-out", lambda row: row.first.method.ranked_by),
        *further,
    )


def method_columns() -> tuple[Column, ...]:
    """The columns that say what a row is, and what it took: medians over its seeds."""
    return (
        Column("method", "Method", lambda row: row.label),
        Column("title", "What it is", lambda row: row.first.method.title),
        Column("version", "Version", lambda row: row.first.method.version),
        Column("distribution", "From", lambda row: row.first.method.distribution),
        Column("target-access", "Target events in training", lambda row: row.first.method.target_access),
        Column("sealed", "Sealed", sealed_text),
        Column("parameters", "Parameters", lambda row: median_cost(row, "parameters"), _counted("parameters")),
        Column("cpu-time", "Processor time", lambda row: median_cost(row, "cpu_seconds"), _timed("cpu_seconds")),
        Column("wall-time", "Wall time", lambda row: median_cost(row, "wall_seconds"), _timed("wall_seconds")),
    )


def median_cost(row: Row, name: str) -> float | None:
    """The median over the seeds of one number of :class:`~nubench.results.schema.Cost`; None where a seed lacks it.

    Not the mean: one run beside a busy machine would decide it.
    """
    values = [getattr(result.cost, name) for result in row.results]
    return None if None in values else float(statistics.median(values))


def per_cent(value: Spread, signed: bool = False) -> str:
    """Write a fraction and its spread in per cent.

    Example:
        >>> per_cent(Spread(0.8449, 0.003)), per_cent(Spread(-0.0251, None), signed=True)
        ('84.5 ± 0.3', '-2.5')
    """
    mean = in_per_cent(value.mean, signed)
    return mean if value.deviation is None else f"{mean} ± {100 * value.deviation:.1f}"


def in_per_cent(fraction: float, signed: bool = False) -> str:
    """Write a fraction in per cent; zero has no sign.

    Example:
        >>> [in_per_cent(value, signed=True) for value in (0.012, -0.0251, -0.0001)]
        ['+1.2', '-2.5', '0.0']
    """
    rounded = round(100 * fraction, 1)
    if rounded == 0:
        return "0.0"
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def duration(seconds: float) -> str:
    """Write seconds for people.

    Example:
        >>> [duration(value) for value in (0.4, 42, 100, 5000, 200_000)]
        ['0.4 s', '42 s', '1.7 min', '1.4 h', '2.3 d']
    """
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def seeds_text(board: Board, row: Row) -> str:
    """The number of seeds of a row; with what a complete one has, where it has fewer."""
    found = len(row.results)
    return str(found) if found >= board.seeds else f"{found} of {board.seeds}"


def seeds_remark(board: Board, row: Row) -> str:
    """What stands behind the name or the number of an incomplete row; nothing behind that of a complete one."""
    return "" if row.complete else f" ({seeds_text(board, row)} seeds)"


def sealed_text(row: Row) -> str:
    """Whether every training of the row ran apart from the labels."""
    states = {result.sealed for result in row.results}
    return {frozenset({True}): "yes", frozenset({None}): "not recorded"}.get(frozenset(states), "no")


def places_text(row: Row) -> str:
    """The places that a row may truly have."""
    if row.rank_interval is None:
        return ""
    low, high = row.rank_interval
    return str(low) if low == high else f"{low} to {high}"


def _point_column(point: str) -> Column:
    return Column(f"at-{point}", point, lambda row: row.at(point).mean, lambda row: per_cent(row.at(point)))


def interval_text(row: Row) -> str:
    """The 95% interval of the mean over the target points."""
    return f"{100 * row.interval.low:.1f} to {100 * row.interval.high:.1f}"


def _worst_text(row: Row) -> str:
    worst, point = row.worst
    return f"{100 * worst:.1f} at {point}"


def _area_text(row: Row) -> str:
    return "" if row.area is None else per_cent(row.area)


def _counted(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = median_cost(row, name)
        return "" if value is None else f"{value:,.0f}"

    return text


def _timed(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = median_cost(row, name)
        return "" if value is None else duration(value)

    return text


def _plain(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
