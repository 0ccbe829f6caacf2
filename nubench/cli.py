"""The command line: thin commands over the library. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nubench.errors import NubenchError, UsageError, unknown_name

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.datasets import Dataset
    from nubench.plugins import PluginRegistry
    from nubench.result_schema import Result


class _Commands(TyperGroup):
    """Ends a user's mistake and an interrupt with one message and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except NubenchError as error:
            typer.echo(f"nubench: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            typer.echo(f"nubench: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("nubench: interrupted; the same command goes on from here", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="nubench",
    cls=_Commands,
    help="Benchmark of domain adaptation on neutrino detectors: which training survives a detector that is not quite "
    "the simulated one?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    no_args_is_help=True, help="Build, check and remove data sets in the cache.", rich_markup_mode=None
)
app.add_typer(data_app, name="data")

PluginOption = Annotated[
    list[Path], typer.Option("--plugin", help="a Python file to load as a plugin", show_default=False)
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="folder of data and trainings [default: NUBENCH_CACHE or the user's cache folder]"),
]
ProfileOption = Annotated[str, typer.Option(help="budget: smoke, laptop, standard or paper")]
LeaderboardsOption = Annotated[Path, typer.Option("--leaderboards", help="folder of results, tables and figures")]
ProcessesOption = Annotated[
    int | None, typer.Option("--processes", min=1, help="Geant4 processes [default: all cores]")
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nubench {version('nubench')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version and exit")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    method: Annotated[list[str], typer.Option("--method", help="method to train; may be given several times")],
    shift: Annotated[str, typer.Option(help="axis along which the detector moves, e.g. throws")],
    profile: ProfileOption = "smoke",
    dataset: Annotated[str | None, typer.Option(help="data set [default: the one that has the shift]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="first seed")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="number of seeds, counting up from --seed")] = 1,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a setting of the method", show_default=False),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone preset [default: the profile's]")] = None,
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

    console = _console()
    progress = ConsoleProgress(console)
    registry = _registry(plugin)
    settings = _settings(setting or [])
    folder = _cache(cache)
    if len(set(method)) < len(method):
        raise UsageError(f"--method names a method twice: {', '.join(method)}")
    # All names are checked before the first minute is spent.
    runners = [
        Runner(
            Request(name, shift, profile, dataset, settings, backbone, engine, device),
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


@app.command("leaderboard")
def leaderboard(leaderboards: LeaderboardsOption = Path("leaderboards")) -> None:
    """Write tables and figures anew from the result files, and print the tables."""
    from nubench.leaderboard.generate import SUBMISSIONS, generate_leaderboards
    from nubench.results import load_results

    submissions = leaderboards / SUBMISSIONS
    if not submissions.is_dir():
        raise UsageError(f"--leaderboards {str(leaderboards)!r} holds no results; `nubench run` makes some")
    generate_leaderboards(leaderboards)
    _print_boards(_console(), leaderboards, load_results(submissions))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, shifts, detectors, datasets or profiles")],
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
) -> None:
    """Show what exists."""
    from rich.table import Table

    from nubench.listings import LISTINGS

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    columns, rows = LISTINGS[what](_registry(plugin))
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


@data_app.command("list")
def data_list(cache: CacheOption = None) -> None:
    """Show the data sets in the cache, with their size."""
    from rich.table import Table

    folder = _cache(cache) / "data"
    found = sorted(path.parent for path in folder.glob("*/manifest.json"))
    if not found:
        _console().print(f"No data set in {folder}; `nubench run` or `nubench data build NAME` makes one.")
        return
    table = Table("data set", "files", "size", "folder", box=None, pad_edge=False)
    for directory in found:
        files = [path for path in directory.rglob("*.h5") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        table.add_row(directory.name, str(len(files)), f"{size / 1e6:,.1f} MB", str(directory))
    _console().print(table)


@data_app.command("build")
def data_build(
    name: Annotated[str, typer.Argument(help="data set")],
    shift: Annotated[str | None, typer.Option(help="axis whose target points are built too [default: all]")] = None,
    profile: ProfileOption = "smoke",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Build every split of a data set at every point; what is there already is kept."""
    from nubench.cards import SPLITS
    from nubench.progress import ConsoleProgress

    dataset = _dataset(name, profile, plugin, cache, processes)
    shifts = [dataset.card.shift(shift)] if shift else dataset.card.shifts
    for axis in shifts:
        dataset.build(SPLITS, axis.name, axis.all_points(dataset.card.nominal), ConsoleProgress(_console()))
    _console().print(str(dataset.directory), highlight=False, soft_wrap=True)


@data_app.command("verify")
def data_verify(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Check every finished file of a data set: checksum, layout, and that no kinematics stand in two splits."""
    dataset = _dataset(name, profile, plugin, cache, None)
    console = _console()
    broken = checked = 0
    for file, problem in dataset.verify():
        checked += 1
        broken += problem is not None
        console.print(
            f"{'ok    ' if problem is None else 'BROKEN'} {file}{'' if problem is None else f': {problem}'}",
            highlight=False,
            soft_wrap=True,
        )
    build = f"`nubench data build {name} --profile {profile}`"
    if not checked:
        raise UsageError(f"data set {name!r} with profile {profile!r} is not built; run {build}")
    if broken:
        raise NubenchError(f"{broken} of {checked} files cannot be trusted; remove them, and {build} makes them anew")
    repeated = dataset.repeated_kinematics()
    if repeated:
        raise NubenchError(f"{repeated} events share their true kinematics with an event of another split")
    console.print("no true kinematics stand in two splits", highlight=False)


@data_app.command("path")
def data_path(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Print the folder of a data set, whether it is built or not."""
    typer.echo(_dataset(name, profile, plugin, cache, None).directory)


@data_app.command("remove")
def data_remove(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Delete a data set from the cache."""
    dataset = _dataset(name, profile, plugin, cache, None)
    if not dataset.directory.exists():
        raise UsageError(f"data set {name!r} with profile {profile!r} is not built: there is no {dataset.directory}")
    if not yes:
        typer.confirm(f"Delete {dataset.directory}?", abort=True)
    dataset.remove()


def main() -> None:
    """Entry point."""
    app()


def _console() -> Console:
    from rich.console import Console

    # A log file has no width; 80 columns would break tables.
    return Console(width=None if sys.stdout.isatty() else 160)


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
        for table in terminal_tables(members, every_point=console.width >= 120):
            console.print(table)
        folder = leaderboards / board.folder
        console.print(
            f"Table:  {folder / 'README.md'}\nFigure: {folder / 'figure.png'}", highlight=False, soft_wrap=True
        )


def _cache(option: Path | None) -> Path:
    from nubench.storage import make_folder

    named = option or os.environ.get("NUBENCH_CACHE")
    if named:
        folder = Path(named).expanduser().resolve()
    else:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("nubench"))
    make_folder(folder)
    return folder


def _registry(files: list[Path]) -> PluginRegistry:
    from nubench.plugins import load_plugins

    registry = load_plugins(files)
    # Asked once here, so that a hook that raises is reported with the others.
    for ask in (registry.methods, registry.detectors, registry.cards):
        ask()
    for failure in registry.failures:
        typer.echo(f"nubench: plugin {failure.name!r} of {failure.distribution} is skipped: {failure.reason}", err=True)
    return registry


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair!r} is not of the form NAME=VALUE")
        settings[name] = value
    return settings


def _dataset(name: str, profile: str, files: list[Path], cache: Path | None, processes: int | None) -> Dataset:
    from nubench.cards import read_card
    from nubench.datasets import Dataset
    from nubench.profiles import profile_called
    from nubench.simulation.geant4 import find_data

    registry = _registry(files)
    card = read_card(registry.card(name).thing)
    card.sizes_of(profile_called(profile).name)
    folder = _cache(cache)
    return Dataset(card, profile, registry.detector(card.detector).thing, folder, find_data(folder), processes)
