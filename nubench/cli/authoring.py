"""`nubench new`, `nubench check` and `nubench plugins`: for those who write plugins."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, PluginOption, make_console, parse_settings

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.authoring import CheckResult

#: Seconds of an import above which a plugin is called slow: every command pays for it.
_SLOW = 2.0
_STYLES = {"ok": "green", "FAILED": "bold red", "skipped": "yellow"}


def new(
    name: Annotated[str, typer.Argument(help="name of the method: lower case, digits and hyphens")],
    package: Annotated[
        bool, typer.Option("--package", help="write a package with an entry point and a test, not a single file")
    ] = False,
    folder: Annotated[Path, typer.Option("--folder", help="where to write it")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="write over files that exist")] = False,
) -> None:
    """Write a method that runs as it is, to be changed into yours."""
    from nubench.authoring.scaffold import new_method
    from nubench.plugins.discovery import load_plugins

    written = new_method(name, folder, load_plugins(), package=package, force=force)
    console = make_console()
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    console.print(f"\nnubench check {written[0]}", highlight=False, soft_wrap=True)
    console.print(f"nubench run --plugin {written[0]} --method {name} --shift throws", highlight=False, soft_wrap=True)


def check(
    target: Annotated[str, typer.Argument(help="a Python file with methods, or the name of an installed method")],
    method: Annotated[
        str | None, typer.Option("--method", help="which of the methods in the file [default: all]")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a setting of the method", show_default=False),
    ] = None,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
) -> None:
    """Try methods on synthetic events: what they must keep to, and what to change where they do not."""
    from nubench.authoring import check_method, failures_of
    from nubench.authoring.targets import find_methods

    console = make_console()
    settings = parse_settings(setting or [])
    loaded, methods = find_methods(target, method, tuple(plugin))
    _print_results(console, target, [loaded])
    every = [loaded]
    for registered in methods:
        results = check_method(registered.thing, settings)
        _print_results(console, registered.name, results)
        every += results
    counts = Counter(result.verdict for result in every)
    console.print(", ".join(f"{number} {verdict}" for verdict, number in counts.items()), style="bold")
    if failures_of(every):
        raise typer.Exit(1)


def plugins(
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Show the plugins with version, origin and hooks, and those that were skipped and why."""
    from rich.table import Table
    from rich.text import Text

    from nubench.datasets.catalogue import known_cards
    from nubench.plugins.discovery import load_plugins
    from nubench.plugins.loading import ALLOW_LIST_VARIABLE

    console = make_console()
    registry = load_plugins(plugin)
    # Shifts for imported data sets can only be judged when these are known.
    known_cards(registry, cache_folder(cache))
    table = Table("plugin", "from", "version", "brings", "import", box=None, pad_edge=False)
    # A path is to be copied whole.
    table.add_column("origin", overflow="fold")
    for loaded in registry.plugins:
        counts = ", ".join(_count(hook, len(things)) for hook, things in registry.brought_by(loaded).items())
        pace = f"{loaded.seconds:.2f} s{' (slow)' if loaded.seconds > _SLOW else ''}"
        table.add_row(*map(Text, (loaded.name, loaded.distribution, loaded.version, counts, pace, loaded.origin)))
    console.print(table, soft_wrap=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    allowed = os.environ.get(ALLOW_LIST_VARIABLE)
    if allowed is not None:
        say(f"\n{ALLOW_LIST_VARIABLE}={allowed!r} keeps out all others")
    for noun, name, registered in registry.ambiguous():
        names = ", ".join(r.full_name for r in registered)
        say(f"\n{noun} {name!r} is brought by {len(registered)} plugins; say which one: {names}")
    if registry.failures:
        say("\nskipped:", style="bold red")
    for failure in registry.failures:
        say(f"  {failure.name} of {failure.distribution}: {failure.reason}")


def _count(hook: str, number: int) -> str:
    from nubench.plugins.checks import KINDS

    return f"{number} {KINDS[hook].noun}{'' if number == 1 else 's'}"


def _print_results(console: Console, title: str, results: list[CheckResult]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left")
    for result in results:
        # Beside FAILED the bare claim would read as if it held.
        claim = f"should hold: {result.proves}" if result.verdict == "FAILED" else result.proves
        found = Text(f"{claim}\n{result.detail}")
        if result.advice:
            found.append(f"\nchange: {result.advice}", style="bold")
        table.add_row(result.name, Text(result.verdict, style=_STYLES[result.verdict]), found)
    console.print(table)
