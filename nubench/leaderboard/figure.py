"""A chart as PNG and SVG."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nubench.display.rendering import new_figure, png_of, style, svg_of
from nubench.leaderboard.charts import SHADES, Chart, Panel, Series, ink_on, log_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR_INCHES: Final = 0.13
_BARS_WIDTH: Final = (6.0, 24.0)
_PANEL_INCHES: Final = (4.8, 4.2)
_ROW_INCHES: Final = 0.42
#: A cell of a table of colours.
_CELL_INCHES: Final = (0.62, 0.32)
_NAMES_INCHES: Final = 2.2
_MOST_IN_A_ROW: Final = 3
#: An entry of the legend, and a further line of its text.
_ENTRY_INCHES: Final = 0.25
_LINE_INCHES: Final = 0.15
_LABEL_WIDTH: Final = 28
_GREY: Final = "0.35"
#: Characters above a column of cells.
_HEAD_WIDTH: Final = 9


class Pictures(NamedTuple):
    """The same chart in two file formats."""

    png: bytes
    svg: bytes


def draw(chart: Chart, subtitle: str = "") -> Pictures:
    """Draw a chart, with the board's name below its title.

    Returns:
        The picture files; the same chart and library versions give the same bytes.
    """
    with style():
        figure = _figure(chart, subtitle)
        # The layout is found once, not once a format.
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        return Pictures(png_of(figure), svg_of(figure))


def _figure(chart: Chart, subtitle: str) -> Figure:
    columns = 1 if chart.stacked else len(chart.panels)
    if columns > _MOST_IN_A_ROW:
        columns = 2
    rows = math.ceil(len(chart.panels) / columns)
    handles = _legend_handles(chart)
    has_legend = not any(panel.ticks_y for panel in chart.panels)
    labels = [_legend_label(one) for one in chart.legend]
    legend_width = 0.075 * max((len(line) for label in labels for line in label.splitlines()), default=0) + 0.9
    width, height = _size(chart, rows, columns)
    figure = new_figure(width + legend_width * has_legend, max(height, _legend_height(handles) * has_legend))
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=chart.stacked,
        height_ratios=[panel.height for panel in chart.panels] if chart.stacked else None,
    )
    places = list(grid.flat)
    for axes, panel in zip(places, chart.panels, strict=False):
        _draw_panel(axes, panel, width / columns, is_lowest=not chart.stacked or panel is chart.panels[-1])
    for axes in places[len(chart.panels) :]:
        axes.remove()
    # In the middle of the panels: the legend begins as high as the title.
    middle = 0.5 * width / (width + legend_width * has_legend)
    figure.suptitle("\n".join(line for line in (chart.title, subtitle) if line), x=middle, fontsize="medium")
    if has_legend:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, labelspacing=0.8)
    return figure


def _size(chart: Chart, rows: int, columns: int) -> tuple[float, float]:
    if chart.panels[0].range_shades:
        width, height = _CELL_INCHES
        return max(_NAMES_INCHES + width * chart.panels[0].width, _BARS_WIDTH[0]), 1.4 + height * len(
            chart.panels[0].ticks_y
        )
    if chart.panels[0].categories:
        bars = len(chart.panels[0].categories) * (len(chart.panels[0].series) + 1.5)
        return min(max(bars * _BAR_INCHES, _BARS_WIDTH[0]), _BARS_WIDTH[1]), 6.0
    if chart.panels[0].ticks_y:
        return 8.0, 1.6 + _ROW_INCHES * len(chart.panels[0].ticks_y)
    return columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]


def _legend_height(handles: list[Any]) -> float:
    """Inches that the entries of the legend take, one below the other."""
    further_lines: int = sum(handle.get_label().count("\n") for handle in handles)
    return 0.3 + _ENTRY_INCHES * len(handles) + _LINE_INCHES * further_lines


def _draw_panel(axes: Axes, panel: Panel, width: float, is_lowest: bool) -> None:
    if panel.range_shades:
        _draw_cells(axes, panel, panel.range_shades)
        return
    drawn = [one for one in panel.series if one.kind != "joins"]
    for place, one in enumerate(panel.series):
        if one.kind == "bars":
            _draw_bars(axes, one, place, len(drawn))
        elif one.kind == "joins":
            axes.plot(one.x, one.y, color=_GREY, linewidth=4, solid_capstyle="butt")
        else:
            _draw_marks(axes, one)
    if panel.categories:
        axes.set_xticks(range(len(panel.categories)), panel.categories)
        axes.set_xlim(-0.6, len(panel.categories) - 0.4)
        axes.grid(visible=False, axis="x")
        if sum(map(len, panel.categories)) > 9 * width:
            axes.tick_params(axis="x", labelrotation=35)
    if panel.log_x:
        _make_logarithmic(axes, [float(x) for one in panel.series for x in one.x])
    if panel.ticks_y:
        axes.set_yticks(range(len(panel.ticks_y)), [textwrap.fill(tick, _LABEL_WIDTH) for tick in panel.ticks_y])
        axes.set_ylim(len(panel.ticks_y) - 0.4, -0.6)
    for level, label in panel.lines_y:
        axes.axhline(level, **_line_look(label))
    if panel.range_y:
        low, high = panel.range_y
        bottom, top = axes.get_ylim()
        axes.set_ylim(min(bottom, low) if panel.grows and low < 0 else low, max(top, high) if panel.grows else high)
    axes.set(title=panel.title, xlabel=panel.x_title if is_lowest else "", ylabel=panel.y_title)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_cells(axes: Axes, panel: Panel, limits: tuple[float, float]) -> None:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shades = LinearSegmentedColormap.from_list("shades", SHADES)
    scale = Normalize(*limits, clip=True)
    heads = panel.heads
    for one in panel.series:
        for category, value in zip(one.x, one.y, strict=True):
            middle = heads[str(category)]
            axes.bar(middle, 0.92, 0.94, one.number - 0.46, color=shades(scale(value)), linewidth=0)
            axes.text(middle, one.number, f"{value:.0f}", color=ink_on(value, limits), ha="center", va="center")
    axes.set_xticks(list(heads.values()), [textwrap.fill(name, _HEAD_WIDTH) for name in heads])
    axes.set_yticks(range(len(panel.ticks_y)), [textwrap.fill(name, _LABEL_WIDTH) for name in panel.ticks_y])
    axes.set(xlim=(0, panel.width), ylim=(len(panel.ticks_y) - 0.5, -0.5))
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False, left=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _make_logarithmic(axes: Axes, values: list[float]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = log_range(values)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_bars(axes: Axes, one: Series, place: int, together: int) -> None:
    width = min(0.8, 0.2 * together) / together
    offset = (place - (together - 1) / 2) * width
    axes.bar(
        [number + offset for number in range(len(one.x))],
        one.y,
        width,
        yerr=_error_bars(one.errors_y),
        error_kw={"linewidth": 1.1, "ecolor": "0.15"},
        **_bar_look(one),
    )


def _bar_look(one: Series) -> dict[str, Any]:
    return {
        "facecolor": one.colour,
        "hatch": one.filling[1],
        "edgecolor": "white",
        "linewidth": 0.3,
    }


def _draw_marks(axes: Axes, one: Series) -> None:
    axes.errorbar(
        one.x,
        one.y,
        xerr=_error_bars(one.errors_x),
        yerr=_error_bars(one.errors_y),
        elinewidth=1.1,
        **_mark_look(one),
    )


def _line_look(label: str) -> dict[str, Any]:
    return {"color": _GREY, "linestyle": "--" if label else "-", "linewidth": 1}


def _mark_look(one: Series) -> dict[str, Any]:
    return {
        "color": one.colour,
        "marker": one.symbol[1],
        "markersize": 6,
        "markerfacecolor": "white" if one.apart else one.colour,
        "linestyle": "-" if one.kind == "lines" else "none",
        "linewidth": 1.4,
    }


def _error_bars(errors: tuple[tuple[float, float], ...]) -> Any:
    return list(zip(*errors, strict=True)) if errors else None


def _legend_handles(chart: Chart) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for one in chart.legend:
        label = _legend_label(one)
        handles.append(
            Patch(label=label, **_bar_look(one))
            if one.kind == "bars"
            else Line2D([], [], label=label, **_mark_look(one))
        )
    for panel in chart.panels:
        handles += [Line2D([], [], label=label, **_line_look(label)) for _, label in panel.lines_y if label]
    return handles


def _legend_label(one: Series) -> str:
    return textwrap.fill(f"{one.name} (not ranked)" if one.apart else one.name, _LABEL_WIDTH)
