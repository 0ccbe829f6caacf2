"""`nubench submit`, `nubench verify` and `nubench schema`: results on their way to the leaderboards, and back."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.leaderboards import print_boards
from nubench.cli.options import (
    CacheOption,
    LeaderboardsOption,
    PluginOption,
    load_registry,
    make_console,
)
from nubench.errors import NubenchError, UsageError

if TYPE_CHECKING:
    from nubench.plugins.registry import PluginRegistry
    from nubench.results.schema import Result

_STYLES = {"ok": "green", "different": "bold red", "invalid": "bold red", "not at hand": "yellow"}


class Submitter:
    """Submits runs one after another, and writes the boards once at the end.

    Args:
        registry: the plugins.
        cache: the folder of runs and data sets.
        leaderboards: where submissions and boards go.
        unsealed: whether runs are accepted whose plugin was not kept apart from the labels.
    """

    def __init__(self, registry: PluginRegistry, cache: Path, leaderboards: Path, *, unsealed: bool = False) -> None:
        from nubench.evaluation.recomputation import TruthSource

        self._truth = TruthSource(registry, cache)
        self._metrics = [registered.thing for registered in registry.metrics()]
        self._columns = [registered.thing for registered in registry.columns()]
        self._leaderboards, self._unsealed = leaderboards, unsealed
        self._written: list[Path] = []

    def submit(self, run: Path) -> Path:
        """Check a run and put it among the submissions; see :func:`nubench.results.submissions.submit`."""
        from nubench.results.submissions import submit

        path = submit(run, self._leaderboards, self._truth, self._metrics, unsealed=self._unsealed)
        self._written.append(path)
        return path

    def write_boards(self) -> None:
        """Write tables and figures anew, if anything was submitted."""
        from nubench.leaderboard.generate import generate_leaderboards

        if self._written:
            generate_leaderboards(self._leaderboards, self._columns, partial(typer.echo, err=True))

    @property
    def results(self) -> list[Result]:
        """What was submitted."""
        from nubench.results.files import read_result

        return [read_result(path) for path in dict.fromkeys(self._written)]


def check_leaderboards(leaderboards: Path) -> None:
    """Find out before hours of work whether results can be written, and whether those that are there can be read.

    Raises:
        UsageError: when the folder cannot be written to.
        DataError: when a submission is no valid result.
    """
    from nubench.results.files import SUBMISSIONS, load_results
    from nubench.storage.files import make_folder

    make_folder(leaderboards / SUBMISSIONS)
    if not os.access(leaderboards / SUBMISSIONS, os.W_OK):
        raise UsageError(f"--leaderboards {str(leaderboards)!r} cannot be written to; choose another folder")
    load_results(leaderboards / SUBMISSIONS)


def submit(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="name of a finished run, or path of its result file", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="every finished run in the cache")] = False,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="accept runs made with --no-sealed; the boards mark them")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
) -> None:
    """Compute finished runs again from their predictions, and put them on the leaderboards when nothing differs."""
    from nubench.results.submissions import find_run, runs_to_submit

    if every == bool(runs):
        raise UsageError("name the runs to submit, or give --all for every finished run in the cache")
    folder = cache_folder(cache)
    wanted = runs_to_submit(folder, unsealed=unsealed) if every else [find_run(folder, run) for run in runs or []]
    if not wanted:
        raise UsageError(f"--all: no run in {folder} can be submitted")
    check_leaderboards(leaderboards)
    console = make_console()
    submitter = Submitter(load_registry(plugin), folder, leaderboards, unsealed=unsealed)
    refused = 0
    try:
        for run in wanted:
            try:
                said = f"checked, written to {submitter.submit(run)}"
            except NubenchError as error:
                if not every:
                    raise
                # A cache may hold runs on data that are gone; they must not keep the others back.
                refused += 1
                said = f"refused: {error}"
            console.print(f"{run.stem}: {said}", highlight=False, markup=False, soft_wrap=True)
    finally:
        # Those before one that is refused stay.
        submitter.write_boards()
    print_boards(console, leaderboards, submitter.results)
    if refused:
        raise NubenchError(f"{refused} of {len(wanted)} runs were refused; the lines above say why")


def verify(
    predictions: Annotated[
        list[Path],
        typer.Option("--predictions", help="another folder with files of predictions", show_default=False),
    ] = [],  # noqa: B006
    strict: Annotated[
        bool, typer.Option("--strict", help="fail also where predictions or data are not at hand")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006
    leaderboards: LeaderboardsOption = Path("leaderboards"),
    cache: CacheOption = None,
) -> None:
    """Compute every submission again whose predictions are at hand; fails when anything differs."""
    from rich.table import Table
    from rich.text import Text

    from nubench.evaluation.recomputation import TruthSource
    from nubench.foreign_text import printable
    from nubench.results.submissions import PREDICTIONS
    from nubench.results.submissions import verify as verify_submissions

    for given in predictions:
        if not given.is_dir():
            raise UsageError(f"--predictions {str(given)!r} is not a folder")
    folder, registry = cache_folder(cache), load_registry(plugin)
    metrics = [registered.thing for registered in registry.metrics()]
    truth = TruthSource(registry, folder)
    table = Table("submission", "outcome", "reason", box=None, pad_edge=False)
    counts = dict.fromkeys(_STYLES, 0)
    for verdict in verify_submissions(leaderboards, [folder / PREDICTIONS, *predictions], truth, metrics):
        counts[verdict.state] += 1
        name = verdict.path.relative_to(leaderboards).as_posix()
        # Names of files and texts of results may hold what a terminal obeys.
        where, why = Text(printable(name), overflow="fold"), Text(printable(verdict.reason))
        table.add_row(where, Text(verdict.state, _STYLES[verdict.state]), why)
    console = make_console()
    if table.row_count:
        console.print(table)
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()), highlight=False)
    failing = ("different", "invalid", *(("not at hand",) if strict else ()))
    if any(counts[state] for state in failing):
        raise typer.Exit(1)


def schema() -> None:
    """Print the JSON Schema of result files."""
    from nubench.results.json_schema import schema_text

    typer.echo(schema_text(), nl=False)
