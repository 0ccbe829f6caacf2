"""What of a study is there: the submissions that are its cells, whatever machine they were run on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called
from nubench.results.files import SUBMISSIONS, canonical, load_results
from nubench.results.schema import Result
from nubench.runs.request import Request, make_config


@dataclass(frozen=True)
class CellResult:
    """One cell of a study and the submission that is its result, None where there is none yet."""

    request: Request
    seed: int
    result: Result | None


class Collection:
    """The submissions in a folder of leaderboards.

    Args:
        leaderboards: the folder with the folder ``submissions``, which need not be there.
        registry: the plugins, for the settings of methods.

    Raises:
        DataError: when a submission cannot be read.
    """

    def __init__(self, leaderboards: Path, registry: PluginRegistry) -> None:
        folder = leaderboards / SUBMISSIONS
        self._results = load_results(folder) if folder.is_dir() else []
        self._registry = registry

    def cells(self, requests: Iterable[Request], seeds: Sequence[int]) -> list[CellResult]:
        """Look up every cell: the newest submission of its method and version, settings, data, source and seed.

        The device does not count, nor do the code and the libraries that it was run with: the leaderboard takes such
        results as the same experiment, too.

        Raises:
            UsageError: when a method or a setting does not exist.
        """
        found = []
        for request in requests:
            method = self._registry.method(request.method)
            profile = profile_called(request.profile)
            config = canonical(make_config(method.thing, profile, request.settings or {}).model_dump(mode="json"))
            preset = (request.backbone or profile.backbone) if method.thing.uses_backbone else None
            like = [
                result
                for result in self._results
                if (result.method.name, result.method.version) == (method.thing.name, method.thing.version)
                and (result.dataset.name, result.shift.name) == (request.dataset, request.shift.rpartition(":")[2])
                and (result.shift.source, result.profile.name) == (request.source, request.profile)
                and (result.backbone.preset if result.backbone else None) == preset
                and canonical(result.method.config) == config
            ]
            for seed in seeds:
                of_seed = [result for result in like if result.seed == seed]
                newest = max(of_seed, key=lambda result: result.created, default=None)
                found.append(CellResult(request, seed, newest))
        return found
