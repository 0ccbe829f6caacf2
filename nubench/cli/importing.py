"""`nubench data import` and `nubench data fetch`: data sets that others made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import CacheOption, PluginOption, load_registry, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.datasets.dataset import Dataset
    from nubench.importing.plans import ImportPlan

FractionsOption = Annotated[
    str, typer.Option("--fractions", help="shares of train, val, adapt and test, where files do not say")
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**64 - 1, help="seed of the sharing out, the order and the masking")
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="replace an imported data set of the same name")]
OriginOption = Annotated[
    str | None, typer.Option(help="scintillator-dicts: positions count from the centre or the corner [default: found]")
]


def import_(
    path: Annotated[Path, typer.Argument(help="file or folder")],
    format_: Annotated[
        str, typer.Option("--format", help="segments, larnd-sim-npz or scintillator-dicts", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", help="of the data set to be", show_default=False)],
    fractions: FractionsOption = "0.7,0.1,0.1,0.1",
    seed: SeedOption = 0,
    axes: Annotated[str, typer.Option(help="segments: xyz, x is the drift axis; or zyx, z is")] = "xyz",
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="segments: a class to keep; may be given several times [default: all]"),
    ] = None,
    adapt_fraction: Annotated[
        float, typer.Option(min=0, max=0.9, help="larnd-sim-npz: share of test set aside where there is no adapt")
    ] = 0.25,
    origin: OriginOption = None,
    like: Annotated[
        str | None, typer.Option(help="data set whose detector is meant [default: the format's]", show_default=False)
    ] = None,
    replace: ReplaceOption = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Make a data set of the files of another program."""
    from nubench.importing.installing import import_dataset
    from nubench.importing.plans import ImportSettings
    from nubench.importing.splits import parse_fractions
    from nubench.progress import ConsoleProgress

    console = make_console()
    settings = ImportSettings(
        format=format_,
        path=path,
        name=name,
        fractions=parse_fractions(fractions),
        seed=seed,
        axes=axes,
        classes=tuple(sorted(set(class_))) if class_ else None,
        adapt_fraction=adapt_fraction,
        origin=origin,
    )
    registry, folder = load_registry(plugin), cache_folder(cache)
    plan, dataset = import_dataset(settings, registry, folder, ConsoleProgress(console), like=like, overwrite=replace)
    _report(console, plan, dataset)


def fetch(
    what: Annotated[str, typer.Argument(help="public data set: segmented-cube")],
    fractions: FractionsOption = "0.7,0.1,0.1,0.1",
    seed: SeedOption = 0,
    origin: OriginOption = None,
    replace: ReplaceOption = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Download a public data set by its DOI, and import it under its name."""
    from nubench.importing.fetching import fetch_dataset
    from nubench.importing.splits import parse_fractions
    from nubench.progress import ConsoleProgress

    console = make_console()
    registry, folder = load_registry(plugin), cache_folder(cache)
    plan, dataset = fetch_dataset(
        what,
        registry,
        folder,
        ConsoleProgress(console),
        fractions=parse_fractions(fractions),
        seed=seed,
        origin=origin,
        overwrite=replace,
    )
    _report(console, plan, dataset)


def _report(console: Console, plan: ImportPlan, dataset: Dataset) -> None:
    """Print how many events there are and what was found on the way."""
    from rich.table import Table

    table = Table("class", *plan.counts, box=None, pad_edge=False)
    for name in plan.card.class_names:
        table.add_row(name, *(f"{counts[name]:,}" for counts in plan.counts.values()))
    console.print(table)
    lines = list(plan.notes)
    few = {file: record.dropped for file, record in dataset.manifest().files.items() if record.dropped}
    for file, dropped in sorted(few.items()):
        lines.append(f"{dropped:,} events of {file.removesuffix('.h5')} have fewer than {plan.card.minimum_hits} hits")
    for line in lines:
        console.print(f"- {line}", highlight=False, soft_wrap=True)
    shift = plan.card.shifts[0].name
    console.print(
        f"{dataset.directory}\nTrain on it: nubench run --method supcon --dataset {plan.card.name} --shift {shift}",
        highlight=False,
        soft_wrap=True,
    )
