"""`nubench data`: build, check and remove data sets in the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from nubench.cli.options import (
    CacheOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    cache_folder,
    dataset_called,
    make_console,
)
from nubench.errors import NubenchError, UsageError

data_app = typer.Typer(
    no_args_is_help=True, help="Build, check and remove data sets in the cache.", rich_markup_mode=None
)


@data_app.command("list")
def data_list(cache: CacheOption = None) -> None:
    """Show the data sets in the cache, built and imported, with their size."""
    from rich.table import Table

    from nubench.dataset_files import IMPORTED_FOLDER

    folder = cache_folder(cache)
    kinds = ("data", IMPORTED_FOLDER)
    found = [path.parent for kind in kinds for path in sorted((folder / kind).glob("*/manifest.json"))]
    if not found:
        make_console().print(
            f"No data set in {folder}; `nubench run`, `nubench data build NAME` or `nubench data import` makes one."
        )
        return
    table = Table("data set", "files", "size", "folder", box=None, pad_edge=False)
    for directory in found:
        files = [path for path in directory.rglob("*.h5") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        table.add_row(directory.name, str(len(files)), f"{size / 1e6:,.1f} MB", str(directory))
    make_console().print(table)


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
    from nubench.shifts import NOMINAL

    dataset = dataset_called(name, profile, plugin, cache, processes)
    shifts = [dataset.card.shift(shift)] if shift else dataset.card.shifts
    for axis in shifts:
        points = axis.all_points(dataset.card.nominal)
        dataset.build(SPLITS, axis.name, points, ConsoleProgress(make_console()), (NOMINAL, *axis.sources))
    make_console().print(str(dataset.directory), highlight=False, soft_wrap=True)


@data_app.command("verify")
def data_verify(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Check every finished file of a data set: checksum, layout, and that no kinematics stand in two splits."""
    dataset = dataset_called(name, profile, plugin, cache, None)
    console = make_console()
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
    typer.echo(dataset_called(name, profile, plugin, cache, None).directory)


@data_app.command("remove")
def data_remove(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Delete a data set from the cache."""
    dataset = dataset_called(name, profile, plugin, cache, None)
    if not dataset.directory.exists():
        raise UsageError(f"data set {name!r} with profile {profile!r} is not built: there is no {dataset.directory}")
    if not yes:
        typer.confirm(f"Delete {dataset.directory}?", abort=True)
    dataset.remove()
