"""From the cached embeddings of a run to embeddings with labels, which the evaluation alone may join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nubench.errors import DataError, UsageError
from nubench.evaluation.data_efficiency import Labelled, Network
from nubench.evaluation.embeddings import EMBEDDINGS_FOLDER, Embedded, read_embeddings

if TYPE_CHECKING:
    from nubench.plugins.registry import PluginRegistry
    from nubench.results.schema import Result


@dataclass(frozen=True)
class RunEmbeddings:
    """The embeddings of one run with their labels.

    Attributes:
        result: of the run.
        networks: one, or for a method that is trained for each target one for each point.
    """

    result: Result
    networks: tuple[Network, ...]


def load_run(run: str, cache: Path, registry: PluginRegistry) -> RunEmbeddings:
    """Join the embeddings of a finished run with the labels of its data set.

    Args:
        run: its key in the cache, as ``supcon-seed0-0123456789abcdef``.
        cache: folder of the cache.
        registry: plugins, for the card of the data set.

    Raises:
        UsageError: when the cache has no such run; the message says which it has.
        DataError: when the run has no embeddings, or they are of other events than the data set has now.
    """
    from nubench.datasets.catalogue import card_called, open_dataset
    from nubench.evaluation.labels import load_labels
    from nubench.results.files import read_result

    result = read_result(_result_file(run, cache))
    parts = read_embeddings(_embeddings_file(run, cache))
    card = card_called(registry, cache, result.dataset.name)
    dataset = open_dataset(registry, cache, card, result.profile.name)
    if dataset.recipe_digest != result.dataset.recipe:
        raise DataError(
            f"run {run!r} used other data than {card.name!r} describes now; install the version of nubench that made it"
        )
    shift = card.shift(result.shift.name)
    points = shift.all_points(card.nominal, result.shift.source)
    source = dataset.load("train", shift.name, points[0])
    tests: dict[str, dict[str, Labelled]] = {}
    for point in points:
        known = load_labels(dataset, "test", shift.name, point)
        rows = _part(parts, f"test/{point.name}", run).of(known.truth.event_id)
        own = f"train/{point.name}"
        tests.setdefault(own if own in parts else "train", {})[point.name] = Labelled(rows, known.labels)
    networks = tuple(
        Network(Labelled(_part(parts, name, run).of(source.truth.event_id), source.labels), of_network)
        for name, of_network in tests.items()
    )
    return RunEmbeddings(result, networks)


def _part(parts: Mapping[str, Embedded], name: str, run: str) -> Embedded:
    if name not in parts:
        raise DataError(f"the embeddings of run {run!r} lack the part {name!r}; they have {', '.join(parts)}")
    return parts[name]


def _result_file(run: str, cache: Path) -> Path:
    known = {path.stem: path for path in sorted((cache / "results").glob("*.json"))}
    if run not in known:
        having = [name for name in known if (cache / EMBEDDINGS_FOLDER / f"{name}.safetensors").exists()]
        raise UsageError(
            f"unknown run {run!r}; the cache {cache} holds embeddings of: {', '.join(having) or '(no run)'}. "
            "`nubench run` prints the names of its runs"
        )
    return known[run]


def _embeddings_file(run: str, cache: Path) -> Path:
    path = cache / EMBEDDINGS_FOLDER / f"{run}.safetensors"
    if not path.exists():
        raise DataError(
            f"run {run!r} has no embeddings in the cache ({path}): its method may give none, or the run is older than "
            f"their storing. Remove {cache / 'results' / f'{run}.json'} and run it again; a finished training is used"
        )
    return path
