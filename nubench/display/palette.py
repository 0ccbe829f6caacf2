"""Colours that all pictures share: readable on white, and told apart by colour-blind eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap

#: Viridis without its yellow end, which white swallows.
CHARGE: Final = ("#440154", "#482173", "#433e85", "#38598c", "#2d708e", "#25858e", "#1e9b8a", "#42be71", "#8bd646")
#: Blue to orange; the middle is grey, where the usual white would hide what did not change.
CHANGE: Final = ("#08519c", "#4a90c9", "#bdbdbd", "#e8853a", "#a63603")
#: Inferno without its black and yellow ends: black is nominal.
STRENGTH: Final = ("#420a68", "#6a176e", "#932667", "#bc3754", "#dd513a", "#f37819", "#f5a623")
APPEARED: Final = "#009e73"
VANISHED: Final = "#111111"
TRUTH: Final = "#d6006c"
NOMINAL: Final = "#000000"


def colour_map(colours: tuple[str, ...]) -> LinearSegmentedColormap:
    """The colours as a map of matplotlib."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("nubench", list(colours))


def colour_scale(colours: tuple[str, ...]) -> list[tuple[float, str]]:
    """The colours as a scale of plotly."""
    return [(number / (len(colours) - 1), colour) for number, colour in enumerate(colours)]
