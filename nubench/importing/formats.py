"""The formats that can be imported, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from nubench.datasets.cards import Card
from nubench.errors import UsageError, unknown_name
from nubench.importing.larndsim_import import plan_larndsim
from nubench.importing.plans import ImportPlan, ImportSettings
from nubench.importing.scintillator_import import plan_scintillator
from nubench.importing.segment_import import plan_segments
from nubench.progress import Progress


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: one line.
        options: those of :class:`ImportSettings` that it looks at, beside the ones that all formats share.
        template: data set whose detector, normalisation and noise are taken over, unless another one is named.
        any_detector: whether it brings deposits, which any detector can respond to, not events of one detector.
        plan: reads and checks the files.
    """

    title: str
    options: tuple[str, ...]
    template: str
    any_detector: bool
    plan: Callable[[ImportSettings, Card, Progress], ImportPlan]


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "segments": Format(
            "HDF5 segments of edep-sim, which larnd-sim reads",
            ("fractions", "axes", "classes"),
            "lartpc",
            True,
            plan_segments,
        ),
        "larnd-sim-npz": Format(
            "{split}/{class}/*.npz, one larnd-sim event a file", ("adapt_fraction",), "lartpc", False, plan_larndsim
        ),
        "scintillator-dicts": Format(
            "{class}/*, one event a file of cubes", ("fractions", "origin"), "scintillator", False, plan_scintillator
        ),
    }
)


_OPTIONS: Final = {
    "fractions": "--fractions",
    "axes": "--axes",
    "classes": "--class",
    "adapt_fraction": "--adapt-fraction",
    "origin": "--origin",
}


def format_called(name: str) -> Format:
    """Find a format.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]


def check_options(settings: ImportSettings) -> None:
    """Refuse options that the format does not look at: they were meant to change something.

    Raises:
        UsageError: when one is not at its default.
    """
    chosen = format_called(settings.format)
    default = ImportSettings(settings.format, settings.path, settings.name)
    for name, option in _OPTIONS.items():
        if name not in chosen.options and getattr(settings, name) != getattr(default, name):
            having = [known for known, other in FORMATS.items() if name in other.options]
            raise UsageError(f"{option} means nothing to --format {settings.format}; it is for {', '.join(having)}")
