"""`nubench run` and `nubench list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.launching import JobsOption, LauncherOption, LaunchOptions, SlurmOption
from nubench.cli.options import (
    CacheOption,
    DevicesOption,
    LeaderboardsOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    devices_of_a_training,
    load_registry,
    make_console,
    parse_settings,
)
from nubench.errors import UsageError, unknown_name


def run(
    method: Annotated[list[str], typer.Option("--method", help="method to train; may be given several times")],
    shift: Annotated[
        list[str],
        typer.Option("--shift", help="axis along which the detector moves, e.g. throws; may be given several times"),
    ],
    profile: ProfileOption = "smoke",
    dataset: Annotated[str | None, typer.Option(help="data set [default: the one that has the shift]")] = None,
    source: Annotated[
        list[str],
        typer.Option("--source", help="point of the shift to train on, where it offers others"),
    ] = ["nominal"],  # noqa: B006 (typer reads the default, nobody changes it)
    seed: Annotated[int, typer.Option(min=0, help="first seed")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="number of seeds, counting up from --seed")] = 1,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a setting of the method", show_default=False),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="backbone [default: the profile's]")] = None,
    engine: Annotated[str, typer.Option(help="engine of the sparse convolutions")] = "native",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    devices: DevicesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be run and how long it takes, and do nothing")
    ] = False,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="leave out what failed before, instead of trying it again")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run only what failed before")] = False,
    sealed: Annotated[
        bool,
        typer.Option(
            "--sealed/--no-sealed",
            help="train in a process that is given no label of target or test; without, nothing is submitted",
        ),
    ] = True,
    only_data: Annotated[bool, typer.Option("--only-data", help="build the data, and do nothing else")] = False,
    launcher: LauncherOption = None,
    slurm: SlurmOption = None,
    jobs: JobsOption = 1,
    plugin: PluginOption = [],  # noqa: B006
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Build the data, train methods, score them at every point of a shift, and update the leaderboard."""
    from nubench.cli.carrying_out import Grid, carry_out
    from nubench.cli.planning import print_outlook
    from nubench.runs.grid import requests_of, states_to_run
    from nubench.runs.request import Request

    if only_missing and retry_failed:
        raise UsageError("--only-missing and --retry-failed exclude each other; without both, everything is run")
    shared_by = devices_of_a_training(devices)
    for option, names in (("method", method), ("shift", shift), ("source", source)):
        if len(set(names)) < len(names):
            raise UsageError(f"--{option} names a {option} twice: {', '.join(names)}")
    how = LaunchOptions(launcher, slurm or (), jobs)
    asked = Request("", "", profile, dataset, "", parse_settings(setting or []), backbone, engine, device)
    grid = Grid.of(
        [(request, range(seed, seed + seeds)) for request in requests_of(asked, method, shift, source)],
        load_registry(plugin),
        cache_folder(cache),
        leaderboards,
        make_console(),
        states=states_to_run(only_missing=only_missing, retry_failed=retry_failed),
        sealed=sealed,
        processes=processes,
        devices=shared_by,
        launched=launcher is not None,
    )
    if dry_run:
        print_outlook(grid.console, grid.outlook(how.jobs))
    elif only_data:
        grid.build_data()
    else:
        carry_out(grid, how, plugin)


def list_(
    what: Annotated[
        str,
        typer.Argument(help="methods, shifts, detectors, datasets, profiles, backbones, selectors, metrics or columns"),
    ],
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Show what exists."""
    from rich.table import Table

    from nubench.datasets.catalogue import known_cards
    from nubench.listings import LISTINGS

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    registry = load_registry(plugin)
    columns, rows = LISTINGS[what](known_cards(registry, cache_folder(cache)), registry)
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
