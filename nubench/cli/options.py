"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.datasets.cards import Card
    from nubench.datasets.dataset import Dataset
    from nubench.plugins.registry import PluginRegistry
    from nubench.shifts import Shift

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
DevicesOption = Annotated[
    int | None,
    typer.Option(
        "--devices", min=1, help="GPUs, or processes on a CPU, that share each training [default: 1, or torchrun's]"
    ),
]


def devices_of_a_training(asked: int | None) -> int:
    """How many devices share each training: as asked for, or as many as ``torchrun`` has started processes for.

    Of these, the first one goes on: it starts a process a device itself, as only trainings are shared.

    Raises:
        UsageError: when both say something, or ``torchrun`` was asked for several machines.
        Exit: in all processes of ``torchrun`` but the first.
    """
    from nubench.runs.devices import Torchrun

    torchrun = Torchrun.found(os.environ)
    if torchrun is None:
        return asked or 1
    if asked is not None and asked != torchrun.processes:
        raise UsageError(f"--devices {asked}, but torchrun has started {torchrun.processes} processes; leave one out")
    if torchrun.rank > 0:
        raise typer.Exit
    return torchrun.processes


def make_console() -> Console:
    """The console that results are printed on."""
    from rich.console import Console

    # A log file has no width; 80 columns would break tables.
    return Console(width=None if sys.stdout.isatty() else 160)


def load_registry(files: list[Path]) -> PluginRegistry:
    """Find the plugins; those that fail are named on stderr and skipped."""
    from nubench.plugins.discovery import load_plugins

    registry = load_plugins(files)
    for failure in registry.failures:
        typer.echo(f"nubench: plugin {failure.name!r} of {failure.distribution} is skipped: {failure.reason}", err=True)
    return registry


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """Read the values of ``--set NAME=VALUE``.

    Raises:
        UsageError: when one is not of this form.
    """
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair!r} is not of the form NAME=VALUE")
        settings[name] = value
    return settings


def dataset_called(
    name: str, profile: str, files: list[Path], cache: Path | None, processes: int | None, shift: str | None = None
) -> Dataset:
    """Open a data set of a plugin or an imported one; of a shift ``distribution:name``, its card has that one."""
    from nubench.datasets.catalogue import card_called, find_card, open_dataset

    registry, folder = load_registry(files), cache_folder(cache)
    card = find_card(registry, folder, name, shift) if shift else card_called(registry, folder, name)
    return open_dataset(registry, folder, card, profile, processes)


def shifts_of(card: Card, shift: str | None) -> Sequence[Shift]:
    """The shift called ``name`` or ``distribution:name`` of a card, or all of them.

    Raises:
        UsageError: when the card has none of this name.
    """
    return [card.shift(shift.rpartition(":")[2])] if shift else card.shifts
