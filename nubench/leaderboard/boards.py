"""Leaderboards as values: which results may be compared, and how they are ranked.

A board holds the results of one data set, shift, profile and backbone; results that differ in any of these,
in the recipe of the data, a shift parameter or a compared setting of the profile never share one. Methods without a
backbone stand on the board of every backbone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

from pydantic import JsonValue

from nubench.errors import DataError
from nubench.evaluation.statistics import Interval
from nubench.leaderboard.ranking import Pair, compare, with_ranks
from nubench.leaderboard.rows import RankInterval, Row, Spread, spread
from nubench.results.files import canonical, experiment, fingerprint, shift_folder
from nubench.results.schema import SCHEMA_VERSION, Method, Result

__all__ = ["BASELINES", "NO_BACKBONE", "Board", "Pair", "RankInterval", "Row", "Spread", "boards_of", "spread"]

#: Folder of results of methods without a backbone when no method with one has been submitted.
NO_BACKBONE: Final = "none"

_CONDITIONS: Final = "conditions-"

#: Methods that every board is read against: what shapes alone give, and what one subtraction gives.
BASELINES: Final = ("summary-features-shape-only", "summary-features-minimum-subtracted")


@dataclass(frozen=True)
class Board:
    """Results that may be compared.

    Attributes:
        folder: where it is kept below the folder of the leaderboards.
        backbone: preset, or :data:`NO_BACKBONE`.
        rows: ranked ones in their order, then those that are not ranked.
        pairs: every two rows, compared.
    """

    folder: PurePosixPath
    backbone: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...] = ()

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
        return _seeds_asked(self.rows)

    @property
    def title(self) -> str:
        """One line that names it, unlike that of any other board beside it."""
        shared = self.example
        # Boards of one data set, shift, profile and backbone are told apart by the folder of their conditions.
        conditions = [part.replace("-", " ") for part in self.folder.parts if part.startswith(_CONDITIONS)]
        older = [] if shared.schema_version == SCHEMA_VERSION else [f"schema version {shared.schema_version}"]
        parts = [shared.dataset.detector, shift_folder(shared), shared.profile.name, f"backbone {self.backbone}"]
        return ", ".join([*parts, f"data set {shared.dataset.name} {shared.dataset.version}", *older, *conditions])

    @property
    def missing_baselines(self) -> tuple[str, ...]:
        """Those of :data:`BASELINES` that have no row here: without them nobody knows what a number is worth."""
        found = {row.first.method.name for row in self.rows}
        return tuple(name for name in BASELINES if name not in found)

    def difference(self, row: Row, other: Row) -> Interval:
        """The mean accuracy over the target points of one row minus that of another; clear when it leaves out zero.

        Raises:
            ValueError: when the two are not two different rows of this board.
        """
        pair, turned = self._pair(row, other)
        return -pair.difference if turned else pair.difference

    def paired(self, row: Row, other: Row) -> bool:
        """Whether two rows are compared event by event; otherwise by their intervals alone, which tells less apart.

        Raises:
            ValueError: when the two are not two different rows of this board.
        """
        return self._pair(row, other)[0].paired

    def _pair(self, row: Row, other: Row) -> tuple[Pair, bool]:
        for key, turned in (((row.label, other.label), False), ((other.label, row.label), True)):
            if key in self._pairs:
                return self._pairs[key], turned
        raise ValueError(f"{row.label!r} and {other.label!r} are not two rows of the board {self.folder}")

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], Pair]:
        return {(pair.first, pair.second): pair for pair in self.pairs}


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
        Board(at_backbone, backbone, *_rows_and_pairs(of_backbone))
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
    # Version 1 does not say which events were right, so its rows can only be compared with each other.
    return f"{_CONDITIONS}{fingerprint({**shared, 'schema': min(result.schema_version, 2)})}"


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


def _rows_and_pairs(results: list[Result]) -> tuple[tuple[Row, ...], tuple[Pair, ...]]:
    variants: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        declared = {"ranked": result.method.ranked, "target_access": result.method.target_access}
        variants[canonical(experiment(result) | {"seed": None} | declared)].append(result)
    budget = results[0].profile.settings.get("views")
    labels = _labels({key: found[0].method for key, found in variants.items()}, budget)
    rows = [Row(labels[key], _in_order_of_seeds(found)) for key, found in variants.items()]
    rows.sort(key=lambda row: (not row.first.method.ranked, -row.mean.mean, -row.worst[0], row.label))
    asked = _seeds_asked(rows)
    known, pairs = compare([replace(row, complete=len(row.results) >= asked) for row in rows])
    ranked = with_ranks([row for row in known if row.first.method.ranked], pairs)
    return (*ranked, *known[len(ranked) :]), pairs


def _seeds_asked(rows: Sequence[Row]) -> int:
    # The number does not part boards, so no single result may lower it for all.
    settings = [result.profile.settings.get("seeds") for row in rows for result in row.results]
    asked = [seeds for seeds in settings if isinstance(seeds, int)]
    return max(asked) if asked else max(len(row.results) for row in rows)


def _in_order_of_seeds(results: list[Result]) -> tuple[Result, ...]:
    ordered = sorted(results, key=lambda result: result.seed)
    for one, next_one in pairwise(ordered):
        if one.seed == next_one.seed:
            raise DataError(
                f"two results of method {one.method.name!r} with the same settings and seed {one.seed}; remove one"
            )
    return tuple(ordered)


def _labels(methods: dict[str, Method], budget: JsonValue) -> dict[str, str]:
    """Name each variant by what tells it from others of its name, and by its views where they are not the budget."""
    labels = {}
    for key, method in methods.items():
        others = [other for other in methods.values() if other.name == method.name]
        differences = [
            f"{name} {value}"
            for name, value, values in (
                ("version", method.version, {other.version for other in others}),
                ("from", method.distribution, {other.distribution for other in others}),
                ("by", method.ranked_by, {other.ranked_by for other in others}),
                ("target events", method.target_access, {other.target_access for other in others}),
            )
            if len(values) > 1
        ]
        for setting in sorted(method.config):
            other_budget = setting == "views" and method.config[setting] != budget
            if other_budget or len({canonical(other.config.get(setting)) for other in others}) > 1:
                differences.append(f"{setting}={_short(canonical(method.config[setting]))}")
        labels[key] = f"{method.name} ({', '.join(differences)})" if differences else method.name
    repeated = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {
        key: f"{label} #{fingerprint(key)}" if label in repeated else label for key, label in sorted(labels.items())
    }


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
