"""A data set along one shift on one page: charge spectra, hits by class and energy, and every point beside nominal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nubench.display import palette
from nubench.display.rendering import new_figure, png_of, style, svg_of
from nubench.display.spectra import PointSummary, by_parameter, hits_by_energy
from nubench.display.spectra_panels import draw_spectra, point_colours
from nubench.shifts import NOMINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: More points than this are drawn by parameter, where each moves one alone.
_MOST_IN_ONE_PANEL: Final = 12
_WIDTH: Final = 15.0
_ROW: Final = 0.23
#: The axis of the mean charge spans at least this part of nominal.
_LEAST_SPAN: Final = 0.1


@dataclass(frozen=True)
class DatasetPage:
    """What a page shows.

    Attributes:
        title: data set, profile and split.
        shift: name of the shift.
        strength_unit: what the strength of a point measures.
        feature: the charge of a voxel with its unit.
        classes: class names in the order of the labels.
        points: summaries of the points, nominal among them, in increasing strength.
    """

    title: str
    shift: str
    strength_unit: str
    feature: str
    classes: tuple[str, ...]
    points: tuple[PointSummary, ...]

    @property
    def nominal(self) -> PointSummary:
        """The nominal point."""
        return next(point for point in self.points if point.point == NOMINAL)


def draw_page(page: DatasetPage) -> tuple[bytes, bytes]:
    """Draw a page as PNG and SVG; the same summaries and library versions give the same bytes."""
    with style():
        figure = page_figure(page)
        return png_of(figure), svg_of(figure)


def page_figure(page: DatasetPage) -> Figure:
    """The figure of :func:`draw_page`; made inside :func:`nubench.display.rendering.style`."""
    targets = [point for point in page.points if point.point != NOMINAL]
    groups = by_parameter(targets) if len(targets) > _MOST_IN_ONE_PANEL else None
    upper = 5.5 if groups is None else 2.4 * np.ceil(len(groups) / 3) + 1
    lower = _ROW * len(page.points) + 1.2
    figure = new_figure(_WIDTH, upper + lower)
    figure.suptitle(f"{page.title}, shift {page.shift}", fontsize=13)
    halves: Any = figure.subfigures(2, 1, height_ratios=(upper, lower))
    above, below = halves
    left, right = above.subfigures(1, 2, width_ratios=(3, 2))
    draw_spectra(left, page.nominal, targets, groups, page.feature, page.strength_unit)
    _draw_classes(right, page)
    rows = page.points if groups is None else (page.nominal, *(point for group in groups.values() for point in group))
    _draw_points(below, page, rows, {NOMINAL: palette.NOMINAL, **point_colours(page.nominal, targets)})
    return figure


def _draw_classes(figure: SubFigure, page: DatasetPage) -> None:
    """Hits of the nominal events by class: their distribution, and against the true energy."""
    import seaborn as sns

    nominal = page.nominal
    upper, lower = figure.subplots(2, 1)
    colours = sns.color_palette("colorblind", len(page.classes))
    longest = float(np.quantile(nominal.hits, 0.995)) if nominal.events else 1.0
    bins = int(np.clip(nominal.events / len(page.classes) / 8, 12, 30))
    edges = np.linspace(0, max(longest, 1.0), bins + 1)
    for label, (name, colour) in enumerate(zip(page.classes, colours, strict=True)):
        hits = nominal.hits[nominal.labels == label]
        counts, _ = np.histogram(hits, edges)
        upper.stairs(counts, edges, color=colour, linewidth=1.5, label=f"{name} ({len(hits):,})")
        energy, quantiles = hits_by_energy(nominal, label)
        if len(energy):
            lower.fill_between(energy, quantiles[0], quantiles[2], color=colour, alpha=0.2, linewidth=0)
            lower.plot(energy, quantiles[1], color=colour, marker="o", markersize=3, linewidth=1.5)
    upper.set(xlabel="hits per event", ylabel="events", xlim=(0, edges[-1]), title="events at nominal, by class")
    lower.set(xlabel="true kinetic energy, MeV", ylabel="hits per event", xlim=(0, None), ylim=(0, None))
    lower.set_title("at nominal: median, and band of 16 to 84%", fontsize="medium")
    upper.legend(frameon=False)
    _open(upper, lower)


def _draw_points(
    figure: SubFigure, page: DatasetPage, points: Sequence[PointSummary], colour_of: Mapping[str, Any]
) -> None:
    """One row for each point: charge, hits per event, and events lost where any are."""
    loses = any(point.dropped for point in points)
    charge, hits, *others = figure.subplots(1, 2 + loses, sharey=True)
    rows = np.arange(len(points))
    nominal = page.nominal
    colours = [colour_of[point.point] for point in points]
    quantiles = np.array([point.hit_quantiles for point in points])
    charge.scatter([point.mean_charge for point in points], rows, c=colours, s=28, zorder=3)
    charge.axvline(nominal.mean_charge, color=palette.NOMINAL, linewidth=0.8, linestyle="--")
    hits.hlines(rows, quantiles[:, 0], quantiles[:, 2], colors=colours, linewidth=2)
    hits.scatter(quantiles[:, 1], rows, c=colours, s=28, zorder=3)
    hits.axvline(nominal.hit_quantiles[1], color=palette.NOMINAL, linewidth=0.8, linestyle="--")
    charge.set_yticks(rows, [f"{point.point} ({point.strength:g})" for point in points])
    charge.set_ylim(len(rows) - 0.4, -0.6)
    # Differences of a few per mille must not look like a mountain range.
    middle, span = np.mean(charge.get_xlim()), max(np.ptp(charge.get_xlim()), _LEAST_SPAN * nominal.mean_charge)
    charge.set_xlim(middle - span / 2, middle + span / 2)
    charge.set_xlabel(f"mean of a hit, {page.feature}")
    charge.set_ylabel("point (strength)")
    note = "" if loses else f"; all {nominal.events:,} events of each point have enough hits"
    hits.set_xlabel(f"hits per event: median, and 16 to 84%{note}")
    hits.set_xlim(0, None)
    for dropped in others:
        _draw_dropped(dropped, points, colours)
    _open(charge, hits, *others)


def _draw_dropped(axes: Axes, points: Sequence[PointSummary], colours: Sequence[Any]) -> None:
    """Events that have too few hits to be in the file, a bar for each point."""
    from matplotlib.ticker import MaxNLocator

    axes.barh(range(len(points)), [point.dropped for point in points], color=colours, height=0.6)
    for row, point in enumerate(points):
        share = f" {point.dropped:,} of {point.events + point.dropped:,}"
        axes.annotate(share, (point.dropped, row), va="center", fontsize="small")
    axes.set_xlim(0, 1.35 * max(1, *(point.dropped for point in points)))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("events dropped: too few hits")


def _open(*panels: Any) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)


def sorted_by_strength(points: Sequence[PointSummary]) -> tuple[PointSummary, ...]:
    """Points in increasing strength; those of equal strength stay in their order."""
    return tuple(sorted(points, key=lambda point: point.strength))
