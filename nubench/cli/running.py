"""`nubench run`, `nubench leaderboard` and `nubench list`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cli.options import (
    CacheOption,
    LeaderboardsOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    cache_folder,
    load_registry,
    make_console,
    parse_settings,
)
from nubench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.result_schema import Result

# Columns of a table in the terminal: of all that stands beside the points, and of one point.
_WIDTH_WITHOUT_POINTS = 60
_WIDTH_OF_POINT = 10


def run(
    method: Annotated[list[str], typer.Option("--method", help="method to train; may be given several times")],
    shift: Annotated[str, typer.Option(help="axis along which the detector moves, e.g. throws")],
    profile: ProfileOption = "smoke",
    dataset: Annotated[str | None, typer.Option(help="data set [default: the one that has the shift]")] = None,
    source: Annotated[str, typer.Option(help="point of the shift to train on, where it offers others")] = "nominal",
    seed: Annotated[int, typer.Option(min=0, help="first seed")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="number of seeds, counting up from --seed")] = 1,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a setting of the method", show_default=False),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone [default: the profile's]")] = None,
    engine: Annotated[str, typer.Option(help="engine of the sparse convolutions")] = "native",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Build the data, train methods, score them at every point of a shift, and update the leaderboard."""
    from nubench.leaderboard.generate import SUBMISSIONS, generate_leaderboards
    from nubench.progress import ConsoleProgress
    from nubench.results import load_results, submission_path, write_result
    from nubench.running import Request, Runner
    from nubench.storage import make_folder

    console = make_console()
    progress = ConsoleProgress(console)
    registry = load_registry(plugin)
    settings = parse_settings(setting or [])
    folder = cache_folder(cache)
    if len(set(method)) < len(method):
        raise UsageError(f"--method names a method twice: {', '.join(method)}")
    # All names are checked before the first minute is spent.
    runners = [
        Runner(
            Request(name, shift, profile, dataset, source, settings, backbone, engine, device),
            registry,
            folder,
            progress,
            processes,
        )
        for name in method
    ]
    make_folder(leaderboards / SUBMISSIONS)
    if not os.access(leaderboards / SUBMISSIONS, os.W_OK):
        raise UsageError(f"--leaderboards {str(leaderboards)!r} cannot be written to; choose another folder")
    load_results(leaderboards / SUBMISSIONS)
    results = []
    for runner in runners:
        for number in range(seed, seed + seeds):
            result = runner.run(number)
            write_result(result, submission_path(leaderboards, result))
            results.append(result)
        runner.release()
    generate_leaderboards(leaderboards)
    _print_boards(console, leaderboards, results)


def leaderboard(leaderboards: LeaderboardsOption = Path("leaderboards")) -> None:
    """Write tables and figures anew from the result files, and print the tables."""
    from nubench.leaderboard.generate import SUBMISSIONS, generate_leaderboards
    from nubench.results import load_results

    submissions = leaderboards / SUBMISSIONS
    if not submissions.is_dir():
        raise UsageError(f"--leaderboards {str(leaderboards)!r} holds no results; `nubench run` makes some")
    generate_leaderboards(leaderboards)
    _print_boards(make_console(), leaderboards, load_results(submissions))


def list_(
    what: Annotated[str, typer.Argument(help="methods, shifts, detectors, datasets, profiles or backbones")],
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Show what exists."""
    from rich.table import Table

    from nubench.catalogue import known_cards
    from nubench.listings import LISTINGS

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    registry = load_registry(plugin)
    columns, rows = LISTINGS[what](known_cards(registry, cache_folder(cache)), registry)
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)


def _print_boards(console: Console, leaderboards: Path, results: list[Result]) -> None:
    """Print the boards on which some results stand, with all their rows."""
    from nubench.leaderboard.boards import boards_of
    from nubench.leaderboard.generate import SUBMISSIONS
    from nubench.leaderboard.table import terminal_tables
    from nubench.results import canonical, experiment, load_results

    every = load_results(leaderboards / SUBMISSIONS)
    wanted = {canonical(experiment(result)) for result in results}
    for board in boards_of(every):
        members = [result for row in board.rows for result in row.results]
        if wanted.isdisjoint(canonical(experiment(result)) for result in members):
            continue
        fits = console.width >= _WIDTH_WITHOUT_POINTS + _WIDTH_OF_POINT * len(board.points)
        for table in terminal_tables(members, every_point=fits):
            console.print(table)
        folder = leaderboards / board.folder
        console.print(
            f"Table:  {folder / 'README.md'}\nFigure: {folder / 'figure.png'}", highlight=False, soft_wrap=True
        )
