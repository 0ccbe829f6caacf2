"""What a grid is about to do, in words: its cells, how long they take, and what they need of the disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nubench.errors import NubenchError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nubench.runs.estimates import DataToBuild, Estimate
    from nubench.runs.footprint import Footprint
    from nubench.runs.grid import Planned, State


@dataclass(frozen=True)
class Outlook:
    """A grid with what each of its cells is expected to take.

    Attributes:
        planned: the cells.
        states: those of them that are to be run.
        estimates: of each cell in ``planned``.
        data: what is to be built for those that are run.
        footprints: what each of those that are run takes of memory and disk.
        free: bytes on the disk of the cache.
        free_memory: bytes that other programs leave.
        at_once: runs that go on beside each other on this machine.
    """

    planned: Sequence[Planned]
    states: frozenset[State]
    estimates: Sequence[Estimate]
    data: DataToBuild
    footprints: Sequence[Footprint]
    free: int
    free_memory: int
    at_once: int = 1

    @classmethod
    def of(
        cls,
        planned: Sequence[Planned],
        states: frozenset[State],
        cache: Path,
        *,
        at_once: int = 1,
        devices: int = 1,
    ) -> Outlook:
        """Look at runs like these in the cache, and at the data that are there; nothing is written.

        Args:
            planned, states, at_once: see above.
            cache: folder of results and data.
            devices: that share each training, where the runs become jobs and so do not have them here.
        """
        import psutil

        from nubench.runs.estimates import Estimator, data_to_build, work_of
        from nubench.runs.footprint import footprint, volume_of
        from nubench.runs.runner import Runner

        estimator = Estimator(cache)
        estimates, footprints = [], []
        # Seeds of one runner take the same.
        runners: dict[int, tuple[Runner, Footprint]] = {}
        for one in planned:
            runner = one.cell.runner
            assert isinstance(runner, Runner)
            design = runner.backbone.thing if runner.registered.thing.uses_backbone else None
            estimates.append(estimator.run(work_of(runner), design))
            if one.state in states:
                if id(runner) not in runners:
                    runners[id(runner)] = runner, footprint(volume_of(runner, devices))
                footprints.append(runners[id(runner)][1])
        data = data_to_build([runner for runner, _ in runners.values()])
        free = shutil.disk_usage(cache).free
        free_memory = psutil.virtual_memory().available
        return cls(planned, states, estimates, data, footprints, free, free_memory, at_once)

    @property
    def to_run(self) -> list[tuple[Planned, Estimate]]:
        """The cells that are to be run."""
        pairs = zip(self.planned, self.estimates, strict=True)
        return [(planned, estimate) for planned, estimate in pairs if planned.state in self.states]

    @property
    def size(self) -> float:
        """Bytes of the disk of the cache at the most: data, what runs leave, and what the largest have meanwhile."""
        from nubench.runs.footprint import disk_of

        return self.data.size + disk_of(self.footprints, self.at_once)

    @property
    def memory(self) -> float:
        """Bytes of memory that the largest run takes in both of its processes, or the largest that run at once."""
        from nubench.runs.footprint import largest

        return largest(self.footprints, self.at_once)

    def check_space(self, cache: Path) -> None:
        """Raise NubenchError when the disk cannot hold what is about to be written to the cache."""
        if self.to_run and self.size > self.free:
            raise NubenchError(
                f"the disk of the cache {cache} has {amount(self.free)} free; about {amount(self.size)} are needed; "
                "free some space, or choose another --cache"
            )

    def summary(self) -> str:
        """A line or two: what is to be done and how long it takes."""
        known = [estimate.seconds for _, estimate in self.to_run if estimate.seconds is not None]
        words = f"{len(self.planned)} cells: {len(self.to_run)} to run"
        for state in ("finished", "failed", "missing"):
            left = sum(one.state == state and state not in self.states for one in self.planned)
            words += f", {left} {state if state == 'finished' else f'{state} and left out'}" if left else ""
        if known:
            words += f"; about {minutes(sum(known))} for those whose like is known"
        if unknown := len(self.to_run) - len(known):
            words += f"; no estimate for {unknown}"
        if self.data.events:
            words += (
                f"\ndata to build first: {self.data.events:,} events and the deposits of {self.data.deposits:,}, "
                f"about {minutes(self.data.seconds)} on two cores, {amount(self.data.size)}"
            )
        if self.to_run:
            at_once = min(self.at_once, len(self.footprints))
            beside = f" for {at_once} runs at once" if at_once > 1 else ""
            words += (
                f"\ndisk: about {amount(self.size)} at the most, {amount(self.free)} are free; "
                f"memory: about {amount(self.memory)}{beside}, {amount(self.free_memory)} are free"
            )
            if self.memory > self.free_memory:
                words += " - this may not be enough"
        return words

    def table(self) -> Table:
        """One row for each cell."""
        from rich.table import Table

        table = Table("method", "shift", "source", "seed", "state", "estimate", "from", box=None, pad_edge=False)
        for planned, estimate in zip(self.planned, self.estimates, strict=True):
            request = planned.cell.request
            done = planned.state == "finished"
            runs = planned.state in self.states
            state = planned.state if done or runs else f"{planned.state}, left out"
            expected = "" if not runs else "unknown" if estimate.seconds is None else minutes(estimate.seconds)
            table.add_row(
                *(request.method, request.shift, request.source, str(planned.cell.seed), state, expected),
                {"runs": "runs like it", "rate": "measured rate", "unknown": ""}[estimate.basis] if runs else "",
            )
        return table


def print_outlook(console: Console, outlook: Outlook) -> None:
    """Print the grid and why cells failed before."""
    console.print(outlook.table(), highlight=False)
    console.print(outlook.summary(), highlight=False, soft_wrap=True)
    for planned in outlook.planned:
        if planned.failure is not None:
            when = planned.failure.created.strftime("%Y-%m-%d %H:%M UTC")
            reason = f"{planned.cell.title} failed on {when}: {planned.failure.reason}"
            console.print(reason, highlight=False, soft_wrap=True, markup=False)


def minutes(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> minutes(30), minutes(125), minutes(7300)
        ('0.5 min', '2.1 min', '2.0 h')
    """
    return f"{seconds / 3600:,.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"


def amount(size: float) -> str:
    """A number of bytes as people say it.

    Example:
        >>> amount(17e6), amount(1.24e10)
        ('17 MB', '12.4 GB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
