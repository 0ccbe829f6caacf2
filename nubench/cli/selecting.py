"""`nubench select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, PluginOption, ProcessesOption, load_registry, make_console
from nubench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from nubench.evaluation.selection import Selection
    from nubench.evaluation.selectors import Selector
    from nubench.plugins.registry import PluginRegistry
    from nubench.progress import Progress
    from nubench.runs.runner import Runner


def select(
    run: Annotated[str, typer.Argument(help="key of a run in the cache, such as supcon-seed0-0123456789abcdef")],
    target: Annotated[str | None, typer.Option(help="point of the shift that a snapshot is chosen for")] = None,
    selector: Annotated[
        list[str] | None,
        typer.Option(help="how to choose; may be given several times [default: all that fit]", show_default=False),
    ] = None,
    snapshots: Annotated[int, typer.Option(min=2, help="snapshots that the training keeps")] = 10,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Say which snapshot of a training each selector would choose without labels of the target."""
    from nubench.evaluation.selection import select_snapshots
    from nubench.progress import ConsoleProgress

    console = make_console()
    progress = ConsoleProgress(console)
    registry = load_registry(plugin)
    runner, seed = _runner(run, registry, cache_folder(cache), progress, processes)
    points = {point.name: point for point in runner.points}
    if target is not None and target not in points:
        raise unknown_name("target", target, points)
    asked = _selectors(registry, selector, with_target=target is not None)
    found = select_snapshots(runner, seed, asked, snapshots, progress, points[target] if target else None)
    _print(console, found)


def _runner(
    run: str, registry: PluginRegistry, cache: Path, progress: Progress, processes: int | None
) -> tuple[Runner, int]:
    """The runner that made a result in the cache, and the seed."""
    from nubench.results.files import read_result
    from nubench.results.submissions import find_run
    from nubench.runs.request import Request
    from nubench.runs.runner import Runner

    result = read_result(find_run(cache, run))
    request = Request(
        method=f"{result.method.distribution}:{result.method.name}",
        shift=result.shift.name,
        profile=result.profile.name,
        dataset=result.dataset.name,
        source=result.shift.source,
        settings=result.method.config,
        backbone=result.backbone.preset if result.backbone else None,
        engine=result.engine or "native",
        device=result.environment.device,
    )
    runner = Runner(request, registry, cache, progress, processes, sealed=bool(result.sealed))
    runner.prepare()
    if runner.key(result.seed) != run:
        progress.say(f"data or code are no longer those of {run}: the training is made anew")
    return runner, result.seed


def _selectors(registry: PluginRegistry, names: Sequence[str] | None, *, with_target: bool) -> list[Selector]:
    """The selectors asked for, or all that fit; with a target also the oracles, last: what the choices are worth."""
    every = [registered.thing for registered in registry.selectors()]
    if names:
        asked = [registry.selector(name).thing for name in names]
        if needing := [selector.name for selector in asked if selector.needs_target and not with_target]:
            raise UsageError(f"selector {needing[0]!r} needs --target")
    else:
        asked = [selector for selector in every if with_target or not selector.needs_target]
    oracles = [selector for selector in every if selector.oracle and with_target]
    return [selector for selector in asked if not selector.oracle] + oracles


def _print(console: Console, found: Selection) -> None:
    """One line a snapshot, then apart what each selector chooses and what the oracle says of that."""
    from rich.table import Table

    own = [selector.name for selector in found.selectors if not selector.oracle]
    oracles = [selector.name for selector in found.selectors if selector.oracle]
    scores = Table("views", *own, box=None, pad_edge=False)
    for snapshot in found.snapshots:
        marks = ["*" if snapshot is found.chosen(name) else "" for name in own]
        cells = [f"{snapshot.scores[name]:.4f}{mark}" for name, mark in zip(own, marks, strict=True)]
        scores.add_row(f"{snapshot.views:,}", *cells)
    console.print("Scores, higher is better; * marks the choice:", highlight=False)
    console.print(scores)
    if not oracles:
        return
    worth = Table("chosen by", "views", *oracles, box=None, pad_edge=False)
    last = found.snapshots[-1]
    choices = [(name, found.chosen(name)) for name in own] + [("(the last)", last)]
    choices += [(f"{name} itself", found.chosen(name)) for name in oracles]
    for name, snapshot in choices:
        worth.add_row(name, f"{snapshot.views:,}", *(f"{100 * snapshot.scores[oracle]:.1f}%" for oracle in oracles))
    console.print("\nWhat that is worth, from labels that no selector sees:", highlight=False)
    console.print(worth)
