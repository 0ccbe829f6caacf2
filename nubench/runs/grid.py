"""Many runs in one call: what of them is done, and running the others one after another.

A *cell* is one method, shift, source point and seed. A cell that fails is written down and does not stop the grid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, Protocol

from nubench.errors import DataError
from nubench.plugins.registry import PluginRegistry
from nubench.progress import Progress
from nubench.results.schema import Result
from nubench.runs.failures import Failure, FailureBook, RememberingProgress, failure_of
from nubench.runs.request import Request
from nubench.runs.runner import Runner

State = Literal["finished", "failed", "missing"]


class CellRunner(Protocol):
    """What a grid needs of :class:`nubench.runs.runner.Runner`."""

    def key(self, seed: int) -> str:
        """The name under which the result is kept once it is there."""
        ...

    def finished(self, seed: int) -> Result | None:
        """The result, when it is in the cache; builds and trains nothing."""
        ...

    def run(self, seed: int) -> Result:
        """Build, train and score."""
        ...

    def release(self) -> None:
        """Forget the events in memory."""
        ...


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        request: everything but the seed; its data set is named.
        seed: of the training.
        runner: shared by the seeds of one request.
        plugin_file: of the method.
    """

    request: Request
    seed: int
    runner: CellRunner
    plugin_file: str | None = None

    @property
    def name(self) -> str:
        """A file name that is its own: of what was asked for, whatever code and data it is run with."""
        content = json.dumps({**asdict(self.request), "seed": self.seed}, sort_keys=True, default=str)
        method = self.request.method.rpartition(":")[2]
        return f"{method}-seed{self.seed}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def title(self) -> str:
        """One line for people."""
        request = self.request
        return f"{request.method}, {request.shift} from {request.source}, seed {self.seed}"


@dataclass(frozen=True)
class Planned:
    """A cell and what is known of it: its result when finished, its failure when it failed before."""

    cell: Cell
    result: Result | None = None
    failure: Failure | None = None

    @property
    def state(self) -> State:
        """What is left to do."""
        return "finished" if self.result else "failed" if self.failure else "missing"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: which.
        result: None for a cell that failed or was left out.
        failure: why there is no result; None for a cell that was left out without having failed before.
        tried: whether it was run in this call; otherwise result and failure are those of an earlier one.
    """

    cell: Cell
    result: Result | None
    failure: Failure | None
    tried: bool


def requests_of(base: Request, methods: Sequence[str], shifts: Sequence[str], sources: Sequence[str]) -> list[Request]:
    """Every combination, in the order methods, shifts, sources; all else as in ``base``."""
    shared = {name: value for name, value in vars(base).items() if name not in ("method", "shift", "source")}
    return [
        Request(method=method, shift=shift, source=source, **shared)
        for method, shift, source in product(methods, shifts, sources)
    ]


def open_grid(
    requests: Iterable[Request],
    seeds: Sequence[int],
    registry: PluginRegistry,
    cache: Path,
    progress: Progress,
    processes: int | None = None,
    *,
    sealed: bool = True,
    devices: int = 1,
) -> list[Cell]:
    """Make the cells of some requests, every seed of one after another; nothing is built, trained or written.

    Raises:
        UsageError: when a name does not exist or a setting cannot be accepted.
    """
    cells = []
    for request in requests:
        runner = Runner(request, registry, cache, progress, processes, sealed=sealed, devices=devices)
        named = replace(request, dataset=runner.card.name)
        cells += [Cell(named, seed, runner, runner.registered.plugin.origin) for seed in seeds]
    return cells


def plan(cells: Iterable[Cell], book: FailureBook) -> list[Planned]:
    """Look up what is known of each cell; nothing is built, trained or written.

    Raises:
        DataError: when the record of a failure is damaged.
    """
    planned = []
    for cell in cells:
        try:
            result = cell.runner.finished(cell.seed)
        except DataError:
            # A damaged file in the cache is this cell's failure, when it is run, and not the grid's.
            result = None
        planned.append(Planned(cell, result, None if result else book.find(cell.name)))
    return planned


def states_to_run(*, only_missing: bool = False, retry_failed: bool = False) -> frozenset[State]:
    """Which cells a call runs: all that are not finished, or those that never failed, or those that did."""
    if only_missing:
        return frozenset({"missing"})
    return frozenset({"failed"}) if retry_failed else frozenset({"missing", "failed"})


def run_grid(
    planned: Sequence[Planned],
    book: FailureBook,
    progress: RememberingProgress,
    *,
    states: frozenset[State],
    accept: Callable[[Cell, Result], None] = lambda cell, result: None,
) -> Iterator[Outcome]:
    """Run the cells in these states, one after another; the others are passed on as they are.

    A cell whose run raises is written down in ``book`` and the next one begins; one that succeeds is struck out.
    An interrupt stops at once.

    Args:
        planned: see :func:`plan`.
        book: where failures are kept.
        progress: the one that the runners say things to; its last lines are kept with a failure.
        states: see :func:`states_to_run`.
        accept: called with every result; what it raises makes the cell a failed one.

    Yields:
        What became of each cell, as soon as that is known, in their order.

    Raises:
        NubenchError: when a failure cannot be written down.
    """
    for position, known in enumerate(planned):
        cell = known.cell
        if known.result is None and known.state not in states:
            yield Outcome(cell, None, known.failure, tried=False)
        else:
            yield _tried(known, book, progress, accept)
        if position + 1 == len(planned) or planned[position + 1].cell.runner is not cell.runner:
            cell.runner.release()


def _tried(
    known: Planned, book: FailureBook, progress: RememberingProgress, accept: Callable[[Cell, Result], None]
) -> Outcome:
    cell = known.cell
    progress.forget()
    try:
        # What was finished before is read again by the runner, which says so.
        result = cell.runner.run(cell.seed)
        accept(cell, result)
    except (Exception, SystemExit) as error:
        request = cell.request
        failure = failure_of(
            error,
            method=request.method,
            dataset=request.dataset or "",
            shift=request.shift,
            source=request.source,
            profile=request.profile,
            seed=cell.seed,
            plugin_file=cell.plugin_file,
            log=progress.lines,
        )
        book.keep(cell.name, failure)
        return Outcome(cell, None, failure, tried=True)
    book.forget(cell.name)
    return Outcome(cell, result, None, tried=known.result is None)
