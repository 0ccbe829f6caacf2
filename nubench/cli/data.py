"""`nubench data`: build, check, repair and remove data sets in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import (
    CacheOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    dataset_called,
    make_console,
    shifts_of,
)
from nubench.errors import NubenchError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.datasets.dataset import Dataset

data_app = typer.Typer(
    no_args_is_help=True, help="Build, check, repair and remove data sets in the cache.", rich_markup_mode=None
)


@data_app.command("list")
def data_list(cache: CacheOption = None) -> None:
    """Show the data sets in the cache, built and imported, with their size."""
    from rich.table import Table

    from nubench.datasets.files import IMPORTED_FOLDER

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
    from nubench.datasets.cards import SPLITS
    from nubench.progress import ConsoleProgress
    from nubench.shifts import NOMINAL

    dataset = dataset_called(name, profile, plugin, cache, processes, shift)
    for axis in shifts_of(dataset.card, shift):
        points = axis.all_points(dataset.card.nominal)
        dataset.build(SPLITS, axis.name, points, ConsoleProgress(make_console()), (NOMINAL, *axis.sources))
    make_console().print(str(dataset.directory), highlight=False, soft_wrap=True)


@data_app.command("verify")
def data_verify(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    audit: Annotated[bool, typer.Option("--audit", help="look for leaks of the classes as well")] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Check every finished file of a data set: checksum, layout, and that no kinematics stand in two splits."""
    from nubench.evaluation.audit import repeated_kinematics

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
    if not checked:
        raise UsageError(
            f"data set {name!r} with profile {profile!r} is not built; run `nubench data build {name} --profile "
            f"{profile}`"
        )
    if broken:
        raise NubenchError(
            f"{broken} of {checked} files cannot be trusted; `nubench data repair {name} --profile {profile}` makes "
            "them anew"
        )
    repeated = repeated_kinematics(dataset)
    if repeated:
        raise NubenchError(f"{repeated} events share their true kinematics with an event of another split")
    console.print("no true kinematics stand in two splits", highlight=False)
    if audit:
        _audit(console, dataset)


@data_app.command("repair")
def data_repair(
    name: Annotated[str, typer.Argument(help="data set")],
    profile: ProfileOption = "smoke",
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Check every finished file of a data set, remove those that are broken, and make them anew."""
    from collections import Counter

    from nubench.datasets.repair import repair
    from nubench.progress import ConsoleProgress

    dataset = dataset_called(name, profile, plugin, cache, processes)
    if not dataset.directory.exists():
        raise UsageError(f"data set {name!r} with profile {profile!r} is not built: there is no {dataset.directory}")
    console = make_console()
    counts: Counter[str] = Counter()
    for done in repair(dataset, ConsoleProgress(console)):
        counts[done.outcome] += 1
        because = "" if done.problem is None else f": {done.problem}"
        console.print(f"{done.outcome:<7} {done.file}{because}", highlight=False, soft_wrap=True)
    console.print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no file", highlight=False)
    if counts["changed"]:
        console.print(
            "Changed files hold other events than before: another version or machine had made them. Results that used "
            "those cannot be verified with these.",
            highlight=False,
        )
    if counts["lost"]:
        raise NubenchError(f"{counts['lost']} files of {name!r} cannot be made here; import the data set again")


def _audit(console: Console, dataset: Dataset) -> None:
    """Print what was looked at; a leak ends the command."""
    from rich.table import Table

    from nubench.evaluation.audit import audit

    findings = list(audit(dataset))
    table = Table("looked at", "found", "without a leak", "verdict", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.subject, finding.found, finding.expected, finding.verdict)
    console.print(table)
    if any(finding.verdict == "physics" for finding in findings):
        console.print(
            "physics: better than naming the most frequent class, by a number that the detector measures. It is no "
            "leak, and what a method can reach that looks at nothing else.",
            highlight=False,
        )
    leaks = [finding.subject for finding in findings if finding.verdict == "LEAK"]
    if leaks:
        raise NubenchError(f"data set {dataset.card.name!r} gives classes away: {'; '.join(leaks)}")


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
