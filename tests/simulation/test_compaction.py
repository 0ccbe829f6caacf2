from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.simulation.compaction import SEGMENT_LENGTH, SHORT_TRACK_LENGTH, Steps, compact


def steps(rows: list[tuple[int, int, tuple[float, ...], tuple[float, ...], float]]) -> Steps:
    event, track, start, end, energy = ([row[i] for row in rows] for i in range(5))
    return Steps(
        np.array(event, dtype=np.int64),
        np.array(track, dtype=np.int64),
        np.array(start, dtype=float).reshape(-1, 3).T.copy(),
        np.array(end, dtype=float).reshape(-1, 3).T.copy(),
        np.array(energy, dtype=float),
        np.zeros(len(rows)),
    )


def along_z(event: int, track: int, ends: list[float], x: float = 0.0) -> list:
    """Steps along z from 0 through ``ends``, of 1 MeV each."""
    return [(event, track, (x, 0, a), (x, 0, b), 1.0) for a, b in zip([0.0, *ends[:-1]], ends, strict=True)]


NONE = steps([])


def z_of(result: Steps) -> list[tuple[float, float]]:
    return list(zip(result.start[2].tolist(), result.end[2].tolist(), strict=True))


def test_micro_steps_are_joined_up_to_the_segment_length() -> None:
    result = compact(steps(along_z(0, 1, [0.04, 0.08, 0.1, 0.13, 0.19, 0.25])), NONE)
    assert z_of(result) == [(0.0, 0.1), (0.1, 0.19), (0.19, 0.25)]
    assert result.energy.tolist() == [3, 2, 1]


def test_long_steps_stay() -> None:
    result = compact(steps(along_z(0, 1, [0.5, 0.52, 1.0, 1.01, 1.02])), NONE)
    assert z_of(result) == [(0.0, 0.5), (0.5, 0.52), (0.52, 1.0), (1.0, 1.02)]


def test_steps_of_another_track_or_event_are_not_joined() -> None:
    first = along_z(0, 1, [0.01])
    next_track = [(0, 2, (0, 0, 0.01), (0, 0, 0.2), 1.0)]
    next_event = [(1, 2, (0, 0, 0.2), (0, 0, 0.21), 1.0)]
    assert len(compact(steps(first + next_track + next_event), NONE)) == 3


def test_a_short_delta_ray_goes_to_the_step_that_ends_where_it_starts() -> None:
    muon = along_z(0, 1, [0.3, 0.6])
    delta = [(0, 2, (0, 0, 0.3), (0.02, 0, 0.3), 0.25)]
    result = compact(steps(muon + delta), NONE)
    assert z_of(result) == [(0.0, 0.3), (0.3, 0.6)]
    assert result.energy.tolist() == [1.25, 1.0]


def test_of_the_two_steps_that_meet_at_a_delta_ray_the_shorter_gets_it() -> None:
    muon = along_z(0, 1, [0.3, 0.45, 0.8])
    deltas = [(0, 2, (0, 0, 0.3), (0.02, 0, 0.3), 0.25), (0, 3, (0, 0, 0.45), (0.02, 0, 0.45), 0.5)]
    assert compact(steps(muon + deltas), NONE).energy.tolist() == [1.0, 1.75, 1.0]


def test_a_delta_ray_of_a_delta_ray_goes_to_the_track_itself() -> None:
    muon = along_z(0, 1, [0.3, 0.6])
    delta = [(0, 3, (0, 0, 0.3), (0.02, 0, 0.3), 0.25)]
    of_delta = [(0, 7, (0.02, 0, 0.3), (0.03, 0, 0.3), 0.5)]
    assert compact(steps(muon + delta + of_delta), NONE).energy.tolist() == [1.75, 1.0]


def test_a_long_delta_ray_stays_a_track() -> None:
    muon = along_z(0, 1, [0.3])
    delta = [(0, 2, (0, 0, 0.3), (2 * SHORT_TRACK_LENGTH, 0, 0.3), 0.25)]
    assert compact(steps(muon + delta), NONE).energy.tolist() == [1.0, 0.25]


def test_the_same_place_in_another_event_is_another_place() -> None:
    muon = along_z(0, 1, [0.3])
    stranger = [(1, 2, (0, 0, 0.3), (0.02, 0, 0.3), 0.25)]
    assert compact(steps(muon + stranger), NONE).energy.tolist() == [1.0, 0.25]


def test_a_point_at_the_start_of_a_track_is_given_to_it() -> None:
    photoelectron = [(0, 5, (1, 2, 3), (1, 2, 3.01), 0.06)]
    atom = steps([(0, 4, (1, 2, 3), (1, 2, 3), 0.0032), (0, 4, (9, 9, 9), (9, 9, 9), 0.001)])
    result = compact(steps(photoelectron), atom)
    np.testing.assert_allclose(result.energy, [0.0632, 0.001])
    assert np.array_equal(result.start[:, 1], result.end[:, 1])


def test_points_alone_and_nothing_at_all() -> None:
    points = steps([(0, 4, (1, 2, 3), (1, 2, 3), 0.5)])
    assert compact(NONE, points).energy.tolist() == [0.5]
    assert len(compact(NONE, NONE)) == 0


@st.composite
def showers(draw: st.DrawFn) -> tuple[Steps, Steps]:
    """Random walks that branch where steps end, over a few events, with some points."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lines: list = []
    points: list = []
    for event in range(draw(st.integers(1, 4))):
        nodes = [(0.0, 0.0, 0.0)]
        for track in range(1, draw(st.integers(1, 12))):
            at = nodes[rng.integers(len(nodes))]
            if rng.random() < 0.3:
                points.append((event, track, at, at, rng.random()))
            for _ in range(rng.integers(1, 8)):
                end = tuple((np.array(at) + rng.normal(size=3) * 10 ** rng.uniform(-3, -0.5)).tolist())
                lines.append((event, track, at, end, rng.random()))
                at = end
                nodes.append(end)
    return steps(lines), steps(points)


@settings(max_examples=60, deadline=None)
@given(showers())
def test_energy_is_kept_and_no_segment_grows_too_long(shower: tuple[Steps, Steps]) -> None:
    lines, points = shower
    result = compact(lines, points)
    assert len(result) <= len(lines) + len(points)
    events = int(max(lines.event.max(initial=0), points.event.max(initial=0))) + 1
    before = np.bincount(lines.event, lines.energy, events) + np.bincount(points.event, points.energy, events)
    np.testing.assert_allclose(np.bincount(result.event, result.energy, events), before, rtol=1e-12)
    assert np.all(np.diff(result.event) >= 0)
    length = np.linalg.norm(result.end - result.start, axis=0)
    own = set(np.linalg.norm(lines.end - lines.start, axis=0).tolist())
    assert all(value in own for value in length[length > SEGMENT_LENGTH + 1e-6].tolist())


@settings(max_examples=30, deadline=None)
@given(showers())
def test_an_event_is_compacted_alike_alone(shower: tuple[Steps, Steps]) -> None:
    lines, points = shower
    together = compact(lines, points)
    for event in range(int(lines.event.max(initial=0)) + 1):
        alone = compact(lines.select(lines.event == event), points.select(points.event == event))
        expected = together.select(together.event == event)
        assert all(np.array_equal(getattr(alone, f), getattr(expected, f)) for f in Steps.__slots__)
