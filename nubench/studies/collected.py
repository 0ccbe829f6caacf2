"""What of a study is there: the submissions that are its cells, whatever machine they were run on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from nubench.datasets.cards import Card
from nubench.datasets.catalogue import find_card, open_dataset
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called
from nubench.results.files import SUBMISSIONS, canonical, experiment, load_results
from nubench.results.schema import SCHEMA_VERSION, Result
from nubench.results.schema import Shift as ShiftRecord
from nubench.runs.records import method_record, profile_record
from nubench.runs.request import Request, make_config
from nubench.shifts import ShiftPoint
from nubench.simulation.geant4 import GEANT4_VERSION, Geant4Data
from nubench.simulation.standin_data import STANDIN_VERSION

#: The Geant4 data that events are made with, by what a recipe says of them.
GEANT4_DATA: Final = (
    Geant4Data("official", Path(), GEANT4_VERSION),
    Geant4Data("standin", Path(), STANDIN_VERSION),
)


@dataclass(frozen=True)
class CellResult:
    """One cell of a study and the submission that is its result, None where there is none yet.

    The data set of the request has the name of its card.
    """

    request: Request
    seed: int
    result: Result | None


class Collection:
    """The submissions in a folder of leaderboards.

    Args:
        leaderboards: the folder with the folder ``submissions``, which need not be there.
        registry: the plugins, for what a run of today would be.
        cache: folder of the imported data sets, and of Geant4's data.

    Raises:
        DataError: when a submission cannot be read.
    """

    def __init__(self, leaderboards: Path, registry: PluginRegistry, cache: Path) -> None:
        folder = leaderboards / SUBMISSIONS
        self._results = load_results(folder) if folder.is_dir() else []
        self._registry, self._cache = registry, cache

    def cells(
        self, requests: Iterable[Request], seeds: Sequence[int], data: Geant4Data | None = None
    ) -> list[CellResult]:
        """Look up every cell: the newest submission that is the same experiment as a run of today.

        That is what a board compares: the method with version, plugin and settings, the data set with version and
        recipe, the points with what they move, the settings of the profile, the backbone and the schema. The device
        does not count, nor do the code and the libraries that it was run with.

        Args:
            requests: the cells, but for their seeds.
            seeds: of each.
            data: that the events were made with, see :data:`GEANT4_DATA`; None for those of this machine.

        Raises:
            UsageError: when a name or a setting does not exist.
        """

        # Many cells share a data set, and its recipe is read from files.
        @cache
        def recipe_of(card_name: str, shift: str, profile: str) -> str:
            card = find_card(self._registry, self._cache, card_name, shift)
            dataset = open_dataset(self._registry, self._cache, card, profile)
            return (dataset if data is None else replace(dataset, data=data)).recipe_digest

        found = []
        for request in requests:
            card = find_card(self._registry, self._cache, request.dataset, request.shift)
            named = replace(request, dataset=card.name)
            today = _Today.of(named, card, self._registry, recipe_of(card.name, request.shift, request.profile))
            like = [result for result in self._results if today.is_of(result)]
            for seed in seeds:
                of_seed = [result for result in like if result.seed == seed]
                found.append(CellResult(named, seed, max(of_seed, key=lambda result: result.created, default=None)))
        return found

    def most_cells(self, requests: Sequence[Request], seeds: Sequence[int]) -> list[CellResult]:
        """Look up every cell among the results of one kind of Geant4 data: this machine's, or those with more results.

        A machine that draws a report needs not be one that could have run the study.

        Raises:
            UsageError: as :meth:`cells`.
        """
        candidates = [self.cells(requests, seeds, data) for data in (None, *GEANT4_DATA)]
        return max(candidates, key=lambda cells: sum(cell.result is not None for cell in cells))


@dataclass(frozen=True)
class _Today:
    """What a run of today would state of itself, of all that parts results.

    Attributes:
        fields: of a result.
        dataset: fields of its data set.
        points: the source first.
        preset: of the backbone; None without one.
    """

    fields: dict[str, Any]
    dataset: dict[str, Any]
    points: tuple[ShiftPoint, ...]
    preset: str | None

    @classmethod
    def of(cls, request: Request, card: Card, registry: PluginRegistry, recipe: str) -> _Today:
        method, profile = registry.method(request.method), profile_called(request.profile)
        shift = card.shift(request.shift.rpartition(":")[2])
        points = shift.all_points(card.nominal, request.source)
        names = tuple(point.name for point in points)
        config = make_config(method.thing, profile, request.settings or {})
        return cls(
            {
                "schema_version": SCHEMA_VERSION,
                "method": method_record(method, config),
                "shift": ShiftRecord(name=shift.name, points=names, strength_unit=shift.strength_unit),
                "profile": profile_record(profile, card),
            },
            {
                "name": card.name,
                "version": str(card.version),
                "detector": card.detector,
                "classes": card.class_names,
                "recipe": recipe,
            },
            points,
            registry.backbone(request.backbone or profile.backbone).name if method.thing.uses_backbone else None,
        )

    def is_of(self, result: Result) -> bool:
        """Whether a result is the same experiment, of any seed."""
        # Most are of another method or shift.
        if result.method.name != self.fields["method"].name or result.shift.points != self.fields["shift"].points:
            return False
        if (result.backbone.preset if result.backbone else None) != self.preset:
            return False
        stated = result.model_copy(
            update={
                **self.fields,
                "dataset": result.dataset.model_copy(update=self.dataset),
                "points": tuple(
                    found.model_copy(update={"parameters": dict(point.settings)})
                    for found, point in zip(result.points, self.points, strict=True)
                ),
            }
        )
        return canonical(experiment(result)) == canonical(experiment(stated))
