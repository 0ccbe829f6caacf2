"""`nubench data plot`: check a data set by eye."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cli.options import CacheOption, PluginOption, ProfileOption, dataset_called, make_console, shifts_of
from nubench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nubench.display.dataset_page import DatasetPage


def data_plot(
    name: Annotated[str, typer.Argument(help="data set")],
    shift: Annotated[str | None, typer.Option(help="axis to plot [default: all that are built]")] = None,
    profile: ProfileOption = "smoke",
    out: Annotated[Path, typer.Option("--out", help="folder for the pictures")] = Path("pictures"),
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
) -> None:
    """Plot charge spectra, hits and dropped events of the test events that are built, one page a shift."""
    from nubench.display.dataset_page import draw_page
    from nubench.display.summaries import summarise_shift
    from nubench.storage.files import write_atomically

    dataset = dataset_called(name, profile, plugin, cache, None, shift)
    console = make_console()
    drawn = 0
    for axis in shifts_of(dataset.card, shift):
        page, missing = summarise_shift(dataset, axis)
        build = f"nubench data build {name} --shift {axis.name} --profile {profile}"
        if page is None:
            _say(console, f"Shift {axis.name} is not built; `{build}` builds it.")
            continue
        if missing:
            _say(console, f"Shift {axis.name} lacks {', '.join(missing)}; `{build}` builds them.")
        stem = out / f"data-{name}-{profile}-{axis.name}"
        png, svg = draw_page(page)
        for ending, content in (("png", png), ("svg", svg)):
            write_atomically(Path(f"{stem}.{ending}"), content)
        _print_table(console, page)
        _say(console, f"Picture: {stem}.png\n")
        drawn += 1
    if not drawn:
        raise UsageError(
            f"data set {name!r} with profile {profile!r} has no test events at nominal and at another point; "
            f"run `nubench data build {name} --profile {profile}`"
        )


def _print_table(console: Console, page: DatasetPage) -> None:
    from rich.table import Table

    table = Table(title=f"{page.title}, shift {page.shift}", title_justify="left", box=None, pad_edge=False)
    for column in ("point", "strength", "events", "dropped", f"mean {page.feature}", "median hits"):
        table.add_column(column, justify="left" if column == "point" else "right")
    for point in page.points:
        _, median, _ = point.hit_quantiles
        table.add_row(
            *(point.point, f"{point.strength:g}", f"{point.events:,}", f"{point.dropped:,}"),
            *(f"{point.mean_charge:.1f}", f"{median:,.0f}"),
        )
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
