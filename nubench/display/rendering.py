"""Figures of matplotlib to bytes: the same figure and library versions give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH: Final = 120
_CLIP_PATH: Final = re.compile(rb"(?<=[\"#])p[0-9a-f]{10}(?=[\")])")


@contextmanager
def style() -> Iterator[None]:
    """The look of every picture; figures are made and rendered inside."""
    import matplotlib as mpl
    import seaborn as sns

    # Constant identifiers, and letters as outlines, make a file a function of the figure alone. Labels may hold any
    # text, so no dollar sign starts a formula.
    reproducible = mpl.rc_context({"svg.hashsalt": "nubench", "svg.fonttype": "path", "text.parse_math": False})
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85), reproducible:
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches; not one of pyplot's: no display is asked for and none is left open."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure) -> bytes:
    """Render as PNG."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return png.getvalue()


def svg_of(figure: Figure) -> bytes:
    """Render as SVG."""
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    # The layout's solver differs in the last bits of a position from call to call. They are rounded away everywhere
    # but in the names of clip paths, which are hashes of positions: those become numbers in order of appearance.
    numbers: dict[bytes, bytes] = {}
    return _CLIP_PATH.sub(lambda name: numbers.setdefault(name[0], b"clip%d" % len(numbers)), svg.getvalue())
