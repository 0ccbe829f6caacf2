"""`nubench show`: draw one event."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nubench.cache import cache_folder
from nubench.cli.options import (
    CacheOption,
    PluginOption,
    ProcessesOption,
    ProfileOption,
    load_registry,
    make_console,
)
from nubench.errors import UsageError

if TYPE_CHECKING:
    from nubench.display.views import EventView

_DEFAULT_DATASET = "lartpc"


def show(
    event: Annotated[int, typer.Argument(min=0, help="id of the event, or its number in the split, counted from 0")],
    dataset: Annotated[
        str | None, typer.Option(help="data set [default: the one that has the shift, or lartpc]")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val, adapt or test [default: that of the id, or test]")
    ] = None,
    shift: Annotated[
        str | None,
        typer.Option(help="axis of the point beside nominal [default: the first, or the first with the point]"),
    ] = None,
    point: Annotated[
        str | None, typer.Option(help="point beside nominal; nominal: none [default: the strongest]")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="draw an event of this file, instead of one of a data set")
    ] = None,
    profile: ProfileOption = "smoke",
    out: Annotated[Path, typer.Option("--out", help="folder for the pictures")] = Path("pictures"),
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    cache: CacheOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Draw one event at nominal, at a shift point, and the difference: a page to turn with the mouse, and a PNG."""
    if file is not None:
        given = {"--dataset": dataset, "--split": split, "--shift": shift, "--point": point}
        useless = [name for name, value in given.items() if value is not None]
        if useless:
            raise UsageError(f"{', '.join(useless)} cannot be given with --file: the file is of one point")
        if not file.is_file():
            raise UsageError(f"--file: {file} does not exist or is not a file")
        _write(_from_file(event, file, plugin), out, file.stem)
        return

    from nubench.datasets.catalogue import find_card, open_dataset
    from nubench.display.loading import load_view
    from nubench.display.selection import choose_event, choose_point
    from nubench.profiles import profile_called
    from nubench.progress import ConsoleProgress

    registry, folder = load_registry(plugin), cache_folder(cache)
    if dataset is None and shift is None:
        dataset = _DEFAULT_DATASET
    card = find_card(registry, folder, dataset, shift or "")
    chosen_split, event_id = choose_event(card, profile_called(profile).name, event, split)
    axis, target = choose_point(card, chosen_split, shift, point)
    opened = open_dataset(registry, folder, card, profile, processes)
    view = load_view(opened, chosen_split, event_id, axis, target, ConsoleProgress(make_console()))
    name = card.name if axis is None or target is None else f"{card.name}-{axis.name}-{target.name}"
    _write(view, out, name)


def _from_file(event: int, file: Path, plugin: list[Path]) -> EventView:
    from nubench.display.loading import view_from_file
    from nubench.events.foreign_files import read_foreign_attributes

    attributes = read_foreign_attributes(file)
    return view_from_file(file, event, attributes, load_registry(plugin).detector(attributes.detector).thing)


def _write(view: EventView, folder: Path, name: str) -> None:
    from nubench.display.event3d import draw_event_page
    from nubench.display.event_png import draw_event
    from nubench.storage.files import write_atomically

    stem = folder / f"event-{name}-{view.particle.event_id}"
    page, picture = Path(f"{stem}.html"), Path(f"{stem}.png")
    write_atomically(page, draw_event_page(view).encode())
    write_atomically(picture, draw_event(view))
    console = make_console()
    hits = ", ".join(f"{len(hits):,} hits at {point}" for point, hits in view.hits.items())
    for line in (f"{view.particle.title}: {hits}", *view.notes, f"Page:    {page}", f"Picture: {picture}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
