"""`nubench leaderboard` and `nubench compare`: what was submitted, as files, in the browser and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cli.options import LeaderboardsOption, PluginOption, load_registry, make_console
from nubench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.leaderboard.boards import Board
    from nubench.results.schema import Result

# Every point is shown where the terminal is at most so many columns too narrow: the longest names are folded once then.
_MAY_FOLD = 14

DetectorsOption = Annotated[
    str | None,
    typer.Option(
        "--detectors",
        metavar="NAMES",
        help="only boards of these detectors, separated by commas, and how methods stand across them; all: every one",
        show_default=False,
    ),
]


def leaderboard(
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    detectors: DetectorsOption = None,
    show: Annotated[bool, typer.Option("--open", help="show the pages in the browser")] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
) -> None:
    """Write tables, figures and pages anew from the result files, and print the tables."""
    from nubench.leaderboard.generate import SITE, generate_leaderboards

    console = make_console()
    boards = _boards_of(leaderboards)
    chosen = _of_detectors(boards, detectors)
    columns = [registered.thing for registered in load_registry(plugin).columns()]
    generate_leaderboards(leaderboards, columns, partial(typer.echo, err=True))
    print_tables(console, leaderboards, chosen)
    if detectors is not None:
        _print_across(console, chosen)
    page = leaderboards / SITE / "index.html"
    console.print(f"Pages:  {page}", highlight=False, soft_wrap=True)
    if show:
        _open(page)


def compare(
    method: Annotated[list[str], typer.Argument(help="two or more methods")],
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    detectors: DetectorsOption = None,
) -> None:
    """Print the difference of methods, with its 95% interval, on every board that has two of them."""
    from nubench.leaderboard.compare import compare_methods
    from nubench.leaderboard.terminal import comparison_table

    console = make_console()
    found = _boards_of(leaderboards)
    if not found:
        raise _no_results(leaderboards)
    boards = _of_detectors(found, detectors)
    for comparison in compare_methods(boards, method):
        console.print(comparison_table(comparison))
    if detectors is not None:
        _print_across(console, boards, method)


def print_boards(console: Console, leaderboards: Path, results: Sequence[Result]) -> None:
    """Print the boards on which some results stand, with all their rows."""
    from nubench.results.files import canonical, experiment

    wanted = {canonical(experiment(result)) for result in results}
    print_tables(
        console,
        leaderboards,
        [
            board
            for board in _boards_of(leaderboards)
            if any(canonical(experiment(result)) in wanted for row in board.rows for result in row.results)
        ],
    )


def _boards_of(leaderboards: Path) -> tuple[Board, ...]:
    from nubench.leaderboard.boards import boards_of
    from nubench.results.files import SUBMISSIONS, load_results

    submissions = leaderboards / SUBMISSIONS
    if not submissions.is_dir():
        raise _no_results(leaderboards)
    return boards_of(load_results(submissions))


def _no_results(leaderboards: Path) -> UsageError:
    return UsageError(f"--leaderboards {str(leaderboards)!r} holds no results; `nubench run` makes some")


def _of_detectors(boards: Sequence[Board], detectors: str | None) -> list[Board]:
    if detectors in (None, "all"):
        return list(boards)
    known = {board.example.dataset.detector for board in boards}
    wanted = [name.strip() for name in (detectors or "").split(",")]
    for name in wanted:
        if name not in known:
            raise unknown_name("detector", name, {*known, "all"})
    return [board for board in boards if board.example.dataset.detector in wanted]


def print_tables(console: Console, leaderboards: Path, boards: Iterable[Board]) -> None:
    """Print some boards, and where their pages are; a wide terminal shows every point."""
    from nubench.leaderboard.terminal import board_table

    for board in boards:
        table = board_table(board, every_point=True)
        # As wide as it would like to be, whatever the console's width.
        wanted = console.measure(table, options=console.options.update(max_width=10_000))
        fits = console.width >= max(wanted.maximum - _MAY_FOLD, wanted.minimum)
        console.print(table if fits else board_table(board))
        folder = leaderboards / board.folder
        console.print(
            f"Table:  {folder / 'README.md'}\nFigure: {folder / 'overview.png'}", highlight=False, soft_wrap=True
        )


def _print_across(console: Console, boards: Iterable[Board], methods: Iterable[str] = ()) -> None:
    from nubench.leaderboard.groups import groups_across
    from nubench.leaderboard.terminal import across_table

    for group in groups_across(boards):
        console.print(across_table(group, methods))


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        raise UsageError(f"--open found no browser; open {page} yourself")
