"""Leaderboards in the terminal: the table of a board, two methods side by side, and methods over several boards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nubench.foreign_text import printable, printable_lines
from nubench.leaderboard.across import standings
from nubench.leaderboard.boards import Board, Row, boards_of
from nubench.leaderboard.columns import in_per_cent, per_cent, seeds_remark, seeds_text
from nubench.leaderboard.compare import Comparison
from nubench.leaderboard.groups import AcrossGroup
from nubench.results.files import shift_folder
from nubench.results.schema import Result

if TYPE_CHECKING:
    import rich.table
    import rich.text

    from nubench.evaluation.statistics import Interval


def terminal_tables(results: Iterable[Result], every_point: bool = False) -> list[rich.table.Table]:
    """Return one table for each board that the results make up; see :func:`board_table`."""
    return [board_table(board, every_point) for board in boards_of(results)]


def board_table(board: Board, every_point: bool = False) -> rich.table.Table:
    """Return the table of one board.

    Args:
        every_point: also show each target point; needs a wide terminal.
    """
    table = _new_table(board.title, "accuracy in per cent, ± over seeds; ranked by the mean over the target points")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("method", overflow="fold", min_width=12)
    points = board.points if every_point else board.points[:1]
    for name in ("seeds", *points, "targets", "worst", "change"):
        table.add_column(_text(name), justify="right", no_wrap=True)
    ranked = [row for row in board.rows if row.rank]
    for row in board.rows:
        worst, worst_point = row.worst
        cells = [
            _rank_text(row),
            f"{row.label} [{row.first.method.ranked_by}]",
            seeds_text(board, row),
            # Spreads at every point would need a terminal twice as wide.
            *(f"{100 * row.at(point).mean:.1f}" for point in points),
            per_cent(row.mean),
            f"{100 * worst:.1f}" if every_point else f"{100 * worst:.1f} {worst_point}",
            in_per_cent(row.change.mean, signed=True),
        ]
        table.add_row(
            *(_text(cell) for cell in cells),
            style=None if row.rank else "dim",
            end_section=bool(ranked) and row is ranked[-1],
        )
    return table


def comparison_table(comparison: Comparison) -> rich.table.Table:
    """Return the difference of two rows over the targets and at every point, with its 95% interval."""
    board, first, second = comparison.board, comparison.first, comparison.second
    alone = "by their intervals alone: which were right is not known, or known of other events"
    how = "event by event" if comparison.paired else alone
    table = _new_table(
        f"{board.title}\n{printable(f'{first.label} minus {second.label}')}", f"in per cent and points; compared {how}"
    )
    table.add_column("point", no_wrap=True)
    for name in (first.label, second.label, "difference", "95% interval"):
        table.add_column(_text(name), justify="right", overflow="fold")
    table.add_column("clear")
    lines = [("mean over targets", first.mean, second.mean, comparison.over_targets)]
    for point, interval in zip(board.points, comparison.at_points, strict=True):
        lines.append((point, first.at(point), second.at(point), interval))
    for place, (name, one, other, interval) in enumerate(lines):
        estimate, low, high = (
            in_per_cent(value, signed=True) for value in (interval.estimate, interval.low, interval.high)
        )
        cells = [name, per_cent(one), per_cent(other), estimate, f"{low} to {high}", _clear(interval)]
        table.add_row(*map(_text, cells), end_section=place == 0, style="bold" if place == 0 else None)
    return table


def across_table(group: AcrossGroup, methods: Iterable[str] = ()) -> rich.table.Table:
    """Return the standing of methods over the boards of a group.

    Args:
        methods: names of those to be shown; all when there are none.
    """
    wanted = set(methods)
    table = _new_table(
        f"across detectors: {group.title}", "mean rank among the methods on every board; accuracies in per cent"
    )
    table.add_column("method", overflow="fold", min_width=12)
    names = [f"{board.example.dataset.detector} {shift_folder(board.example)}" for board in group.boards]
    for name in ("mean rank", "score", *names):
        table.add_column(_text(name), justify="right")
    for standing in standings(group.boards):
        if wanted and standing.name not in wanted:
            continue
        rank, score = standing.mean_rank, standing.normalised_score
        cells = [standing.method, "" if rank is None else f"{rank:.2f}", "" if score is None else f"{score:.3f}"]
        cells += [
            "" if row is None else per_cent(row.mean) + seeds_remark(board, row)
            for board, row in zip(group.boards, standing.rows, strict=True)
        ]
        table.add_row(*map(_text, cells), style=None if rank is not None else "dim")
    return table


def _new_table(title: str, caption: str) -> rich.table.Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=_text(title), caption=_text(caption), box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)


def _text(foreign: str) -> rich.text.Text:
    """Text, not str: labels hold settings, and rich would read [brackets] in a str as mark-up."""
    from rich.text import Text

    # A submission may hold control characters, which a terminal obeys.
    return Text(printable_lines(foreign))


def _clear(interval: Interval) -> str:
    return "" if interval.low <= 0 <= interval.high else "better" if interval.low > 0 else "worse"


def _rank_text(row: Row) -> str:
    """The rank, and in brackets the places that the row may truly have, where that is more than one."""
    if row.rank is None or row.rank_interval is None:
        return ""
    low, high = row.rank_interval
    return str(row.rank) if low == high else f"{row.rank} ({low}-{high})"
