"""A chart as the data that plotly.js draws: plain values for JSON, colours of the page left to the page."""

from __future__ import annotations

import html
import math
import textwrap
from typing import Any, Final

from nubench.leaderboard.charts import SHADES, Chart, Panel, Series, ink_on, log_range

_TICK_WIDTH: Final = 24
_ROW_PIXELS: Final = 38
#: Height of a cell, least width of one, and of the names beside them.
_CELL_PIXELS: Final = (36, 50)
_NAMES_PIXELS: Final = 190
_HEAD_WIDTH: Final = 9
_PANEL_PIXELS: Final = 340
_STACKED_PIXELS: Final = 110
_BAR_PIXELS: Final = 6
_JOINS_PIXELS: Final = 460
#: Room for ticks and a title of two lines: panels above each other begin and end at the same places.
_STACKED_SIDES: Final = {"l": 80, "r": 16}
#: What the page calls the fillings of plotly.
_BAR_LOOKS: Final = {"": "", ".": "dots", "-": "stripes", "x": "crosses", "/": "strokes"}
_OVERLAY: Final = {"fillmode": "overlay", "fgcolor": "#ffffff", "size": 6}


def plotly_chart(chart: Chart) -> dict[str, Any]:
    """Return the panels as plotly's data and layout, and the legend that all of them share.

    Names and notes are foreign text, which plotly would read as a kind of HTML: they are escaped for it, except in the
    legend, which the page writes as text.
    """
    # What the axis names needs no legend.
    named = {tick for panel in chart.panels for tick in panel.ticks_y}
    return {
        "panels": [_panel(panel, chart.stacked) for panel in chart.panels],
        "legend": [_legend_entry(one) for one in chart.legend if one.name not in named],
        # A label beside its line would lie over the bars.
        "rules": [label for panel in chart.panels for _, label in panel.lines_y if label],
    }


def _legend_entry(one: Series) -> dict[str, Any]:
    name = f"{one.name} (not ranked)" if one.apart else one.name
    look = f"bar {_BAR_LOOKS[one.filling[0]]}" if one.kind == "bars" else one.symbol[0] + " hollow" * one.apart
    return {"name": name, "colour": one.colour, "look": look.strip(), "number": one.number}


def _panel(panel: Panel, stacked: bool) -> dict[str, Any]:
    return _cells(panel, panel.range_shades) if panel.range_shades else _axes(panel, stacked)


def _cells(panel: Panel, limits: tuple[float, float]) -> dict[str, Any]:
    """A table of colours: the numbers in the cells say all that the mouse could find."""
    columns = panel.columns
    height, least_width = _CELL_PIXELS
    values = [dict(zip(map(str, one.x), one.y, strict=True)) for one in panel.series]
    numbers = [[of_row.get(name) for name in columns] for of_row in values]
    heads = panel.heads
    trace = {
        "type": "heatmap",
        "x": [0.0, *(end for _, end in columns.values())],
        "y": [one.number for one in panel.series],
        "z": numbers,
        "hoverinfo": "skip",
        "colorscale": [[place / (len(SHADES) - 1), shade] for place, shade in enumerate(SHADES)],
        "zmin": limits[0],
        "zmax": limits[1],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    written = [(str(x), one.number, value) for one in panel.series for x, value in zip(one.x, one.y, strict=True)]
    # As plotly itself writes numbers into cells, they are grey on green.
    texts = {
        "type": "scatter",
        "mode": "text",
        "x": [heads[name] for name, _, _ in written],
        "y": [row for _, row, _ in written],
        "text": [f"{value:.0f}" for _, _, value in written],
        "textfont": {"color": [ink_on(value, limits) for _, _, value in written]},
        "hoverinfo": "skip",
    }
    axis = {"showgrid": False, "zeroline": False, "ticks": "", "showline": False, "fixedrange": True}
    return {
        "height": 60 + height * len(panel.ticks_y),
        "least_width": round(_NAMES_PIXELS + least_width * panel.width),
        "data": [trace, texts],
        "layout": {
            "title": {"text": ""},
            "margin": {"l": 8, "r": 12, "t": 26, "b": 8},
            "showlegend": False,
            "xaxis": {"title": {"text": ""}, "side": "top", "automargin": True, "tickangle": 0}
            | {
                "range": [0, panel.width],
                "tickvals": list(heads.values()),
                "ticktext": [_lines(name, _HEAD_WIDTH) for name in heads],
            }
            | axis,
            "yaxis": _y_axis(panel) | axis | {"automargin": True},
            "shapes": [],
        },
    }


def _axes(panel: Panel, stacked: bool) -> dict[str, Any]:
    height = _STACKED_PIXELS * panel.height if stacked else _PANEL_PIXELS
    # Narrower than this, the plot scrolls in its box: bars of a pixel tell nothing.
    least_width = _BAR_PIXELS * len(panel.categories) * (len(panel.series) + 1.5)
    if panel.ticks_y:
        height = 90 + _ROW_PIXELS * len(panel.ticks_y)
        # Bars that join rows would lie over each other.
        least_width = _JOINS_PIXELS if any(one.kind == "joins" for one in panel.series) else 0
    return {
        "height": round(height),
        "least_width": round(least_width),
        "data": [_trace(one, panel) for one in panel.series],
        "layout": {
            "title": {"text": _escape(panel.title), "font": {"size": 13}, "x": 0.5, "y": 0.98, "yanchor": "top"},
            "margin": {"l": 8, "r": 12, "t": 34 if panel.title else 26, "b": 8} | (_STACKED_SIDES if stacked else {}),
            "showlegend": False,
            "bargap": 0.2,
            "xaxis": _x_axis(panel),
            "yaxis": _y_axis(panel) | {"automargin": not stacked},
            "shapes": [
                {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
                | {"layer": "above" if label else "below"}
                | {"line": {"width": 1.5 if label else 1, "dash": "dash" if label else "solid"}}
                for level, label in panel.lines_y
            ],
        },
    }


def _x_axis(panel: Panel) -> dict[str, Any]:
    # The page parts it into lines that are as long as the axis.
    title = _escape(panel.x_title.replace("\n", " "))
    axis: dict[str, Any] = {"title": {"text": title, "standoff": 8}, "automargin": True}
    if panel.categories:
        axis |= {"type": "category", "categoryorder": "array", "categoryarray": list(panel.categories)}
        axis |= {"showgrid": False}
    if panel.ticks_y:
        axis |= {"range": _padded_range(panel)}
    if panel.log_x:
        low, high = log_range([float(x) for one in panel.series for x in one.x])
        ticks = [m * 10.0**power for power in range(-3, 19) for m in (1, 2, 5) if low <= m * 10.0**power <= high]
        if len(ticks) > 7:
            ticks = [tick for tick in ticks if f"{tick:e}".startswith("1.0")]
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [_short(tick) for tick in ticks]}
        axis |= {"range": [math.log10(low), math.log10(high)]}
    return axis


def _padded_range(panel: Panel) -> list[float]:
    """Limits that hold the marks, their error bars and the bars that join them."""
    ends: list[float] = []
    for one in panel.series:
        errors = one.errors_x or ((0.0, 0.0),) * len(one.x)
        for x, (below, above) in zip(map(float, one.x), errors, strict=True):
            ends += [x - below, x + above]
    margin = 0.03 * max(max(ends) - min(ends), 1.0)
    return [min(ends) - margin, max(ends) + margin]


def _y_axis(panel: Panel) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": _escape(panel.y_title).replace("\n", "<br>"), "standoff": 8},
        "zeroline": False,
    }
    if panel.ticks_y:
        places = len(panel.ticks_y)
        axis |= {"tickvals": list(range(places)), "range": [places - 0.4, -0.6]}
        axis |= {"ticktext": [_lines(tick, _TICK_WIDTH) for tick in panel.ticks_y]}
    elif panel.range_y:
        low, high = panel.range_y
        # The axis finds its own limits and is widened to these.
        axis |= {"autorangeoptions": {"include": [low, high]}} if panel.grows else {"range": [low, high]}
        if panel.grows and low == 0:
            axis |= {"rangemode": "tozero"}
    return axis


def _trace(one: Series, panel: Panel) -> dict[str, Any]:
    trace: dict[str, Any] = {"x": list(one.x), "y": list(one.y), "name": _escape(one.name), "meta": one.number}
    if one.kind == "joins":
        return trace | {
            "type": "scatter",
            "mode": "lines",
            "hoverinfo": "skip",
            "line": {"width": 5},
            "meta": -1,
            "cliponaxis": False,
        }
    for axis, errors in (("error_x", one.errors_x), ("error_y", one.errors_y)):
        if errors:
            below, above = zip(*errors, strict=True)
            trace[axis] = {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below)}
            trace[axis] |= {"thickness": 1.6, "width": 3}
    if one.notes:
        trace["text"] = [_escape(note) for note in one.notes]
    if one.kind == "bars":
        trace |= {"type": "bar", "marker": {"color": one.colour, "pattern": {"shape": one.filling[0]} | _OVERLAY}}
        return trace | {"hovertemplate": "%{x}: %{y:.1f}<extra>%{fullData.name}</extra>"}
    symbol = f"{one.symbol[0]}-open" if one.apart else one.symbol[0]
    trace |= {"type": "scatter", "mode": "lines+markers" if one.kind == "lines" else "markers"}
    trace |= {"marker": {"color": one.colour, "symbol": symbol, "size": 9}, "line": {"color": one.colour, "width": 2}}
    return trace | {"hovertemplate": f"%{{text}}<br>{_where(panel)}<extra>%{{fullData.name}}</extra>"}


def _where(panel: Panel) -> str:
    """What the mouse says of the place of a mark."""
    if panel.ticks_y:
        return "%{x:.1f}%"
    return "%{y:.1f}%" if panel.log_x else "x: %{x:.4~g}, y: %{y:.4~g}"


def _lines(text: str, width: int) -> str:
    return "<br>".join(map(_escape, textwrap.wrap(text, width)))


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _short(value: float) -> str:
    """Write a power of ten for an axis.

    Example:
        >>> [_short(value) for value in (0.5, 20, 5000, 1e6)]
        ['0.5', '20', '5k', '1M']
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
