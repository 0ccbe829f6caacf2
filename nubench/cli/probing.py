"""`nubench data-efficiency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, PluginOption, load_registry, make_console
from nubench.errors import UsageError

if TYPE_CHECKING:
    from nubench.evaluation.cached_embeddings import RunEmbeddings
    from nubench.evaluation.data_efficiency import CurvePoint


def data_efficiency(
    run: Annotated[str, typer.Argument(help="name of a finished run in the cache, as supcon-seed0-0123456789abcdef")],
    labels: Annotated[
        str | None, typer.Option(help="labels a class, separated by commas [default: 10,100,1000,... and all]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="random choices of the labelled events")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="of the random choices")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="CSV file to write, one line a fit and point")] = None,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Fit the probe on the cached embeddings of a run with 10, 100, 1,000, ... labels a class."""
    counts = None if labels is None else _counts(labels)
    from nubench.evaluation.cached_embeddings import load_run
    from nubench.evaluation.data_efficiency import joint_curve
    from nubench.runs.request import choose_device
    from nubench.storage.files import write_atomically

    found = load_run(run, cache_folder(cache), load_registry(plugin))
    curve = joint_curve(found.networks, counts, repeats=repeats, seed=seed, device=choose_device(device))
    _print(found, curve)
    if out is not None:
        write_atomically(out, _csv(run, curve).encode())


def _counts(labels: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in labels.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise UsageError(f"--labels {labels!r} must be whole numbers from 1 up, separated by commas, as 10,100,1000")
    return counts


def _print(found: RunEmbeddings, curve: tuple[CurvePoint, ...]) -> None:
    from rich.table import Table

    result = found.result
    source, *targets = result.shift.points
    table = Table(
        "labels a class",
        "labels",
        source,
        "mean over targets",
        "worst point",
        title=f"{result.method.name} seed {result.seed}, probe on frozen embeddings, accuracy in per cent",
        box=None,
    )
    for point in curve:
        means = {name: _mean(accuracies) for name, accuracies in point.accuracies.items()}
        over_targets = [_mean(of_repeat) for of_repeat in zip(*(point.accuracies[t] for t in targets), strict=True)]
        worst = min(targets, key=means.__getitem__)
        table.add_row(
            f"{point.labels_a_class:,}",
            f"{point.events:,}",
            _cell(point.accuracies[source]),
            _cell(over_targets),
            f"{100 * means[worst]:.1f} {worst}",
        )
    make_console().print(table)


def _mean(values: tuple[float, ...] | list[float]) -> float:
    return sum(values) / len(values)


def _cell(values: tuple[float, ...] | list[float]) -> str:
    from statistics import stdev

    mean = f"{100 * _mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * stdev(values):.1f}"


def _csv(run: str, curve: tuple[CurvePoint, ...]) -> str:
    lines = ["run,labels_a_class,labels,choice,point,accuracy,converged"]
    lines += [
        f"{run},{point.labels_a_class},{point.events},{choice},{name},{accuracy!r},{str(point.converged).lower()}"
        for point in curve
        for name, accuracies in point.accuracies.items()
        for choice, accuracy in enumerate(accuracies)
    ]
    return "\n".join(lines) + "\n"
