"""`nubench simulate`: a detector's response to the deposits in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nubench.cli.options import PluginOption, load_registry, make_console, parse_settings
from nubench.errors import UsageError


def simulate(
    detector: Annotated[str, typer.Argument(help="detector, e.g. lartpc or scintillator")],
    deposits: Annotated[
        Path, typer.Option("--deposits", help="segments of edep-sim or larnd-sim, HDF5", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="file of events to write", show_default=False)],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a parameter of the detector", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the noise")] = 0,
    axes: Annotated[str, typer.Option(help="xyz: x is the drift axis; zyx: z is, as inside larnd-sim")] = "xyz",
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there")] = False,
    plugin: PluginOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
) -> None:
    """Simulate a detector's response to the segments of a file, and write the events in nubench's own layout."""
    from nubench.importing.segment_tables import check_axes
    from nubench.importing.simulating import nominal_parameters, simulate_file
    from nubench.progress import ConsoleProgress

    console = make_console()
    registry = load_registry(plugin)
    chosen = registry.detector(detector).thing
    changed = {name: _value(text) for name, text in parse_settings(setting or []).items()}
    check_axes(axes)
    if not deposits.is_file():
        raise UsageError(f"--deposits: {deposits} does not exist or is not a file")
    if out.exists() and out.samefile(deposits):
        raise UsageError(f"--out {str(out)!r} is the file of --deposits")
    if out.exists() and not force:
        raise UsageError(f"--out {str(out)!r} exists; choose another name, or --force to replace it")
    done = simulate_file(
        deposits,
        out,
        chosen,
        nominal_parameters(registry, chosen.name),
        changed,
        seed=seed,
        axes=axes,
        progress=ConsoleProgress(console),
    )
    ratio = f", {done.hits / done.energy_mev:.2f} a MeV" if done.energy_mev > 0 else ""
    console.print(
        f"{done.events:,} events of {', '.join(done.classes)}: {done.energy_mev:,.1f} MeV deposited, {done.hits:,} hits"
        f"{ratio}, in {done.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    if done.without_energy:
        console.print(f"{done.without_energy:,} segments without energy were left out", highlight=False)
    console.print(str(out), highlight=False, soft_wrap=True)


def _value(text: str) -> float | str:
    """A number where it is one; a parameter may also be a word (``recombination=box``)."""
    try:
        return float(text)
    except ValueError:
        return text
