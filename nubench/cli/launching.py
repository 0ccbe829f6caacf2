"""`nubench status`, and the options of the commands that launch cells as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, make_console
from nubench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.launching.commands import RunCommand
    from nubench.launching.records import JobRecord
    from nubench.launching.status import Status
    from nubench.progress import Progress

LauncherOption = Annotated[
    str | None,
    typer.Option("--launcher", help="run each cell as a job: slurm, or local for processes on this machine"),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE", help="an option of sbatch, e.g. partition=gpu", show_default=False),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="cells at once with --launcher local")]

_STYLES = {"finished": "green", "failed": "bold red", "lost": "bold red", "cancelled": "yellow", "pre-empted": "yellow"}


@dataclass(frozen=True)
class LaunchOptions:
    """How cells are launched.

    Attributes:
        launcher: its name; None to run them one after another in this process.
        slurm: values of ``--slurm``.
        jobs: cells at once on this machine.

    Raises:
        UsageError: when they contradict each other or cannot be accepted.
    """

    launcher: str | None
    slurm: Sequence[str]
    jobs: int

    def __post_init__(self) -> None:
        from nubench.launching.scheduler import known_launcher, parse_slurm

        if self.launcher is not None:
            known_launcher(self.launcher)
        if self.slurm and self.launcher != "slurm":
            raise UsageError("--slurm is for --launcher slurm")
        if self.jobs > 1 and self.launcher != "local":
            raise UsageError("--jobs is for --launcher local; on a cluster --slurm array_parallelism=N limits them")
        parse_slurm(self.slurm)


def launch(
    cells: Sequence[RunCommand],
    options: LaunchOptions,
    progress: Progress,
    cache: Path,
    leaderboards: Path,
    *,
    build_data: bool,
) -> Sequence[Status]:
    """Submit cells to SLURM, or run them on this machine beside each other and wait.

    Args:
        cells: what is to be run.
        options: how; with a launcher.
        progress: says what happens.
        cache, leaderboards: their folders.
        build_data: whether some of their data may not be there.

    Returns:
        What became of those that ran here and did not finish.

    Raises:
        UsageError: when SLURM is not there or refuses them.
        NubenchError: when their data could not be built.
    """
    from nubench.launching.launch import Launcher
    from nubench.launching.local import visible_devices
    from nubench.launching.scheduler import parse_slurm

    launcher = Launcher(cache, leaderboards.absolute(), Path.cwd(), progress)
    if options.launcher == "slurm":
        _require_submitit()
        of_cells, of_data = parse_slurm(options.slurm)
        submitted = launcher.on_slurm(cells, of_cells, of_data if build_data else None)
        progress.say(f"{len(submitted)} cells submitted; `nubench status` shows where they stand")
        return ()
    ended = launcher.here(cells, options.jobs, visible_devices(cells), build_data=build_data)
    return [one for one in ended if one.state != "finished"]


def status(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="show only this state; may be given several times")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="name the file with each job's output")] = False,
    cache: CacheOption = None,
) -> None:
    """Show where the cells stand that were launched as jobs."""
    from nubench.launching.records import all_launched, now
    from nubench.launching.scheduler import my_jobs
    from nubench.launching.status import STATES, counts, status_of

    for name in state or ():
        if name not in STATES:
            raise unknown_name("state", name, STATES)
    console, folder = make_console(), cache_folder(cache)
    # First the queue, then the records: what ended between the two has said so.
    queue, time = my_jobs(), now()
    found = [one for launched in all_launched(folder) if (one := status_of(launched, queue, time)) is not None]
    if not found:
        console.print(f"Nothing was launched from {folder}; `nubench run --launcher` does that.", soft_wrap=True)
        return
    shown = [one for one in found if not state or one.state in state]
    print_statuses(console, shown, log=log)
    console.print(", ".join(f"{count} {name}" for name, count in counts(found).items()), highlight=False)


def print_statuses(console: Console, statuses: Sequence[Status], *, log: bool = False) -> None:
    """Print one row for each piece of launched work."""
    from rich.table import Table
    from rich.text import Text

    columns = ("method", "shift", "source", "seed", "profile", "state", "job", "starts", "last seen (UTC)", "last line")
    table = Table(*columns, box=None, pad_edge=False)
    for one in statuses:
        cell, job = one.submission.cell, one.job
        what = (one.submission.name, "", "", "", "")
        if cell is not None:
            what = (cell.method, cell.shift, cell.source, str(cell.seed), cell.profile)
        seen = (one.submission.submitted if job is None else job.seen).strftime("%m-%d %H:%M:%S")
        starts, note = (str(job.starts), job.note) if job else ("0", "")
        state = Text(one.state, style=_STYLES.get(one.state, ""))
        after = (one.submission.job or "", starts, seen, note)
        table.add_row(*map(Text, what), state, *map(Text, after))
    console.print(table)
    for one in statuses if log else ():
        console.print(f"{one.submission.name}: {one.submission.log}", highlight=False, markup=False, soft_wrap=True)


def print_unfinished(statuses: Sequence[Status]) -> None:
    """Say of each job that did not finish how it ended, what it said last, and where the rest of its output is."""
    for one in statuses:
        words = one.state if one.job is None else _ending(one.job)
        typer.echo(f"nubench: {one.submission.name} {words}; its output: {one.submission.log}", err=True)


def _ending(job: JobRecord) -> str:
    code = job.exit_code
    how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
    return f"{job.state}{how}: {job.note}" if job.note else f"{job.state}{how}"


def _require_submitit() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UsageError("--launcher slurm needs submitit: pip install 'nubench[cluster]'") from error
