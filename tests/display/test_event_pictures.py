"""The PNG and the page of an event: the right points, labels and units, and nothing fetched from elsewhere."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nubench.display import event3d, event_png
from nubench.display.rendering import style
from nubench.display.views import EventView, Hits


def _with_crosstalk(view: EventView) -> EventView:
    nominal = view.hits["nominal"]
    told = Hits(nominal.coords, nominal.charge, np.arange(len(nominal)) % 4 != 0)
    return replace(view, hits={"nominal": told})


def _points(collection: object) -> int:
    return len(collection._offsets3d[0])  # type: ignore[attr-defined]


def test_the_picture_holds_every_hit(view: EventView) -> None:
    with style():
        figure = event_png.event_figure(view)
    nominal, throw, difference = (axes for axes in figure.axes if axes.name == "3d")
    assert nominal.get_title() == "nominal: 20 hits"
    assert throw.get_title() == "throw2: 21 hits"
    assert difference.get_title() == "throw2 minus nominal: 18 voxels in both"
    assert [_points(axes.collections[0]) for axes in (nominal, throw, difference)] == [20, 21, 18]
    labelled = {drawn.get_label(): _points(drawn) for drawn in difference.collections if hasattr(drawn, "_offsets3d")}
    assert labelled["appeared (3)"] == 3
    assert labelled["vanished (2)"] == 2
    assert figure._suptitle.get_text() == "\n".join([view.particle.title, view.origin])


def test_the_axes_of_the_picture_are_of_equal_scale_and_in_cm(view: EventView) -> None:
    with style():
        figure = event_png.event_figure(view)
    for axes in (axes for axes in figure.axes if axes.name == "3d"):
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()) == ("x (drift), cm", "y, cm", "z, cm")
        sides = np.ptp([axes.get_xlim(), axes.get_ylim(), axes.get_zlim()], axis=1)
        assert axes._box_aspect / axes._box_aspect.max() == pytest.approx(sides / sides.max())
        assert sides == pytest.approx(np.ptp(view.limits(), axis=1))
    bars = [axes.get_xlabel() for axes in figure.axes if axes.name != "3d"]
    assert bars == ["ADC counts", "change of ADC counts"]


def test_change_is_coloured_around_zero(view: EventView) -> None:
    with style():
        figure = event_png.event_figure(view)
    low, high = figure.axes[-1].get_xlim()
    assert low == -high == -5.0
    # 5 counts more, at the end of the scale, on each of the 18 voxels
    difference = [axes for axes in figure.axes if axes.name == "3d"][-1]
    colours = np.asarray(difference.collections[0].get_facecolor())
    assert np.ptp(colours, axis=0) == pytest.approx(0)
    assert colours[0] == pytest.approx(np.array([0xA6, 0x36, 0x03, 0xFF]) / 255, abs=0.01)


def test_crosstalk_is_drawn_open(view: EventView) -> None:
    with style():
        figure = event_png.event_figure(_with_crosstalk(view))
        figure.canvas.draw()  # sorts the colours by depth
    track, crosstalk = figure.axes[0].collections[:2]
    assert track.get_label() == "nominal: track (15)"
    assert crosstalk.get_label() == "nominal: crosstalk (5)"
    assert len(np.asarray(crosstalk.get_facecolor())) == 0
    assert len(np.asarray(crosstalk.get_edgecolor())) == 5


def test_the_same_event_gives_the_same_files(view: EventView) -> None:
    first, page = event_png.draw_event(view), event3d.draw_event_page(view)
    assert event_png.draw_event(view) == first
    assert event3d.draw_event_page(view) == page


def test_the_picture_is_an_image_of_one_or_three_panels(view: EventView) -> None:
    three = Image.open(io.BytesIO(event_png.draw_event(view)))
    one = Image.open(io.BytesIO(event_png.draw_event(_with_crosstalk(view))))
    assert three.format == one.format == "PNG"
    assert three.height == one.height
    assert three.width > 2 * one.width
    assert not {"Software", "Creation Time"} & set(three.info)


def _traces(view: EventView) -> dict[tuple[str, str], dict[str, object]]:
    figure = event3d.event_figure(view)
    return {(trace.scene, trace.name): trace for trace in figure.data if trace.type == "scatter3d"}


def test_the_page_holds_every_hit_with_its_place_and_charge(view: EventView) -> None:
    traces = _traces(view)
    nominal = traces["scene", "nominal: hits (20)"]
    centres = np.stack([nominal.x, nominal.y, nominal.z], axis=1)
    assert centres == pytest.approx(view.readout.centres(view.hits["nominal"].coords), abs=1e-3)
    assert np.array_equal(nominal.customdata, view.hits["nominal"].charge)
    assert np.array_equal(nominal.marker.color, view.hits["nominal"].charge)
    assert nominal.hovertemplate == (
        "x %{x:.2f} cm<br>y %{y:.2f} cm<br>z %{z:.2f} cm<br>ADC counts: %{customdata:.4~g}<extra></extra>"
    )
    assert len(traces["scene2", "throw2: hits (21)"].x) == 21
    both = traces["scene3", "in both (18)"]
    assert np.array_equal(both.customdata, np.full(18, 5, np.float32))
    assert "change of ADC counts: %{customdata:+.4~g}" in both.hovertemplate
    assert len(traces["scene3", "appeared (3)"].x) == 3
    assert len(traces["scene3", "vanished (2)"].x) == 2


def test_the_scenes_of_the_page_are_alike(view: EventView) -> None:
    layout = event3d.event_figure(view).layout
    for scene in (layout.scene, layout.scene2, layout.scene3):
        assert [axis.title.text for axis in (scene.xaxis, scene.yaxis, scene.zaxis)] == list(view.readout.axes)
        ranges = [axis.range for axis in (scene.xaxis, scene.yaxis, scene.zaxis)]
        assert np.array(ranges) == pytest.approx(view.limits())
        assert scene.aspectmode == "data"
    assert layout.coloraxis.colorbar.title.text == "ADC counts"
    assert (layout.coloraxis2.cmin, layout.coloraxis2.cmax) == (-5, 5)
    assert [note.text for note in layout.annotations] == [
        "nominal: 20 hits",
        "throw2: 21 hits",
        "throw2 minus nominal: 18 voxels in both",
    ]


def test_the_page_tells_crosstalk_apart(view: EventView) -> None:
    traces = _traces(_with_crosstalk(view))
    assert traces["scene", "nominal: track (15)"].marker.symbol == "circle"
    assert traces["scene", "nominal: crosstalk (5)"].marker.symbol == "circle-open"


def test_the_page_opens_without_a_network(view: EventView) -> None:
    page = event3d.draw_event_page(view)
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<title>muon (PDG -13), kinetic energy 412 MeV, event 3000000007</title>") == 1
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page)
    assert any(tag.startswith("<script") for tag in tags)
    assert [tag for tag in tags if re.search(r"\b(?:src|href)\s*=", tag)] == []
    assert "Plotly.newPlot(" in page
    assert 3e6 < len(page) < 8e6


def test_turning_one_scene_turns_the_others(view: EventView) -> None:
    # Run by no browser here: the script must at least name the figure and listen to it.
    page = event3d.draw_event_page(view)
    assert 'document.getElementById("event")' in page
    assert 'plot.on("plotly_relayout"' in page
    assert '<div id="event"' in page


def test_what_the_page_cannot_trust_is_escaped(view: EventView) -> None:
    wicked = replace(view, particle=replace(view.particle, name="<script>alert(1)</script>"), notes=("a & b",))
    page = event3d.draw_event_page(wicked)
    assert "<title>&lt;script&gt;" in page
    assert "<script>alert(1)" not in page
    figure = json.loads(event3d.event_figure(wicked).to_json())
    assert figure["layout"]["title"]["text"].endswith("<br>a &amp; b")
