"""A chart as a value: what is drawn, without how. One renderer makes PNG and SVG of it, another an interactive plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, Literal

#: The palette "colorblind" of seaborn, without its yellow and its pale pink, which white swallows.
COLOURS: Final = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")
#: Beyond the colours, marks tell series apart: names of plotly, then of matplotlib.
SYMBOLS: Final = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("x", "X"), ("star", "*"))
#: Beyond the colours, fillings tell bars apart: names of plotly, then of matplotlib. Strokes are of rows not ranked.
FILLINGS: Final = (("", ""), (".", ".."), ("-", "---"), ("x", "xxx"))
STROKES: Final = ("/", "///")
#: Cells from the lowest to the highest number: nine places of "viridis", which colour-blind eyes can order too.
SHADES: Final = (
    *("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"),
    *("#28ae80", "#5ec962", "#addc30", "#fde725"),
)

#: Shades darker than this take white numbers.
_DARK: Final = 0.43

#: Width of a gap between columns of cells.
_GAP: Final = 0.25

Kind = Literal["bars", "marks", "lines", "joins", "cells"]
Errors = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Series:
    """Numbers of one row of a board.

    Attributes:
        name: of the row, any text; equal names in several panels share a look and one entry of the legend.
        x: (N,) numbers, or the panel's categories.
        y: (N,) numbers.
        number: decides its colour and mark.
        apart: it is not ranked, and is drawn hatched or hollow.
        errors_x: (N,) lengths (below, above) of error bars, or none.
        errors_y: the same for y.
        notes: (N,) what the mouse finds on each mark.
        kind: ``joins`` are thick grey lines without a place in the legend; ``cells`` are a line of coloured cells with
            their numbers, at the height of :attr:`number`.
    """

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float, ...]
    number: int
    kind: Kind
    apart: bool = False
    errors_x: Errors = ()
    errors_y: Errors = ()
    notes: tuple[str, ...] = ()

    @property
    def colour(self) -> str:
        """Its colour, as CSS writes it."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def symbol(self) -> tuple[str, str]:
        """Its mark as plotly and as matplotlib call it."""
        return SYMBOLS[self.number // len(COLOURS) % len(SYMBOLS)]

    @property
    def filling(self) -> tuple[str, str]:
        """What its bars are filled with, as plotly and as matplotlib call it."""
        return STROKES if self.apart else FILLINGS[self.number // len(COLOURS) % len(FILLINGS)]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x_title, y_title: of the axes; line ends part them where they are long.
        categories: of the x axis, in order, where it has no numbers; an empty one parts cells.
        ticks_y: texts of the y axis at 0, 1, ..., from top to bottom, where it has no numbers.
        range_y: fixed limits, or at least these when ``grows`` is set.
        range_shades: numbers that the colours of cells begin and end at.
        lines_y: levels to compare with, and what they are.
        height: relative to the panels that it stands above.
    """

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    categories: tuple[str, ...] = ()
    ticks_y: tuple[str, ...] = ()
    range_y: tuple[float, float] | None = None
    grows: bool = False
    range_shades: tuple[float, float] | None = None
    lines_y: tuple[tuple[float, str], ...] = ()
    log_x: bool = False
    height: float = 1.0

    @property
    def columns(self) -> dict[str, tuple[float, float]]:
        """Left and right end of each category of cells, 1 wide; those without a name are narrow gaps."""
        ends = [0.0, *accumulate(1.0 if name else _GAP for name in self.categories)]
        return dict(zip(self.categories, pairwise(ends), strict=True))

    @property
    def heads(self) -> dict[str, float]:
        """The middle of each category of cells that has a name."""
        return {name: (left + right) / 2 for name, (left, right) in self.columns.items() if name}

    @property
    def width(self) -> float:
        """Of all categories of cells together."""
        return max(right for _, right in self.columns.values())


@dataclass(frozen=True)
class Chart:
    """Panels that belong together.

    Attributes:
        name: of its files, without an ending.
        title: above it.
        caption: what it shows and how to read it; stands for the picture where none can be seen.
        stacked: panels stand above each other and share their x axis, instead of side by side.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    stacked: bool = False

    @property
    def legend(self) -> tuple[Series, ...]:
        """One series of each name, in the order of their numbers."""
        found = {one.name: one for panel in self.panels for one in panel.series if one.kind != "joins"}
        return tuple(sorted(found.values(), key=lambda one: one.number))


def ink_on(value: float, limits: tuple[float, float]) -> Literal["white", "black"]:
    """Return the colour in which a number can be read on the shade of its cell.

    Args:
        value: the number.
        limits: the numbers of the first and the last of :data:`SHADES`.

    Example:
        >>> ink_on(20, (20, 100)), ink_on(100, (20, 100))
        ('white', 'black')
    """
    low, high = limits
    place = min(max((value - low) / (high - low), 0.0), 1.0) * (len(SHADES) - 1)
    lower = min(int(place), len(SHADES) - 2)
    below, above = (_lightness(shade) for shade in SHADES[lower : lower + 2])
    return "white" if below + (place - lower) * (above - below) < _DARK else "black"


def _lightness(shade: str) -> float:
    """The luma of ITU-R BT.709, 0 to 1, of a colour as #rrggbb."""
    red, green, blue = (int(shade[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis: at least a factor of ten apart, or two like values would look far apart.

    Args:
        values: (N >= 1,) positive numbers.

    Example:
        >>> low, high = log_range([100.0])
        >>> round(low, 6), round(high, 6)
        (31.622777, 316.227766)
    """
    low, high = min(values) / 1.3, max(values) * 1.3
    widen = max(10 * low / high, 1.0) ** 0.5
    return low / widen, high * widen
