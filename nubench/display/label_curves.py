"""Accuracy against labels a class, a line for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Final, Literal

from nubench.display.rendering import new_figure, png_of, style, svg_of
from nubench.evaluation.data_efficiency import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]
_MARKS: Final = "osD^vP"


@dataclass(frozen=True)
class LabelCurve:
    """What the probe reached on the embeddings of one run.

    Attributes:
        name: of the run in the legend, any text.
        points: in ascending numbers of labels.
    """

    name: str
    points: tuple[CurvePoint, ...]


def draw_label_curves(curves: Sequence[LabelCurve], source: str, targets: Sequence[str], form: Form) -> bytes:
    """Draw two panels, the source and the mean over the targets, as PNG or SVG.

    Args:
        curves: at least one; all were tested at ``source`` and ``targets``.
        source: point that the networks were trained at.
        targets: the other points.
        form: of the picture.
    """
    with style():
        figure = curves_figure(curves, source, targets)
        return png_of(figure) if form == "png" else svg_of(figure)


def curves_figure(curves: Sequence[LabelCurve], source: str, targets: Sequence[str]) -> Figure:
    """The figure of :func:`draw_label_curves`."""
    figure = new_figure(9.0, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    titles = (f"at the source, {source}", f"mean over {len(targets)} target points")
    for axes, names, title in zip(panels, ((source,), tuple(targets)), titles, strict=True):
        _draw_panel(axes, curves, names)
        axes.set_title(title, loc="left", fontsize="medium")
    panels[0].set_ylabel("accuracy of the probe, %\n(bars: standard deviation over choices)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_panel(axes: Axes, curves: Sequence[LabelCurve], names: Sequence[str]) -> None:
    import seaborn as sns

    for number, (curve, colour) in enumerate(zip(curves, sns.color_palette("colorblind", len(curves)), strict=True)):
        accuracies = [point.mean_over(names) for point in curve.points]
        axes.errorbar(
            [point.labels_a_class for point in curve.points],
            [100 * mean(choices) for choices in accuracies],
            [100 * stdev(choices) if len(choices) > 1 else 0.0 for choices in accuracies],
            color=colour,
            marker=_MARKS[number % len(_MARKS)],
            markersize=5,
            capsize=2,
            label=curve.name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("labels a class (logarithmic)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
