"""nubench from Python: events, runs and leaderboards, as `nubench.load_events`, `nubench.run` and so on.

The same functions stand behind the command line, so both give the same numbers and share one cache. Where an argument
is not explained here it is that of the option of the same name in `docs/cli.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from nubench.cache import cache_folder
from nubench.errors import UsageError, unknown_name
from nubench.shifts import NOMINAL

if TYPE_CHECKING:
    import pandas as pd

    from nubench.containers import Events, LabelledEvents
    from nubench.datasets.cards import Card, Split
    from nubench.leaderboard.boards import Board, Row
    from nubench.plugins.registry import PluginRegistry
    from nubench.progress import Progress
    from nubench.results.schema import Result
    from nubench.shifts import Shift, ShiftPoint

SourceSplit = Literal["train", "val"]
TargetSplit = Literal["adapt", "test"]
Files = Iterable[Path | str]


@overload
def load_events(
    dataset: str = ...,
    split: SourceSplit = ...,
    *,
    shift: str | None = ...,
    point: str = ...,
    profile: str = ...,
    plugins: Files = ...,
    cache: Path | str | None = ...,
    processes: int | None = ...,
    verbose: bool = ...,
) -> LabelledEvents: ...


@overload
def load_events(
    dataset: str,
    split: TargetSplit,
    *,
    shift: str | None = ...,
    point: str = ...,
    profile: str = ...,
    plugins: Files = ...,
    cache: Path | str | None = ...,
    processes: int | None = ...,
    verbose: bool = ...,
) -> Events: ...


@overload
def load_events(
    dataset: str = ...,
    *,
    split: TargetSplit,
    shift: str | None = ...,
    point: str = ...,
    profile: str = ...,
    plugins: Files = ...,
    cache: Path | str | None = ...,
    processes: int | None = ...,
    verbose: bool = ...,
) -> Events: ...


def load_events(
    dataset: str = "lartpc",
    split: Split = "train",
    *,
    shift: str | None = None,
    point: str = NOMINAL,
    profile: str = "smoke",
    plugins: Files = (),
    cache: Path | str | None = None,
    processes: int | None = None,
    verbose: bool = False,
) -> LabelledEvents | Events:
    """Read the events of a split at a point of a shift; what is not there is simulated first and kept.

    Labels and truth come with the splits ``train`` and ``val`` alone. Those of ``adapt`` and ``test`` belong to the
    evaluation, see `docs/protocol.md`.

    Args:
        dataset: name of a data set; of the profile ``smoke`` the first call simulates for a minute or two.
        split: ``"train"``, ``"val"``, ``"adapt"`` or ``"test"``.
        shift: name of the axis along which the detector moves; needed for every point but ``"nominal"``.
        point: name of a point of it. ``train`` and ``val`` exist at the nominal point and at the sources of the shift.
        profile: decides the number of events.
        plugins: Python files to load as plugins.
        cache: folder of the data.
        processes: number of Geant4 processes, None for one a core.
        verbose: print progress.

    Returns:
        E events with N voxels in all, in the order of the file. ``coords`` (N, 3) are voxel indices, ``features``
        (N, 1) the raw charge in the unit of the detector (``lartpc``: ADC counts; ``scintillator``: photoelectrons).
        :class:`~nubench.containers.LabelledEvents` for ``train`` and ``val``, with ``labels`` (E,) and the true
        kinetic energy in MeV and vertex in cm; :class:`~nubench.containers.Events` for ``adapt`` and ``test``.

    Raises:
        UsageError: when a name does not exist, or there are no such events at this point.
        DataError: when a file in the cache is damaged.
        NubenchError: when the simulation fails.
    """
    from nubench.datasets.cards import SPLITS
    from nubench.datasets.catalogue import card_called, open_dataset

    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    registry, folder = _registry(plugins), cache_folder(cache)
    card = card_called(registry, folder, dataset)
    axis, where = _point(card, split, shift, point)
    opened = open_dataset(registry, folder, card, profile, processes)
    opened.build((split,), axis.name, (where,), _progress(verbose), (NOMINAL, *axis.sources))
    return (opened.load if split in ("train", "val") else opened.events)(split, axis.name, where)


def run(
    method: str,
    shift: str,
    *,
    profile: str = "smoke",
    dataset: str | None = None,
    source: str = NOMINAL,
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    engine: str = "native",
    device: str = "auto",
    sealed: bool = True,
    plugins: Files = (),
    leaderboards: Path | str | None = None,
    cache: Path | str | None = None,
    processes: int | None = None,
    verbose: bool = False,
) -> list[Result]:
    """Build the data, train a method, and score it at every point of a shift.

    What is finished is read again. A killed call goes on where it was.

    Args:
        method: its name, or ``distribution:name`` where two plugins bring it.
        shift: name of the axis along which the detector moves.
        profile: the budget.
        dataset: name of the data set, None for the one that has the shift.
        source: the point of the shift to train on.
        seeds: how many, counting from 0, or the seeds themselves.
        settings: values of the method's settings by name.
        backbone: preset of the network, None for the profile's.
        engine: of the sparse convolutions.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        sealed: train in a process of its own that is given no label of target or test. False for a debugger.
        plugins: Python files to load as plugins.
        leaderboards: folder that the results are submitted to, whose tables and figures are then written anew. None:
            results are returned, and kept in the cache alone.
        cache: folder of data, trainings and results.
        processes: number of Geant4 processes, None for one a core.
        verbose: print progress.

    Returns:
        One result for each seed, in their order. Accuracies in it are fractions.

    Raises:
        UsageError: when a name does not exist, a setting is not accepted, or results that are not sealed are to be
            submitted; nothing was built or trained then.
        NubenchError: when something cannot go on; what was finished stays.
    """
    from nubench.runs.request import Request
    from nubench.runs.runner import Runner

    wanted = _seeds(seeds)
    if leaderboards is not None and not sealed:
        raise UsageError("leaderboards is given with sealed=False; only results of sealed trainings are submitted")
    registry, folder = _registry(plugins), cache_folder(cache)
    request = Request(method, shift, profile, dataset, source, settings, backbone, engine, device)
    runner = Runner(request, registry, folder, _progress(verbose), processes, sealed=sealed)
    results = [runner.run(seed) for seed in wanted]
    if leaderboards is not None:
        _submit([runner.key(seed) for seed in wanted], registry, folder, Path(leaderboards))
    return results


def listing(what: str, *, plugins: Files = (), cache: Path | str | None = None) -> pd.DataFrame:
    """What exists, as `nubench list` shows it: methods, shifts, detectors, datasets, profiles, backbones.

    Raises:
        UsageError: when there is no such listing.

    Example:
        >>> listing("profiles").loc[0, ["profile", "backbone"]].tolist()
        ['smoke', 'tiny']
    """
    import pandas as pd

    from nubench.datasets.catalogue import known_cards
    from nubench.listings import LISTINGS

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    registry = _registry(plugins)
    columns, rows = LISTINGS[what](known_cards(registry, cache_folder(cache)), registry)
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Leaderboard:
    """The boards of a folder of results.

    Attributes:
        boards: each holds the results that may be compared, in ranked rows.
    """

    boards: tuple[Board, ...]

    @classmethod
    def from_directory(cls, directory: Path | str = "leaderboards") -> Self:
        """Read every result in the folder ``submissions`` of a folder of leaderboards, and rank them.

        Raises:
            DataError: when the folder is missing, a file is no valid result, or two hold the same run.
        """
        from nubench.leaderboard.boards import boards_of
        from nubench.results.files import SUBMISSIONS, load_results

        return cls(boards_of(load_results(Path(directory) / SUBMISSIONS)))

    def to_pandas(self) -> pd.DataFrame:
        """One line for each row of a board, in the order of the boards and their ranks.

        Returns:
            ``board`` and ``rank`` (missing for rows that are not ranked), ``method``, ``readout``, ``seeds``, and,
            as fractions: ``source``, the accuracy at the source point; ``targets``, the mean accuracy over the target
            points and the seeds, which ranks; ``deviation``, its standard deviation over the seeds (missing for one
            seed); ``low`` and ``high``, its 95% interval; ``worst``, the accuracy at ``worst_point``; ``change``,
            targets minus source.
        """
        import pandas as pd

        lines = [_line(board, row) for board in self.boards for row in board.rows]
        return pd.DataFrame(lines, columns=_COLUMNS).astype({"rank": "Int64"})

    def accuracies(self) -> pd.DataFrame:
        """One line for each row of a board, seed and shift point: for plots and statistics of your own.

        Returns:
            ``board``, ``method``, ``seed``, ``point``, ``is_source``, ``events`` (number of test events), and
            ``accuracy``, a fraction, by the read-out that ranks the method.
        """
        import pandas as pd

        lines = [
            (
                str(board.folder),
                row.label,
                result.seed,
                found.point,
                found.point == result.shift.source,
                found.events,
                result.scores(found).accuracy,
            )
            for board in self.boards
            for row in board.rows
            for result in row.results
            for found in result.points
        ]
        return pd.DataFrame(lines, columns=["board", "method", "seed", "point", "is_source", "events", "accuracy"])


_COLUMNS = [
    "board",
    "rank",
    "method",
    "readout",
    "seeds",
    "source",
    "targets",
    "deviation",
    "low",
    "high",
    "worst",
    "worst_point",
    "change",
]


def _line(board: Board, row: Row) -> tuple[Any, ...]:
    worst, worst_point = row.worst
    return (
        str(board.folder),
        row.rank,
        row.label,
        row.first.method.ranked_by,
        len(row.results),
        row.at(row.first.shift.source).mean,
        row.mean.mean,
        row.mean.deviation,
        row.interval.low,
        row.interval.high,
        worst,
        worst_point,
        row.change.mean,
    )


def _registry(plugins: Files) -> PluginRegistry:
    """The plugins that can be loaded; the others are named in a warning."""
    from nubench.plugins.discovery import load_plugins

    registry = load_plugins([Path(file) for file in plugins])
    for ask in (registry.methods, registry.detectors, registry.cards):
        ask()
    for failure in registry.failures:
        warnings.warn(f"plugin {failure.name!r} of {failure.distribution} is skipped: {failure.reason}", stacklevel=3)
    return registry


def _point(card: Card, split: Split, shift: str | None, point: str) -> tuple[Shift, ShiftPoint]:
    """The axis and the point on it with all parameters, at which a split has events."""
    if shift is None and point != NOMINAL:
        raise UsageError(f"point {point!r} needs a shift: one of {', '.join(axis.name for axis in card.shifts)}")
    axis = card.shifts[0] if shift is None else card.shift(shift)
    points = {found.name: found for found in axis.all_points(card.nominal)}
    if point not in points:
        raise unknown_name("point", point, points)
    sources = (NOMINAL, *axis.sources)
    if split in ("train", "val") and point not in sources:
        raise UsageError(
            f"split {split!r} has no events at point {point!r} of shift {axis.name!r}, but at {', '.join(sources)}"
        )
    return axis, points[point]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    wanted = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not wanted or len(set(wanted)) < len(wanted) or min(wanted) < 0:
        raise UsageError(f"seeds={seeds!r} must be a number of seeds from 1 up, or different seeds from 0 up")
    return wanted


def _submit(runs: Sequence[str], registry: PluginRegistry, cache: Path, leaderboards: Path) -> None:
    """Check finished runs against their predictions, put them on the leaderboards, and write these anew."""
    from nubench.evaluation.recomputation import TruthSource
    from nubench.leaderboard.generate import generate_leaderboards
    from nubench.results.submissions import run_file, submit

    metrics = [registered.thing for registered in registry.metrics()]
    truth = TruthSource(registry, cache)
    for run in runs:
        submit(run_file(cache, run), leaderboards, truth, metrics)
    generate_leaderboards(leaderboards, [registered.thing for registered in registry.columns()])


def _progress(verbose: bool) -> Progress:
    from nubench.progress import ConsoleProgress, SilentProgress

    if not verbose:
        return SilentProgress()
    from rich.console import Console

    return ConsoleProgress(Console())
