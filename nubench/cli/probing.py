"""`nubench data-efficiency`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, PluginOption, load_registry, make_console
from nubench.errors import UsageError

if TYPE_CHECKING:
    from nubench.display.label_curves import Form
    from nubench.evaluation.data_efficiency import CurvePoint
    from nubench.results.schema import Result


def data_efficiency(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="names of finished runs in the cache, as supcon-seed0-0123456789abcdef"),
    ],
    labels: Annotated[
        str | None, typer.Option(help="labels a class, separated by commas [default: 10,100,1000,... and all]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="random choices of the labelled events")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="of the random choices")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="CSV file to write, one line a fit and point")] = None,
    figure: Annotated[Path | None, typer.Option(help="picture of the curves to write, .png or .svg")] = None,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Fit the probe on the cached embeddings of runs with 10, 100, 1,000, ... labels a class."""
    counts = None if labels is None else _counts(labels)
    form = None if figure is None else _form(figure)
    from nubench.display.label_curves import LabelCurve, draw_label_curves
    from nubench.evaluation.cached_embeddings import load_run
    from nubench.evaluation.data_efficiency import joint_curve
    from nubench.runs.request import choose_device
    from nubench.storage.files import write_atomically

    registry = load_registry(plugin)
    results: dict[str, Result] = {}
    curves: dict[str, tuple[CurvePoint, ...]] = {}
    for run in runs:
        found = load_run(run, cache_folder(cache), registry)
        results[run] = found.result
        _check_alike(results)
        curves[run] = joint_curve(found.networks, counts, repeats=repeats, seed=seed, device=choose_device(device))
        _print(found.result, curves[run])
    if out is not None:
        write_atomically(out, _csv(curves).encode())
    if figure is not None and form is not None:
        source, *targets = results[runs[0]].shift.points
        drawn = [LabelCurve(name, curves[run]) for run, name in _names(results).items()]
        write_atomically(figure, draw_label_curves(drawn, source, targets, form))


def _counts(labels: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in labels.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise UsageError(f"--labels {labels!r} must be whole numbers from 1 up, separated by commas, as 10,100,1000")
    return counts


def _form(figure: Path) -> Form:
    match figure.suffix:
        case ".png":
            return "png"
        case ".svg":
            return "svg"
    raise UsageError(f"--figure {str(figure)!r} must end in .png or .svg")


def _check_alike(results: Mapping[str, Result]) -> None:
    """Curves over other events, or over other targets, are not compared."""
    (first, expected), *others = ((run, _tested_on(result)) for run, result in results.items())
    for run, tested_on in others:
        if tested_on != expected:
            raise UsageError(f"runs {first!r} ({expected}) and {run!r} ({tested_on}) are tested on different events")


def _tested_on(result: Result) -> str:
    data, shift = result.dataset, result.shift
    return f"{data.name} {data.recipe[:10]}, shift {shift.name}, points {', '.join(shift.points)}"


def _names(results: Mapping[str, Result]) -> dict[str, str]:
    """What a legend calls the runs: method and seed, or where these are not enough, the name of the run."""
    short = {run: f"{result.method.name}, seed {result.seed}" for run, result in results.items()}
    return short if len(set(short.values())) == len(short) else {run: run for run in results}


def _print(result: Result, curve: tuple[CurvePoint, ...]) -> None:
    from statistics import mean

    from rich.table import Table

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
        means = {name: mean(accuracies) for name, accuracies in point.accuracies.items()}
        worst = min(targets, key=means.__getitem__)
        table.add_row(
            f"{point.labels_a_class:,}",
            f"{point.events:,}",
            _cell(point.accuracies[source]),
            _cell(point.mean_over(targets)),
            f"{100 * means[worst]:.1f} {worst}",
        )
    make_console().print(table)


def _cell(values: tuple[float, ...]) -> str:
    from statistics import mean, stdev

    middle = f"{100 * mean(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ± {100 * stdev(values):.1f}"


def _csv(curves: Mapping[str, tuple[CurvePoint, ...]]) -> str:
    lines = ["run,labels_a_class,labels,choice,point,accuracy,converged"]
    lines += [
        f"{run},{point.labels_a_class},{point.events},{choice},{name},{accuracy!r},{str(point.converged).lower()}"
        for run, curve in curves.items()
        for point in curve
        for name, accuracies in point.accuracies.items()
        for choice, accuracy in enumerate(accuracies)
    ]
    return "\n".join(lines) + "\n"
