"""What SLURM says of jobs, where there is one, and what ``--slurm key=value`` means to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nubench.errors import UsageError, unknown_name
from nubench.launching.watched import SECONDS_TO_STOP

#: Options of the job that builds data are given as ``--slurm data.NAME=VALUE``.
DATA_PREFIX: Final = "data."
#: Minutes that a job is asked for when nobody says so. A cell that needs more is started again where it was.
DEFAULT_MINUTES: Final = 240
_SECONDS_TO_ANSWER: Final = 30
# Given by us, and not to be taken from us.
_RESERVED: Final = ("array", "output", "error", "open_mode", "signal", "dependency", "requeue", "wrap")
# Each task would run the cell, all of them in one folder.
_OF_SEVERAL_TASKS: Final = ("nodes", "ntasks", "tasks_per_node")


@dataclass(frozen=True)
class SlurmOptions:
    """What a job is asked for.

    Attributes:
        minutes: of its time.
        parallel: cells that run at once, at most.
        setup: lines of shell before the command.
        others: options of ``sbatch`` by their long names.
    """

    minutes: int = DEFAULT_MINUTES
    parallel: int = 256
    setup: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """As submitit calls them."""
        return {
            "time": self.minutes,
            "array_parallelism": self.parallel,
            "setup": list(self.setup) or None,
            "signal_delay_s": SECONDS_TO_STOP,
            "stderr_to_stdout": True,
            "wckey": None,
            # SLURM then starts a job again that it took the machine from, or whose node failed.
            "additional_parameters": {"requeue": True, **{k.replace("_", "-"): v for k, v in self.others.items()}},
        }


def parse_slurm(pairs: Iterable[str]) -> tuple[SlurmOptions, SlurmOptions]:
    """Read the values of ``--slurm key=value``: for the cells, and for the jobs that build their data.

    The latter inherit what is not given with the prefix ``data.``, but no graphics processors.

    Raises:
        UsageError: when one is not of this form, or cannot be given.
    """
    of_cells: dict[str, list[str]] = {}
    of_data: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name = key.removeprefix(DATA_PREFIX).replace("-", "_")
        if not equals or not name:
            raise UsageError(f"--slurm {pair!r} is not of the form key=value, e.g. --slurm partition=gpu")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or any(not c.isprintable() for c in value):
            raise UsageError(f"--slurm {pair!r}: {key!r} is not the long name of an option of sbatch")
        if name in _RESERVED:
            raise UsageError(f"--slurm {key} is set by nubench itself; leave it out")
        if name in _OF_SEVERAL_TASKS or name.startswith("ntasks_per_"):
            raise UsageError(
                f"--slurm {pair!r} is not accepted: a cell is one task on one node; "
                "ask for cores with cpus-per-task=N and for GPUs with gres=gpu:N"
            )
        (of_data if key.startswith(DATA_PREFIX) else of_cells).setdefault(name, []).append(value)
    inherited = {name: value for name, value in of_cells.items() if not name.startswith(("gpu", "gres"))}
    return _options(of_cells), _options({**inherited, **of_data})


def _options(given: Mapping[str, list[str]]) -> SlurmOptions:
    last = {name: values[-1] for name, values in given.items()}
    others = {n: v for n, v in last.items() if n not in ("time", "array_parallelism", "setup")}
    return SlurmOptions(
        minutes=minutes_of(last["time"]) if "time" in last else DEFAULT_MINUTES,
        parallel=_count("array_parallelism", last["array_parallelism"]) if "array_parallelism" in last else 256,
        setup=tuple(given.get("setup", ())),
        others=others,
    )


def _count(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--slurm {name}={text!r} is not accepted: a whole number from 1 on")
    return int(text)


def minutes_of(text: str) -> int:
    """Minutes of a time as SLURM writes it: ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S``.

    Raises:
        UsageError: when it is none of these, or not longer than what a job needs to stop.

    Example:
        >>> [minutes_of(text) for text in ("90", "90:30", "4:00:00", "1-12", "1-00:30")]
        [90, 90, 240, 2160, 1470]
    """
    found = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", text, re.ASCII)
    if not found:
        raise UsageError(f"--slurm time={text!r} is not accepted: minutes, H:M:S or D-H:M, e.g. 240, 4:00:00 or 1-12")
    days, first, second, third = (int(part) if part is not None else None for part in found.groups())
    if days is not None:
        minutes = (days * 24 + (first or 0)) * 60 + (second or 0)
    elif third is not None:
        minutes = (first or 0) * 60 + (second or 0)
    else:
        minutes = first or 0
    if minutes * 60 <= SECONDS_TO_STOP:
        raise UsageError(
            f"--slurm time={text!r} is not accepted: a job needs more than the {SECONDS_TO_STOP} s to stop"
        )
    return minutes


def my_jobs() -> dict[str, str] | None:
    """The states of this user's jobs that wait or run, by their names; None where SLURM does not answer."""
    return _squeue("--me")


def job_is_running(job: str) -> bool:
    """Whether SLURM still means a job to run: false when somebody cancelled it, or when it will be started again."""
    return (_squeue("--jobs", job) or {}).get(job) == "RUNNING"


def restarts_of(job: str) -> int | None:
    """How often SLURM has queued a job again, this time included; None where it does not answer."""
    said = _asked("scontrol", "--oneliner", "show", "job", job)
    found = re.search(r"\bRestarts=(\d+)", said or "")
    return int(found[1]) if found else None


def _squeue(*arguments: str) -> dict[str, str] | None:
    said = _asked("squeue", "--noheader", "--array", "--format=%i %T", *arguments)
    if said is None:
        return None
    return dict(line.split(maxsplit=1) for line in said.splitlines() if " " in line.strip())


def _asked(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS_TO_ANSWER)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def known_launcher(name: str) -> str:
    """Check the name of a launcher.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in LAUNCHERS:
        raise unknown_name("launcher", name, LAUNCHERS)
    return name


#: Names of all launchers.
LAUNCHERS: Final = ("local", "slurm")
