"""Charge spectra of all points over each other, or in a panel for each parameter."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nubench.containers import Float64
from nubench.display import palette
from nubench.display.spectra import PointSummary, charge_bins, charge_spectrum, hits_in_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import SubFigure

_MOST_IN_LEGEND: Final = 12
_COLUMNS: Final = 3
#: The ratio to nominal is drawn where nominal has this many hits: of fewer it would jump by a third and more.
_FEWEST_HITS: Final = 10
_DENSITY: Final = "hits per event and unit of charge"


def draw_spectra(
    figure: SubFigure,
    nominal: PointSummary,
    targets: Sequence[PointSummary],
    groups: Mapping[str, Sequence[PointSummary]] | None,
    feature: str,
    strength_unit: str,
) -> None:
    """Draw the hits per event and bin of charge; nominal is black, colours go with the strength of the points.

    Args:
        figure: where to.
        nominal: the nominal point.
        targets: the other points, in increasing strength.
        groups: the same by the parameter that they move, for a panel each; None: all in one, with the ratio to nominal.
        feature: the charge of a voxel with its unit.
        strength_unit: what the strength measures.
    """
    edges, logarithmic = charge_bins([nominal, *targets])
    colours = point_colours(nominal, targets)
    if groups is None:
        panels = _draw_together(figure, nominal, targets, edges, colours, feature, strength_unit)
    else:
        panels = _draw_groups(figure, nominal, groups, edges, colours, feature, strength_unit)
    for axes in panels:
        axes.set_xlim(edges[0], edges[-1])
        axes.spines[["top", "right"]].set_visible(False)
        if logarithmic:
            axes.set_xscale("log")
            _plain_numbers(axes.xaxis)


def point_colours(nominal: PointSummary, targets: Sequence[PointSummary]) -> dict[str, Any]:
    """A colour for each point, by its name.

    Points on both sides of nominal are blue below it and orange above, darker the farther. Points on one side follow
    a sequence, by rank of their strength, so that points of nearly equal strength are told apart.
    """
    away = np.array([point.strength - nominal.strength for point in targets])
    if len(away) and away.min() < 0 < away.max():
        # The grey middle is nominal's place: no point may come close to it.
        positions = 0.5 + np.sign(away) * (0.2 + 0.3 * np.abs(away) / np.abs(away).max())
        colours = palette.colour_map(palette.CHANGE)(positions)
    else:
        colours = palette.colour_map(palette.STRENGTH)(np.linspace(0, 1, max(len(targets), 1)))
    return {point.point: colour for point, colour in zip(targets, colours, strict=False)}


def _draw_together(
    figure: SubFigure,
    nominal: PointSummary,
    targets: Sequence[PointSummary],
    edges: Float64,
    colours: Mapping[str, Any],
    feature: str,
    strength_unit: str,
) -> list[Axes]:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    reference = charge_spectrum(nominal, edges)
    enough = hits_in_bins(nominal, edges) >= _FEWEST_HITS
    named = {targets[i].point for i in np.linspace(0, len(targets) - 1, min(len(targets), _MOST_IN_LEGEND)).astype(int)}
    for point in targets:
        spectrum = charge_spectrum(point, edges)
        label = f"{point.point} ({point.strength:g})" if point.point in named else "_"
        upper.stairs(spectrum, edges, color=colours[point.point], linewidth=1.3, label=label)
        ratio = np.divide(spectrum, reference, out=np.full_like(spectrum, np.nan), where=enough)
        lower.stairs(ratio, edges, color=colours[point.point], linewidth=1.1, baseline=None)
    upper.stairs(reference, edges, color=palette.NOMINAL, linewidth=1.8, label=f"nominal ({nominal.strength:g})")
    lower.axhline(1, color=palette.NOMINAL, linewidth=1.2)
    upper.set(yscale="log", ylabel=_DENSITY, title="charge of a hit")
    _plain_numbers(upper.yaxis)
    lower.set(ylabel="ratio to\nnominal", xlabel=feature, ylim=(0, 2.5))
    some = f"; {len(named)} of {len(targets)} named" if len(named) < len(targets) else ""
    title = textwrap.fill(f"point (strength, {strength_unit}){some}", 24)
    figure.legend(loc="outside right upper", frameon=False, title=title, fontsize="small", title_fontsize="small")
    return [upper, lower]


def _draw_groups(
    figure: SubFigure,
    nominal: PointSummary,
    groups: Mapping[str, Sequence[PointSummary]],
    edges: Float64,
    colours: Mapping[str, Any],
    feature: str,
    strength_unit: str,
) -> list[Axes]:
    rows = -(-len(groups) // _COLUMNS)
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    entries: dict[str, Any] = {}
    for axes, (parameter, points) in zip(panels.flat, groups.items(), strict=False):
        for point in points:
            steps = axes.stairs(charge_spectrum(point, edges), edges, color=colours[point.point], linewidth=1.2)
            entries[f"{point.strength:+g}"] = steps
        steps = axes.stairs(charge_spectrum(nominal, edges), edges, color=palette.NOMINAL, linewidth=1.2)
        entries[f"nominal ({nominal.strength:g})"] = steps
        axes.set_title(parameter, fontsize="medium")
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
    for axes in panels.flat[len(groups) :]:
        axes.set_visible(False)
    figure.supxlabel(feature, fontsize="medium")
    figure.supylabel(_DENSITY, fontsize="medium")
    figure.legend(
        *(entries.values(), entries),
        loc="outside upper center",
        ncols=6,
        frameon=False,
        title=f"strength, {strength_unit}",
    )
    return list(panels.flat)


def _plain_numbers(axis: Axis) -> None:
    """Write powers of ten out: as formulas they would need the parser that pictures do without."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
