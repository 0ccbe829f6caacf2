"""The page of a data set: every point stands on it, readable, with its units."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from nubench.containers import Events, LabelledEvents
from nubench.display import palette
from nubench.display.dataset_page import DatasetPage, draw_page, page_figure, sorted_by_strength
from nubench.display.rendering import style
from nubench.display.spectra import PointSummary, summarise
from nubench.display.spectra_panels import point_colours

Make = Callable[..., LabelledEvents]


@pytest.fixture
def summary(synthetic_events: Make) -> Callable[..., PointSummary]:
    """A function (point, strength, moved, dropped) -> the summary of 60 events, their charge moved by the strength."""
    labelled = synthetic_events(60, 1)

    def make(point: str, strength: float, moved: tuple[str, ...] = ("gain", "v_cm"), dropped: int = 0) -> PointSummary:
        charge = np.rint(labelled.events.features + 10 * strength).astype(np.float32)
        events = Events(labelled.events.offsets, labelled.events.coords, charge)
        return summarise(LabelledEvents(events, labelled.labels, labelled.truth), point, strength, moved, dropped)

    return make


def _page(points: list[PointSummary]) -> DatasetPage:
    return DatasetPage("data set tiny", "throws", "sigma", "ADC counts", ("a", "b", "c"), sorted_by_strength(points))


def test_points_of_a_shift_stand_over_each_other(summary: Callable[..., PointSummary]) -> None:
    points = [summary("throw1", 1.2), summary("throw2", 0.9, dropped=4), summary("nominal", 0.0, ())]
    with style():
        figure = page_figure(_page(points))
    spectra, ratio, by_class, by_energy, charge, hits, dropped = figure.axes
    assert ratio.get_xlabel() == "ADC counts"
    assert ratio.get_ylabel() == "ratio to\nnominal"
    assert spectra.get_yscale() == "log"
    assert len(spectra.patches) == 3
    assert spectra.patches[-1].get_edgecolor() == pytest.approx((0, 0, 0, 1))  # nominal, last and above
    assert by_class.get_xlabel() == "hits per event"
    assert [text.get_text() for text in by_class.get_legend().get_texts()] == [
        f"{name} ({np.sum(points[0].labels == label)})" for label, name in enumerate("abc")
    ]
    assert by_energy.get_xlabel() == "true kinetic energy, MeV"
    assert charge.get_xlabel() == "mean of a hit, ADC counts"
    assert [text.get_text() for text in charge.get_yticklabels()] == ["nominal (0)", "throw2 (0.9)", "throw1 (1.2)"]
    means = np.asarray(charge.collections[0].get_offsets())[:, 0]
    assert means == pytest.approx([points[i].mean_charge for i in (2, 1, 0)])
    assert hits.get_xlabel().startswith("hits per event: median")
    assert [text.get_text().strip() for text in dropped.texts] == ["0 of 60", "4 of 64", "0 of 60"]


def test_many_points_that_move_one_parameter_each_get_a_panel_for_each(summary: Callable[..., PointSummary]) -> None:
    points = [
        summary(f"{name}{strength:+d}", strength, (name,))
        for name in ("gain", "v_cm", "v_ref", "noise")
        for strength in (-2, -1, 1, 2)
    ]
    with style():
        figure = page_figure(_page([*points, summary("nominal", 0.0, ())]))
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles[:4] == ["gain", "v_cm", "v_ref", "noise"]
    assert all(len(axes.patches) == 5 for axes in figure.axes[:4])
    *_, charge, hits = figure.axes
    assert hits.get_xlabel().endswith("; all 60 events of each point have enough hits"), "none is dropped"
    rows = [text.get_text() for text in charge.get_yticklabels()]
    assert rows[:3] == ["nominal (0)", "gain-2 (-2)", "gain-1 (-1)"]
    assert len(rows) == 17


def test_many_points_of_a_random_shift_have_a_short_legend(summary: Callable[..., PointSummary]) -> None:
    points = [summary(f"throw{i}", 1 + i / 10) for i in range(30)]
    with style():
        figure = page_figure(_page([*points, summary("nominal", 0.0, ())]))
    spectra = figure.axes[0]
    assert len(spectra.patches) == 31
    labels = spectra.get_legend_handles_labels()[1]
    assert len(labels) == 13
    assert {"nominal (0)", "throw0 (1)", "throw29 (3.9)"} <= set(labels)


def test_the_same_page_gives_the_same_files_without_a_date(summary: Callable[..., PointSummary]) -> None:
    page = _page([summary("throw1", 1.2), summary("nominal", 0.0, ())])
    png, svg = draw_page(page)
    assert (png, svg) == draw_page(page)
    assert png.startswith(b"\x89PNG")
    assert b"<dc:date>" not in svg
    # What is clipped finds its clip path, each of its own.
    defined = re.findall(rb'<clipPath id="(\w+)"', svg)
    assert len(defined) == len(set(defined)) > 1
    assert set(re.findall(rb'clip-path="url\(#(\w+)\)"', svg)) == set(defined)


def test_text_with_dollars_is_no_formula(summary: Callable[..., PointSummary]) -> None:
    page = DatasetPage("$x", "a$b", "$", "ADC counts", ("$", "$", "c"), (summary("nominal", 0.0), summary("far", 1.0)))
    png, _ = draw_page(page)
    assert png.startswith(b"\x89PNG")


def test_colours_follow_the_strength(summary: Callable[..., PointSummary]) -> None:
    nominal = summary("nominal", 0.03)
    both_sides = [summary(f"p{strength}", strength) for strength in (0.0, 0.02, 0.04, 0.06)]
    colours = point_colours(nominal, both_sides)
    for name, is_blue in (("p0.0", True), ("p0.02", True), ("p0.04", False), ("p0.06", False)):
        red, _, blue, _ = colours[name]
        assert (blue > red) == is_blue
    one_side = [summary(f"q{number}", 1 + number) for number in range(4)]
    colours = point_colours(nominal, one_side)
    assert len({tuple(colour) for colour in colours.values()}) == 4
    brightness = [float(np.sum(colours[f"q{number}"][:3])) for number in range(4)]
    assert brightness == sorted(brightness)


@pytest.mark.parametrize("colours", [palette.CHARGE, palette.CHANGE, palette.STRENGTH])
def test_every_colour_stands_out_from_white(colours: tuple[str, ...]) -> None:
    for position in np.linspace(0, 1, 33):
        red, green, blue, _ = palette.colour_map(colours)(position)
        # Contrast of WCAG 2.1: 1 is none. 1.6 is that of the grey in the middle of the diverging map, and light enough.
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
        assert 1.05 / (luminance + 0.05) > 1.6


@pytest.mark.parametrize("colours", [palette.CHARGE, palette.CHANGE])
def test_scales_of_both_libraries_are_the_same(colours: tuple[str, ...]) -> None:
    from matplotlib.colors import to_rgba

    for position, colour in palette.colour_scale(colours):
        assert palette.colour_map(colours)(position) == pytest.approx(to_rgba(colour), abs=0.01)
