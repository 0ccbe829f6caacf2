"""What `nubench run` and `nubench study run` share: a grid opened, run here or launched as jobs, and its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nubench.cli.launching import LaunchOptions, launch, print_unfinished
from nubench.cli.leaderboards import print_boards
from nubench.cli.planning import Outlook
from nubench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.launching.status import Status
    from nubench.plugins.registry import PluginRegistry
    from nubench.results.schema import Result
    from nubench.runs.failures import FailureBook, RememberingProgress
    from nubench.runs.grid import Cell, Outcome, Planned, State
    from nubench.runs.request import Request


@dataclass(frozen=True)
class Grid:
    """Cells, what is known of them, and where their results go.

    Attributes:
        planned: the cells.
        states: those of them that are to be run.
        registry: the plugins.
        cache, leaderboards: folders.
        console: that results are printed on.
        progress: what the runners say things to.
        book: where failures are kept.
        sealed: whether trainings are kept apart from labels.
        devices: that share each training.
        processes: of Geant4.
        launched: whether cells become jobs.
    """

    planned: Sequence[Planned]
    states: frozenset[State]
    registry: PluginRegistry
    cache: Path
    leaderboards: Path
    console: Console
    progress: RememberingProgress
    book: FailureBook
    sealed: bool
    devices: int = 1
    processes: int | None = None
    launched: bool = False

    @classmethod
    def of(
        cls,
        asked: Iterable[tuple[Request, Sequence[int]]],
        registry: PluginRegistry,
        cache: Path,
        leaderboards: Path,
        console: Console,
        *,
        states: frozenset[State] | None = None,
        sealed: bool = True,
        processes: int | None = None,
        devices: int = 1,
        launched: bool = False,
    ) -> Grid:
        """Check every name before the first minute is spent, and look up what is finished.

        Args:
            asked: requests with their seeds.
            registry, cache, leaderboards, console, sealed: see above.
            states: which cells are to be run; None for all that are not finished.
            processes: of Geant4.
            devices: that share each training.
            launched: whether cells become jobs; their machines, and not this one, have the devices.

        Raises:
            UsageError: when a name does not exist, a setting cannot be accepted, or there are fewer devices.
        """
        from nubench.progress import ConsoleProgress
        from nubench.runs.failures import FailureBook, RememberingProgress
        from nubench.runs.grid import open_grid, plan, states_to_run

        progress, book = RememberingProgress(ConsoleProgress(console)), FailureBook(cache)
        here = 1 if launched else devices
        cells = [
            cell
            for request, seeds in asked
            for cell in open_grid([request], seeds, registry, cache, progress, processes, sealed=sealed, devices=here)
        ]
        wanted = states_to_run() if states is None else states
        return cls(
            planned=plan(cells, book),
            states=wanted,
            registry=registry,
            cache=cache,
            leaderboards=leaderboards,
            console=console,
            progress=progress,
            book=book,
            sealed=sealed,
            devices=devices,
            processes=processes,
            launched=launched,
        )

    def outlook(self, at_once: int = 1) -> Outlook:
        """What the grid is about to do, how long it takes and what it needs, with some runs beside each other."""
        return Outlook.of(self.planned, self.states, self.cache, at_once=at_once, devices=self.devices)

    def build_data(self) -> None:
        """Build the data of every cell, and nothing else.

        Raises:
            UsageError: when cells are to become jobs: those build their data by themselves.
        """
        from nubench.runs.runner import Runner

        if self.launched:
            raise UsageError(
                "--only-data builds here and --launcher elsewhere; leave out one of them: "
                "a launcher has the data built before the cells"
            )
        for runner in {id(one.cell.runner): one.cell.runner for one in self.planned}.values():
            assert isinstance(runner, Runner)
            runner.prepare()
        self.console.print("All data are there.")


def carry_out(grid: Grid, how: LaunchOptions, plugins: Sequence[Path]) -> None:
    """Run a grid, here or as jobs, submit what is finished and print the boards.

    Raises:
        Exit: with code 1, when a cell has failed or its job did not finish.
        NubenchError: when the disk cannot hold what is about to be written, or nothing can be submitted.
    """
    from nubench.cli.submitting import check_leaderboards
    from nubench.runs.grid import plan

    check_leaderboards(grid.leaderboards)
    outlook = grid.outlook(how.jobs)
    if outlook.to_run:
        grid.console.print(outlook.summary(), highlight=False, soft_wrap=True)
    outlook.check_space(grid.cache)
    unfinished: Sequence[Status] = ()
    jobs: set[str] = set()
    if how.launcher is not None:
        unfinished = _launch(grid, how, plugins, build_data=outlook.data.events > 0)
        jobs = {one.cell.name for one in grid.planned if one.state in grid.states}
        # What jobs have finished is read again; what they did not finish is not run here. Of those in a queue, the
        # failures are old ones.
        here = [one.cell for one in grid.planned if how.launcher == "local" or one.cell.name not in jobs]
        grid = replace(grid, planned=plan(here, grid.book), states=frozenset())
    outcomes = [replace(one, tried=one.tried or one.cell.name in jobs) for one in _run(grid)]
    _print_outcomes(grid, outcomes)
    print_unfinished(unfinished)
    if unfinished or any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)


def _launch(grid: Grid, how: LaunchOptions, plugins: Sequence[Path], *, build_data: bool) -> Sequence[Status]:
    """Returns what became of jobs that ran here and did not finish."""
    from nubench.launching.commands import RunCommand

    commands = [
        RunCommand.of(
            one.cell.request,
            one.cell.seed,
            plugins,
            sealed=grid.sealed,
            devices=grid.devices,
            processes=grid.processes,
        )
        for one in grid.planned
        if one.state in grid.states
    ]
    if not commands:
        return ()
    return launch(commands, how, grid.progress, grid.cache, grid.leaderboards, build_data=build_data)


def _run(grid: Grid) -> list[Outcome]:
    from nubench.cli.submitting import Submitter
    from nubench.results.submissions import run_file
    from nubench.runs.grid import run_grid

    submitter = Submitter(grid.registry, grid.cache, grid.leaderboards)

    def accept(cell: Cell, result: Result) -> None:
        # What was trained beside the labels stays in the cache, until it is submitted by name.
        if result.sealed:
            submitter.submit(run_file(grid.cache, cell.runner.key(cell.seed)))

    outcomes = []
    for outcome in run_grid(grid.planned, grid.book, grid.progress, states=grid.states, accept=accept):
        outcomes.append(outcome)
        if outcome.failure and outcome.tried and len(grid.planned) > 1:
            typer.echo(f"nubench: {outcome.cell.title} failed: {outcome.failure.reason}", err=True)
    submitter.write_boards()
    return outcomes


def _print_outcomes(grid: Grid, outcomes: Sequence[Outcome]) -> None:
    """The boards of what was submitted, a table of what was not, and the cells without a result."""
    from nubench.leaderboard.terminal import terminal_tables

    done = [(outcome.cell, outcome.result) for outcome in outcomes if outcome.result]
    print_boards(grid.console, grid.leaderboards, [result for _, result in done if result.sealed])
    if unsealed := [(cell, result) for cell, result in done if not result.sealed]:
        for table in terminal_tables([result for _, result in unsealed]):
            grid.console.print(table)
        grid.console.print(
            "Run with --no-sealed, so not on the leaderboard. To put it there, marked as such:", highlight=False
        )
        for cell, _ in unsealed:
            key = cell.runner.key(cell.seed)
            grid.console.print(f"  nubench submit {key} --unsealed", highlight=False, soft_wrap=True)
    failed = [(outcome, outcome.failure) for outcome in outcomes if outcome.failure]
    if failed:
        typer.echo(
            f"\nnubench: {len(failed)} of {len(outcomes)} cells failed; --retry-failed tries them again", err=True
        )
    for outcome, failure in failed:
        how = "failed" if outcome.tried else "failed before and was left out"
        typer.echo(f"nubench: {outcome.cell.title} {how}: {failure.reason}", err=True)
