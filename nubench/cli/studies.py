"""`nubench study`: a whole paper's grid as one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.launching import JobsOption, LauncherOption, LaunchOptions, SlurmOption
from nubench.cli.options import (
    CacheOption,
    DevicesOption,
    LeaderboardsOption,
    PluginOption,
    ProcessesOption,
    devices_of_a_training,
    load_registry,
    make_console,
)

if TYPE_CHECKING:
    from nubench.plugins.registry import PluginRegistry
    from nubench.runs.request import Request
    from nubench.studies.collected import CellResult
    from nubench.studies.study_file import Study

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="file of the study, e.g. studies/smoke.toml")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
EngineOption = Annotated[str, typer.Option("--engine", help="engine of the sparse convolutions")]
FigureOption = Annotated[
    list[str] | None, typer.Option("--figure", help="only this figure; may be given several times", show_default=False)
]

study_app = typer.Typer(no_args_is_help=True, help="Run a whole study and draw its figures.", rich_markup_mode=None)


@study_app.command("run")
def study_run(
    study: StudyArgument,
    figure: FigureOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be run and how long it takes, and do nothing")
    ] = False,
    launcher: LauncherOption = None,
    slurm: SlurmOption = None,
    jobs: JobsOption = 1,
    device: DeviceOption = "auto",
    devices: DevicesOption = None,
    engine: EngineOption = "native",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Run the cells of a study that are not on the leaderboard yet."""
    from nubench.cli.carrying_out import Grid, carry_out
    from nubench.cli.planning import print_outlook

    how, shared_by = LaunchOptions(launcher, slurm or (), jobs), devices_of_a_training(devices)
    registry, folder = load_registry(plugin), cache_folder(cache)
    opened = _open(study, figure, registry, folder)
    left = [cell for cell in _cells(opened, registry, leaderboards, folder, device, engine) if cell.result is None]
    console = make_console()
    if not left:
        console.print(f"Every cell of {opened.name} is there; `nubench study report {study}` draws its figures.")
        return
    grid = Grid.of(
        [(cell.request, (cell.seed,)) for cell in left],
        registry,
        folder,
        leaderboards,
        console,
        processes=processes,
        devices=shared_by,
        launched=launcher is not None,
    )
    if dry_run:
        print_outlook(console, grid.outlook(jobs))
        return
    carry_out(grid, how, plugin)


@study_app.command("status")
def study_status(
    study: StudyArgument,
    figure: FigureOption = None,
    plugin: PluginOption = [],  # noqa: B006
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
) -> None:
    """Show which cells of a study are on the leaderboard, and what became of the others."""
    from rich.table import Table

    from nubench.launching.records import all_launched, now
    from nubench.launching.scheduler import my_jobs
    from nubench.launching.status import status_of

    registry, folder = load_registry(plugin), cache_folder(cache)
    opened = _open(study, figure, registry, folder)
    queue, time = my_jobs(), now()
    states = {}
    for launched in all_launched(folder):
        one = status_of(launched, queue, time)
        if one is not None and one.submission.cell is not None:
            states[one.submission.cell.place] = one.state
    table = Table("method", "shift", "source", *map(str, opened.all_seeds), box=None, pad_edge=False)
    cells = _cells(opened, registry, leaderboards, folder)
    seeds = len(opened.all_seeds)
    for first in range(0, len(cells), seeds):
        request = cells[first].request
        words = [_word(cell, states) for cell in cells[first : first + seeds]]
        table.add_row(request.method, request.shift, request.source, *words)
    console = make_console()
    console.print(table)
    there = sum(cell.result is not None for cell in cells)
    console.print(f"{there} of {len(cells)} cells are on the leaderboard", highlight=False)


@study_app.command("report")
def study_report(
    study: StudyArgument,
    figure: FigureOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of pages and pictures [default: reports/STUDY]")
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
) -> None:
    """Draw the figures of a study from what is on the leaderboard, and say what is missing."""
    from nubench.storage.files import write_atomically
    from nubench.studies.collected import Collection
    from nubench.studies.grid_of_study import requests_of
    from nubench.studies.report import FigureReport, report_files

    registry, folder = load_registry(plugin), cache_folder(cache)
    opened = _open(study, figure, registry, folder)
    collection = Collection(leaderboards, registry, folder)
    reports = [
        FigureReport.of(one, collection.most_cells(requests_of(opened, one, registry), opened.all_seeds))
        for one in opened.figures
    ]
    target = out or Path("reports") / opened.name
    for name, content in report_files(opened, reports).items():
        write_atomically(target / name, content)
    console = make_console()
    for report in reports:
        there = sum(cell.result is not None for cell in report.cells)
        console.print(f"{report.figure.name}: {there} of {len(report.cells)} runs are there", highlight=False)
    console.print(f"Report: {target / 'README.md'}", highlight=False, soft_wrap=True)


@study_app.command("estimate")
def study_estimate(
    study: StudyArgument,
    figure: FigureOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "native",
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="time for which steps are measured")] = 10.0,
    plugin: PluginOption = [],  # noqa: B006
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Measure this machine for a minute, and say what a study needs of it: hours, memory and disk."""
    from nubench.progress import ConsoleProgress
    from nubench.studies.estimate import estimate_study

    registry, folder = load_registry(plugin), cache_folder(cache)
    opened = _open(study, figure, registry, folder)
    console = make_console()
    left = [cell for cell in _cells(opened, registry, leaderboards, folder, device, engine) if cell.result is None]
    found = estimate_study(left, registry, folder, ConsoleProgress(console), seconds=seconds, processes=processes)
    console.print(found.table(), highlight=False)
    console.print(found.summary(), highlight=False, soft_wrap=True)


def _open(path: Path, figures: Sequence[str] | None, registry: PluginRegistry, cache: Path) -> Study:
    from nubench.studies.grid_of_study import check_names
    from nubench.studies.study_file import read_study

    study = read_study(path)
    if figures:
        study = study.with_figures(figures)
    check_names(study, registry, cache)
    return study


def _cells(
    study: Study,
    registry: PluginRegistry,
    leaderboards: Path,
    cache: Path,
    device: str = "auto",
    engine: str = "native",
) -> list[CellResult]:
    from nubench.studies.collected import Collection
    from nubench.studies.grid_of_study import all_requests

    requests: list[Request] = all_requests(study, registry, device, engine)
    return Collection(leaderboards, registry, cache).cells(requests, study.all_seeds)


def _word(cell: CellResult, states: Mapping[tuple[object, ...], str]) -> str:
    if cell.result is not None:
        return "there"
    from nubench.launching.commands import RunCommand

    return states.get(RunCommand.of(cell.request, cell.seed).place, "missing")
