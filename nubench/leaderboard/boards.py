"""Leaderboards as values: which results may be compared, and how they are ranked.

A board holds the results of one data set, shift, profile and backbone; results that differ in any of these,
in the recipe of the data, a shift parameter or a compared setting of the profile never share one. Methods without a
backbone stand on the board of every backbone.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from nubench.errors import DataError
from nubench.evaluation.statistics import Interval, interval_from_seeds
from nubench.results import Method, Result, canonical, experiment, fingerprint, shift_folder

#: Folder of results of methods without a backbone when no method with one has been submitted.
NO_BACKBONE = "none"


class Spread(NamedTuple):
    """A mean over seeds and its standard deviation, None for one seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Row:
    """One method with one set of settings, over its seeds.

    Attributes:
        label: its name, with what tells it from its variants on the same board.
        results: S >= 1, in the order of the seeds.
        rank: one more than the number of rows that are clearly better; None for a row that is not ranked.
    """

    label: str
    results: tuple[Result, ...]
    rank: int | None = None

    @property
    def first(self) -> Result:
        """The result of the first seed, for what all seeds share."""
        return self.results[0]

    def accuracies(self, point: str) -> tuple[float, ...]:
        """(S,) accuracies at one point, by the read-out that ranks the method."""
        return tuple(
            result.scores(found).accuracy for result in self.results for found in result.points if found.point == point
        )

    @property
    def target_means(self) -> tuple[float, ...]:
        """(S,) mean accuracies over the target points."""
        return tuple(
            statistics.fmean(result.scores(point).accuracy for point in result.target_points) for result in self.results
        )

    @property
    def mean(self) -> Spread:
        """Mean over the target points: what ranks the row."""
        return spread(self.target_means)

    @property
    def interval(self) -> Interval:
        """Approximate 95% interval of the mean over the target points.

        The test events are the same at every point, so the smallest point's number counts, not the sum.
        """
        return interval_from_seeds(self.target_means, min(point.events for point in self.first.target_points))

    @property
    def worst(self) -> tuple[float, str]:
        """The lowest accuracy, mean over seeds, of all target points, and that point."""
        return min((self.at(point.point).mean, point.point) for point in self.first.target_points)

    @property
    def change(self) -> Spread:
        """Mean over the target points minus the source, seed by seed."""
        at_source = self.accuracies(self.first.shift.source)
        return spread([target - source for target, source in zip(self.target_means, at_source, strict=True)])

    def at(self, point: str) -> Spread:
        """Accuracy at one point over the seeds."""
        return spread(self.accuracies(point))


@dataclass(frozen=True)
class Board:
    """Results that may be compared.

    Attributes:
        folder: where it is kept below the folder of the leaderboards.
        backbone: preset, or :data:`NO_BACKBONE`.
        rows: ranked ones in their order, then those that are not ranked.
    """

    folder: PurePosixPath
    backbone: str
    rows: tuple[Row, ...]

    @property
    def example(self) -> Result:
        """Any of its results, for what all share."""
        return self.rows[0].first

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the shift points, the source first."""
        return self.example.shift.points

    @property
    def seeds(self) -> int:
        """Seeds of a complete row: what the profile asks for, or the most that any row has."""
        asked = self.example.profile.settings.get("seeds")
        return asked if isinstance(asked, int) else max(len(row.results) for row in self.rows)

    @property
    def title(self) -> str:
        """One line that names it."""
        shared = self.example
        return f"{shared.dataset.detector}, {shift_folder(shared)}, {shared.profile.name}, backbone {self.backbone}"


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation.

    Example:
        >>> spread([0.5, 0.75])
        Spread(mean=0.625, deviation=0.1767766952966369)
    """
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def boards_of(results: Iterable[Result]) -> tuple[Board, ...]:
    """Sort results into boards, in the order of their folders.

    The folder is ``<detector>/<shift>/<profile>``. Where more than one data set, set of conditions
    (recipe of the data, shift parameters, profile settings) or backbone meets in it, each gets a folder of its own
    below, named after the data set and version, the conditions' fingerprint and the backbone.

    Raises:
        DataError: when two results are of the same experiment and seed.
    """
    folders: dict[PurePosixPath, list[Result]] = defaultdict(list)
    for result in results:
        folders[PurePosixPath(result.dataset.detector, shift_folder(result), result.profile.name)].append(result)
    boards = [
        Board(at_backbone, backbone, _rows(of_backbone))
        for folder, together in folders.items()
        for at_dataset, of_dataset in _split(folder, together, _dataset)
        for at_conditions, of_conditions in _split(at_dataset, of_dataset, _conditions)
        for at_backbone, backbone, of_backbone in _split_by_backbone(at_conditions, of_conditions)
    ]
    return tuple(sorted(boards, key=lambda board: board.folder))


def _dataset(result: Result) -> str:
    return f"{result.dataset.name}-{result.dataset.version.lower()}"


def _conditions(result: Result) -> str:
    shared = experiment(result)
    del shared["method"], shared["backbone"], shared["seed"]
    return f"conditions-{fingerprint(shared)}"


def _split(
    folder: PurePosixPath, results: list[Result], name_of: Callable[[Result], str]
) -> list[tuple[PurePosixPath, list[Result]]]:
    parts: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        parts[name_of(result)].append(result)
    if len(parts) == 1:
        return [(folder, results)]
    return [(folder / name, part) for name, part in parts.items()]


def _split_by_backbone(folder: PurePosixPath, results: list[Result]) -> list[tuple[PurePosixPath, str, list[Result]]]:
    presets = sorted({result.backbone.preset for result in results if result.backbone})
    if len(presets) < 2:
        return [(folder, presets[0] if presets else NO_BACKBONE, results)]
    return [
        (folder / preset, preset, [r for r in results if r.backbone is None or r.backbone.preset == preset])
        for preset in presets
    ]


def _rows(results: list[Result]) -> tuple[Row, ...]:
    variants: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        variants[canonical(experiment(result) | {"seed": None, "ranked": result.method.ranked})].append(result)
    labels = _labels({key: found[0].method for key, found in variants.items()})
    rows = [Row(labels[key], _in_order_of_seeds(found)) for key, found in variants.items()]
    rows.sort(key=lambda row: (-row.mean.mean, -row.worst[0], row.label))
    ranked = [row for row in rows if row.first.method.ranked]
    return (*_with_ranks(ranked), *(row for row in rows if not row.first.method.ranked))


def _in_order_of_seeds(results: list[Result]) -> tuple[Result, ...]:
    ordered = sorted(results, key=lambda result: result.seed)
    for one, next_one in pairwise(ordered):
        if one.seed == next_one.seed:
            raise DataError(
                f"two results of method {one.method.name!r} with the same settings and seed {one.seed}; remove one"
            )
    return tuple(ordered)


def _with_ranks(rows: Sequence[Row]) -> list[Row]:
    """Give each of the rows, best mean first, the number of rows that are clearly better, plus one."""
    ranked: list[Row] = []
    for row in rows:
        better = sum(other.interval.low > row.interval.high for other in rows)
        # A row with few events or seeds has a wide interval; that must not lift it above a higher mean.
        ranked.append(replace(row, rank=max(better + 1, (ranked[-1].rank or 1) if ranked else 1)))
    return ranked


def _labels(methods: dict[str, Method]) -> dict[str, str]:
    """Name each variant by what tells it from the others of its name."""
    labels = {}
    for key, method in methods.items():
        others = [other for other in methods.values() if other.name == method.name]
        differences = [
            f"{name} {value}"
            for name, value, values in (
                ("version", method.version, {other.version for other in others}),
                ("from", method.distribution, {other.distribution for other in others}),
                ("by", method.ranked_by, {other.ranked_by for other in others}),
            )
            if len(values) > 1
        ]
        for setting in sorted(method.config):
            if len({canonical(other.config.get(setting)) for other in others}) > 1:
                differences.append(f"{setting}={_short(canonical(method.config[setting]))}")
        labels[key] = f"{method.name} ({', '.join(differences)})" if differences else method.name
    repeated = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {
        key: f"{label} #{fingerprint(key)}" if label in repeated else label for key, label in sorted(labels.items())
    }


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
