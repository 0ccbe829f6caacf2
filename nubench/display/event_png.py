"""An event as a picture: its hits in three dimensions at each shift point, and what changes between two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nubench.display import palette
from nubench.display.comparison import Difference, compare_events
from nubench.display.rendering import new_figure, png_of, style
from nubench.display.views import EventView, Hits

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_PANEL_INCHES: Final = (5.0, 6.2)
#: A panel alone is wider, for the lines above it.
_SINGLE_INCHES: Final = 6.5
_MARKER: Final = 6.0
_CROSSTALK_MARKER: Final = 5.0
_TICKS: Final = 4
_TRUTH: Final = "true direction, ending at the vertex"


def draw_event(view: EventView) -> bytes:
    """Draw an event as PNG: one panel for each point, and one for the difference where there are two.

    Returns:
        The bytes of the file; the same event and library versions give the same bytes.
    """
    with style():
        return png_of(event_figure(view))


def event_figure(view: EventView) -> Figure:
    """The figure of :func:`draw_event`; made inside :func:`nubench.display.rendering.style`."""
    points = list(view.hits.items())
    panels = len(points) + (len(points) == 2)
    width, height = _PANEL_INCHES
    figure = new_figure(width * panels if panels > 1 else _SINGLE_INCHES, height)
    figure.suptitle("\n".join([view.particle.title, view.origin, *view.notes]), fontsize=12, linespacing=1.4)
    axes = figure.subplots(1, panels, subplot_kw={"projection": "3d"}, squeeze=False)[0]
    charge = _colours(palette.CHARGE, view.charge_range())
    for panel, (name, hits) in zip(axes, points, strict=False):
        panel.set_title(f"{name}: {len(hits):,} hits", fontsize=12)
        _draw_hits(panel, view, name, hits, charge)
        _finish(panel, view)
    _colour_bar(figure, charge, list(axes[: len(points)]), view.readout.feature)
    if len(points) == 2:
        (nominal, before), (name, after) = points
        difference = compare_events(before, after)
        limit = difference.change_range()
        change = _colours(palette.CHANGE, (-limit, limit))
        axes[-1].set_title(f"{name} minus {nominal}: {len(difference.coords):,} voxels in both", fontsize=12)
        _draw_difference(axes[-1], view, difference, change)
        _finish(axes[-1], view)
        _colour_bar(figure, change, [axes[-1]], f"change of {view.readout.feature}")
    entries = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    entries[_TRUTH] = entries.pop(_TRUTH)  # last, whatever stands before it
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4, frameon=False, markerscale=1.5)
    return figure


def _colours(colours: tuple[str, ...], ends: tuple[float, float]) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(*ends), palette.colour_map(colours))


def _draw_hits(axes: Any, view: EventView, point: str, hits: Hits, colours: ScalarMappable) -> None:
    for name, group in hits.groups():
        colour = colours.to_rgba(group.charge)
        label = f"{point}: {name} ({len(group):,})" if hits.from_track is not None else "_"
        if name == "crosstalk":
            look = {"edgecolors": colour, "facecolors": "none", "s": _CROSSTALK_MARKER, "linewidths": 0.4}
        else:
            look = {"facecolors": colour, "s": _MARKER, "linewidths": 0}
        axes.scatter(*view.readout.centres(group.coords).T, depthshade=False, label=label, **look)


def _draw_difference(axes: Any, view: EventView, difference: Difference, colours: ScalarMappable) -> None:
    x, y, z = view.readout.centres(difference.coords).T
    axes.scatter(x, y, z, facecolors=colours.to_rgba(difference.change), s=_MARKER, depthshade=False, linewidths=0)
    looks: tuple[tuple[str, Hits, dict[str, Any]], ...] = (
        ("appeared", difference.appeared, {"color": palette.APPEARED, "marker": "D"}),
        ("vanished", difference.vanished, {"edgecolors": palette.VANISHED, "facecolors": "none", "marker": "s"}),
    )
    for name, hits, look in looks:
        x, y, z = view.readout.centres(hits.coords).T
        axes.scatter(x, y, z, s=8, depthshade=False, linewidths=0.6, label=f"{name} ({len(hits):,})", **look)


def _finish(axes: Any, view: EventView) -> None:
    """Truth, legend, and axes in cm of equal scale."""
    from matplotlib.ticker import MaxNLocator

    start, end = view.arrow()
    axes.quiver(
        *(*start, *(end - start)),
        color=palette.TRUTH,
        linewidth=1.8,
        arrow_length_ratio=0.3,
        label=_TRUTH,
    )
    limits = view.limits()
    axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    axes.set_box_aspect(limits[:, 1] - limits[:, 0], zoom=1.1)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), view.readout.axes, strict=True):
        axis.set_major_locator(MaxNLocator(_TICKS))
        axis.set_label_text(label)
        axis.set_pane_color("white")
    axes.tick_params(labelsize=9)


def _colour_bar(figure: Figure, colours: ScalarMappable, axes: list[Any], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    shrink = 0.5 if len(axes) > 1 else 0.8
    bar = figure.colorbar(colours, ax=axes, orientation="horizontal", extend="both", shrink=shrink, aspect=35, pad=0.07)
    bar.set_label(label)
    bar.ax.xaxis.set_major_locator(MaxNLocator(5 * len(axes)))
