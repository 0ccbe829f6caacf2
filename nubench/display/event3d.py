"""An event as a page that one turns with the mouse: one file, which opens without a network."""

from __future__ import annotations

import html
from typing import Any, Final

from nubench.containers import Float32, Int32
from nubench.display import palette
from nubench.display.comparison import Difference, compare_events
from nubench.display.views import EventView, Hits

_MARKER: Final = 2.5
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>html, body {{ height: 100%; margin: 0 }}</style></head>
<body>
{figure}
</body>
</html>
"""
# A turn of one scene turns the others; the flag ends the answers that this itself calls forth.
_TURN_TOGETHER: Final = """
const plot = document.getElementById("{plot_id}");
const scenes = Object.keys(plot.layout).filter(key => /^scene[0-9]*$/.test(key));
let following = false;
plot.on("plotly_relayout", change => {
  const turned = scenes.find(scene => scene + ".camera" in change);
  if (following || !turned) return;
  following = true;
  const update = {};
  for (const scene of scenes) if (scene !== turned) update[scene + ".camera"] = change[turned + ".camera"];
  Plotly.relayout(plot, update).finally(() => { following = false; });
});
"""


def draw_event_page(view: EventView) -> str:
    """Draw an event as an HTML page that holds all it needs, about 5 MB, most of it the library that draws.

    Returns:
        The text of the page; the same event and library versions give the same text.
    """
    figure = event_figure(view).to_html(
        full_html=False,
        include_plotlyjs=True,
        div_id="event",
        config={"displaylogo": False, "responsive": True},
        post_script=_TURN_TOGETHER,
        default_height="100vh",
    )
    return _PAGE.format(title=html.escape(view.particle.title), figure=figure)


def event_figure(view: EventView) -> Any:
    """The figure of :func:`draw_event_page`: a scene for each point, and one for the difference where there are two."""
    from plotly.graph_objects import Figure, Layout

    points = list(view.hits.items())
    titles = [f"{name}: {len(hits):,} hits" for name, hits in points]
    traces = [trace for number, (name, hits) in enumerate(points) for trace in _hit_traces(view, name, hits, number)]
    if len(points) == 2:
        (nominal, before), (name, after) = points
        difference = compare_events(before, after)
        titles.append(f"{name} minus {nominal}: {len(difference.coords):,} voxels in both")
        traces += _difference_traces(view, difference, len(points))
    for number in range(len(titles)):
        traces += _truth_traces(view, number)
    layout: dict[str, Any] = {}
    for number in range(len(titles)):
        layout[_scene(number)] = _scene_layout(view, number, len(titles))
    layout["annotations"] = [
        {"text": html.escape(title), "x": (number + 0.5) / len(titles), "y": 1, "xref": "paper", "yref": "paper"}
        | {"xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 14}}
        for number, title in enumerate(titles)
    ]
    layout["coloraxis"] = _colour_axis(palette.CHARGE, view.charge_range(), view.readout.feature, len(points), titles)
    if len(points) == 2:
        limit = difference.change_range()
        layout["coloraxis2"] = _colour_axis(
            palette.CHANGE, (-limit, limit), f"change of {view.readout.feature}", 1, titles, first=2
        )
    heading = "<br>".join(html.escape(line) for line in (view.particle.title, view.origin, *view.notes))
    return Figure(
        traces,
        Layout(
            title={"text": heading, "x": 0.5, "font": {"size": 16}},
            margin={"l": 10, "r": 10, "t": 130, "b": 150},
            legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.19, "itemsizing": "constant"},
            template="plotly_white",
            **layout,
        ),
    )


def _hit_traces(view: EventView, point: str, hits: Hits, number: int) -> list[dict[str, Any]]:
    traces = []
    for group, members in hits.groups():
        crosstalk = group == "crosstalk"
        traces.append(
            _cloud(view, members.coords, number, f"{point}: {group} ({len(members):,})", members.charge, "charge")
        )
        traces[-1]["marker"] |= {
            "color": members.charge,
            "coloraxis": "coloraxis",
            "size": _MARKER,
            "symbol": "circle-open" if crosstalk else "circle",
        }
        traces[-1]["showlegend"] = hits.from_track is not None
    return traces


def _difference_traces(view: EventView, difference: Difference, number: int) -> list[dict[str, Any]]:
    both = _cloud(view, difference.coords, number, f"in both ({len(difference.coords):,})", difference.change, "change")
    both["marker"] |= {"color": difference.change, "coloraxis": "coloraxis2", "size": _MARKER}
    both["showlegend"] = False
    traces = [both]
    for name, hits, colour, symbol in (
        ("appeared", difference.appeared, palette.APPEARED, "diamond"),
        ("vanished", difference.vanished, palette.VANISHED, "square-open"),
    ):
        cloud = _cloud(view, hits.coords, number, f"{name} ({len(hits):,})", hits.charge, "charge")
        cloud["marker"] |= {"color": colour, "size": _MARKER + 2, "symbol": symbol}
        traces.append(cloud)
    return traces


def _cloud(view: EventView, coords: Int32, number: int, name: str, values: Float32, quantity: str) -> dict[str, Any]:
    """Voxels of one look, with what the mouse finds on them."""
    x, y, z = view.readout.centres(coords).round(3).T
    feature = view.readout.feature
    what = feature if quantity == "charge" else f"change of {feature}"
    sign = "" if quantity == "charge" else "+"
    return {
        "type": "scatter3d",
        "mode": "markers",
        "scene": _scene(number),
        "name": name,
        "x": x,
        "y": y,
        "z": z,
        "customdata": values,
        "marker": {"line": {"width": 0}},
        "hovertemplate": "x %{x:.2f} cm<br>y %{y:.2f} cm<br>z %{z:.2f} cm<br>"
        + f"{html.escape(what)}: %{{customdata:{sign}.4~g}}<extra></extra>",
    }


def _truth_traces(view: EventView, number: int) -> list[dict[str, Any]]:
    start, end = view.arrow()
    along = end - start
    once = {"legendgroup": "truth", "showlegend": number == 0, "scene": _scene(number)}
    x, y, z = zip(start, end, strict=True)
    line = {
        "type": "scatter3d",
        "mode": "lines",
        "name": "true direction, ending at the vertex",
        "x": x,
        "y": y,
        "z": z,
        "line": {"color": palette.TRUTH, "width": 4},
        "hovertemplate": "x %{x:.2f} cm<br>y %{y:.2f} cm<br>z %{z:.2f} cm<extra>true direction</extra>",
    }
    head = {
        "type": "cone",
        **{axis: [float(value)] for axis, value in zip("xyz", end, strict=True)},
        **{axis: [float(value)] for axis, value in zip("uvw", along, strict=True)},
        "sizemode": "raw",
        "sizeref": 0.3,
        "anchor": "tip",
        "colorscale": [[0, palette.TRUTH], [1, palette.TRUTH]],
        "showscale": False,
        "hoverinfo": "skip",
    }
    return [line | once, head | {"scene": _scene(number)}]


def _scene(number: int) -> str:
    return f"scene{number + 1}" if number else "scene"


def _scene_layout(view: EventView, number: int, scenes: int) -> dict[str, Any]:
    limits = view.limits()
    axes = {
        f"{name}axis": {"title": {"text": html.escape(label)}, "range": list(map(float, ends)), "nticks": 6}
        for name, label, ends in zip("xyz", view.readout.axes, limits, strict=True)
    }
    return {
        **axes,
        "aspectmode": "data",
        "domain": {"x": [number / scenes, (number + 1) / scenes], "y": [0, 1]},
        "camera": {"eye": {"x": 1.6, "y": -2.15, "z": 0.85}, "center": {"x": 0, "y": 0, "z": -0.12}},
    }


def _colour_axis(
    colours: tuple[str, ...], ends: tuple[float, float], title: str, panels: int, titles: list[str], first: int = 0
) -> dict[str, Any]:
    """A colour bar below ``panels`` scenes, the first of them number ``first``."""
    return {
        "colorscale": palette.colour_scale(colours),
        "cmin": ends[0],
        "cmax": ends[1],
        "colorbar": {
            "title": {"text": html.escape(title), "side": "top"},
            "orientation": "h",
            "x": (first + panels / 2) / len(titles),
            "xanchor": "center",
            "y": 0,
            "yanchor": "top",
            "len": 0.6 * panels / len(titles),
            "thickness": 12,
        },
    }
