"""Axes, arrow, colours and the search for an event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nubench.containers import LabelledEvents
from nubench.display.views import EventView, Hits, Readout, find_hits, find_particle


def test_limits_hold_all_hits_and_the_arrow(view: EventView) -> None:
    limits = view.limits()
    for hits in view.hits.values():
        centres = view.readout.centres(hits.coords)
        assert np.all((limits[:, 0] < centres) & (centres < limits[:, 1]))
    start, end = view.arrow()
    assert np.all((limits[:, 0] < start) & (start < limits[:, 1]))
    assert np.array_equal(end, view.particle.vertex)
    assert (end - start) / np.linalg.norm(end - start) == pytest.approx(view.particle.direction)


def test_a_flat_event_keeps_readable_axes(view: EventView) -> None:
    # All hits lie at one z: without a shortest axis, its ticks would stand in each other.
    sides = np.ptp(view.limits(), axis=1)
    assert sides.min() >= 0.4 * sides.max()


def test_one_hit_at_the_vertex_can_be_drawn(view: EventView) -> None:
    one = Hits(np.array([[0, 0, 1600]], np.int32), np.array([80], np.float32))
    lonely = replace(view, hits={"nominal": one})
    assert np.all(np.ptp(lonely.limits(), axis=1) > 0)
    low, high = lonely.charge_range()
    assert low < high


def test_voxel_centres_are_half_a_voxel_from_their_corner(view: EventView) -> None:
    centres = view.readout.centres(np.array([[0, -1, 10]], np.int32))
    assert centres.tolist() == [pytest.approx([0.19, -0.19, 3.99])]


def test_the_drift_axis_is_named_where_there_is_one() -> None:
    assert Readout.of("lartpc", "ADC counts", 0.38).axes == ("x (drift), cm", "y, cm", "z, cm")
    assert Readout.of("scintillator", "photoelectrons", 1.0).axes == ("x, cm", "y, cm", "z, cm")


def test_colours_end_near_the_charge_of_both_points(view: EventView) -> None:
    every = np.concatenate([hits.charge for hits in view.hits.values()])
    low, high = view.charge_range()
    assert every.min() <= low < 82
    assert 120 < high <= every.max()


def test_hits_are_grouped_by_what_made_them() -> None:
    coords = np.arange(9, dtype=np.int32).reshape(3, 3)
    charge = np.array([5, 50, 6], np.float32)
    plain = Hits(coords, charge)
    assert [(name, len(hits)) for name, hits in plain.groups()] == [("hits", 3)]
    told = Hits(coords, charge, np.array([False, True, False]))
    assert [(name, hits.charge.tolist()) for name, hits in told.groups()] == [("track", [50]), ("crosstalk", [5, 6])]
    track_alone = Hits(coords, charge, np.array([True, True, True]))
    assert [name for name, _ in track_alone.groups()] == ["track"]


def test_an_event_is_found_by_its_id(synthetic_events: Callable[..., LabelledEvents]) -> None:
    events = synthetic_events(6, 1)
    shuffled = events.select(np.array([3, 0, 5]))
    hits = find_hits(shuffled, 1005)
    assert hits is not None
    rows = slice(events.events.offsets[5], events.events.offsets[6])
    assert np.array_equal(hits.coords, events.events.coords[rows])
    assert np.array_equal(hits.charge, events.events.features[rows, 0])
    particle = find_particle(shuffled, 1005, ("a", "b", "c"))
    assert particle is not None
    assert particle.name == "abc"[events.labels[5]]
    assert particle.kinetic_energy == pytest.approx(float(events.truth.kinetic_energy[5]))
    assert find_hits(shuffled, 1001) is None
    assert find_particle(shuffled, 1001, ("a", "b", "c")) is None


def test_the_title_names_the_particle(view: EventView) -> None:
    assert view.particle.title == "muon (PDG -13), kinetic energy 412 MeV, event 3000000007"
    slow = replace(view.particle, kinetic_energy=0.532)
    assert "kinetic energy 0.53 MeV" in slow.title
