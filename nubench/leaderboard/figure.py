"""A leaderboard as a picture, after Fig. 3 of arXiv 2502.07724: accuracy at every point, and its change."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Final, NamedTuple

from nubench.leaderboard.boards import Board
from nubench.leaderboard.table import frame_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR_INCHES: Final = 0.13
_WIDTH_INCHES: Final = (6.0, 24.0)
_COLOURS: Final = 10


class Pictures(NamedTuple):
    """The same figure in two file formats."""

    png: bytes
    svg: bytes


def draw(board: Board) -> Pictures:
    """Draw a board: grouped bars of accuracy by point, below them the change from the source.

    Bars are means over seeds, error bars their standard deviation. Rows that are not ranked are hatched.

    Returns:
        The picture files; the same results and library versions give the same bytes.
    """
    import matplotlib as mpl
    import seaborn as sns

    # Constant identifiers, and letters as outlines, make the file a function of the results alone. Labels may
    # hold any text, so no dollar sign starts a formula.
    reproducible = mpl.rc_context({"svg.hashsalt": "nubench", "svg.fonttype": "path", "text.parse_math": False})
    png, svg = io.BytesIO(), io.BytesIO()
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85), reproducible:
        figure = _figure(board)
        figure.savefig(png, format="png", dpi=130, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Pictures(png.getvalue(), svg.getvalue())


def _figure(board: Board) -> Figure:
    # A Figure of its own, not pyplot's: no display is asked for and none is left open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = len(board.points) * (len(board.rows) + 1.5)
    width = min(max(bars * _BAR_INCHES, _WIDTH_INCHES[0]), _WIDTH_INCHES[1])
    labels = {row.label: _legend_label(row.label, row.rank) for row in board.rows}
    legend_width = 0.075 * max(len(line) for label in labels.values() for line in label.splitlines()) + 0.7
    figure = Figure(figsize=(width + legend_width, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes, column in ((upper, "accuracy"), (lower, "change_from_source")):
        _draw_bars(axes, board, column)
    chance = 100 / len(board.example.dataset.classes)
    upper.axhline(chance, color="0.35", linestyle="--", linewidth=1, label=f"guessing ({chance:.0f}%)")
    upper.set(ylabel="test accuracy (%)", ylim=(0, 100), xlabel="")
    upper.set_title(board.title, pad=12)
    lower.axhline(0, color="0.35", linewidth=1)
    lower.set(ylabel=f"change from {board.example.shift.source}\n(percentage points)", xlabel=board.example.shift.name)
    # A flat board must not be magnified into a mountain range.
    bottom, top = lower.get_ylim()
    lower.set_ylim(min(bottom, -5), max(top, 2))
    if sum(map(len, board.points)) > 9 * width:
        lower.tick_params(axis="x", labelrotation=35)
    handles, names = upper.get_legend_handles_labels()
    figure.legend(
        handles, [labels.get(name, name) for name in names], loc="outside right upper", frameon=False, labelspacing=0.8
    )
    return figure


def _draw_bars(axes: Axes, board: Board, column: str) -> None:
    import seaborn as sns

    data = frame_of(board)
    data[column] *= 100
    palette = sns.color_palette("colorblind", _COLOURS)
    names = [row.label for row in board.rows]
    sns.barplot(
        data=data,
        x="point",
        y=column,
        hue="label",
        order=board.points,
        hue_order=names,
        palette=[palette[number % _COLOURS] for number in range(len(names))],
        saturation=1,
        width=min(0.8, 0.2 * len(names)),
        errorbar="sd",
        err_kws={"linewidth": 1.1, "color": "0.15"},
        ax=axes,
        legend="full",
    )
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    for number, (bars, row) in enumerate(zip(axes.containers, board.rows, strict=False)):
        # Colours repeat after ten rows; hatching tells those apart, and the rows that are not ranked.
        hatch = "///" if row.rank is None else "" if number < _COLOURS else "..."
        for bar in bars:
            bar.set(hatch=hatch, edgecolor="white", linewidth=0.3)
    axes.grid(visible=False, axis="x")
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)


def _legend_label(label: str, rank: int | None) -> str:
    return textwrap.fill(label if rank else f"{label} (not ranked)", 28)
