"""From energy to induced charge: quenching, drift, weighting potential and its tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.simulation.lartpc.drift import DRIFT_LENGTH_CM, PIXEL_PITCH_CM, diffusion_width, drift_velocity
from nubench.simulation.lartpc.frontend import FrontEnd, front_end_of
from nubench.simulation.lartpc.induction import (
    BINS_PER_PIXEL,
    DIFFUSION_LEVELS,
    PHASES,
    WINDOW_TICKS,
    InductionTable,
    cumulative_charge,
    induction_table,
    weighting_potential,
)
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.pixels import pack_pixel, unpack_pixel
from nubench.simulation.lartpc.quenching import free_electrons, recombination_of, surviving_fraction
from nubench.simulation.lartpc.transport import (
    LEAD_TICKS,
    READ_TICKS,
    Drift,
    drift_charge,
    induce_charge,
    read_event,
)

BIRKS = recombination_of(LArTPCParameters())
BOX = recombination_of(LArTPCParameters(recombination="box"))
# Without threshold and noise no pixel is left out.
EVERY_PIXEL = FrontEnd(4.0, 0.1, 288.0, 1300.0, 580.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def table() -> InductionTable:
    nominal = LArTPCParameters()
    return induction_table(nominal.transverse_diffusion, nominal.longitudinal_diffusion, drift_velocity(0.5))


def test_drift_velocity_at_the_nominal_field() -> None:
    assert drift_velocity(0.5) == pytest.approx(0.159645, abs=5e-7)
    assert drift_velocity(0.45) < drift_velocity(0.5) < drift_velocity(0.55)


def test_diffusion_at_full_drift() -> None:
    time = DRIFT_LENGTH_CM / drift_velocity(0.5)
    assert time == pytest.approx(315.7, abs=0.1)
    assert diffusion_width(8.8e-6, time) == pytest.approx(0.0745, abs=1e-4)
    assert diffusion_width(4.0e-6, time) == pytest.approx(0.0503, abs=1e-4)


@pytest.mark.parametrize("energy_per_length", [0.5, 2.1, 10.0, 50.0])
def test_surviving_fraction_is_the_published_formula(energy_per_length: float) -> None:
    density = energy_per_length / (0.5 * 1.38)
    assert surviving_fraction(energy_per_length, BIRKS) == pytest.approx(0.8 / (1 + 0.0486 * density))
    expected = max(0.0, math.log(0.93 + 0.207 * density) / (0.207 * density))
    assert surviving_fraction(energy_per_length, BOX) == pytest.approx(expected)


def test_a_minimum_ionising_particle_keeps_seven_tenths() -> None:
    assert surviving_fraction(2.1, BIRKS) == pytest.approx(0.697, abs=0.001)
    assert surviving_fraction(2.1, BOX) == pytest.approx(0.705, abs=0.001)
    assert free_electrons(0.21, 0.1, BIRKS) == pytest.approx(0.21 / 23.6e-6 * 0.697, rel=2e-3)


def test_points_count_as_lightly_ionising() -> None:
    assert free_electrons(1.0, 0.0, BIRKS) == pytest.approx(0.8 / 23.6e-6)
    assert free_electrons(1.0, 0.0, BOX) == pytest.approx(math.log(1.93) / 23.6e-6)
    assert free_electrons(0.0, 0.0, BIRKS) == 0.0


def test_weighting_potential_limits() -> None:
    origin, near = np.zeros(1), np.full(1, 1e-7)
    assert weighting_potential(origin, origin, near)[0] == pytest.approx(1.0, abs=1e-5)
    assert weighting_potential(np.full(1, 0.3), origin, near)[0] == pytest.approx(0.0, abs=1e-5)
    # Far away a pad is a dipole: a^2 / (2 pi z^2).
    assert weighting_potential(origin, origin, np.full(1, 30.0))[0] == pytest.approx(
        0.342**2 / (2 * math.pi * 900), rel=1e-3
    )


def test_approach_has_the_shape_of_the_fitted_table() -> None:
    centre = np.full(1, 0.019)
    times = np.linspace(-8.9, 0.5, 9401)
    collected = cumulative_charge(centre, centre, times)
    reached = [-times[np.argmax(collected > share)] for share in (0.1, 0.5, 0.9)]
    assert reached == pytest.approx([2.2, 0.6, 0.1], abs=0.2)
    just_outside = cumulative_charge(np.full(1, 0.209), centre, times)
    assert just_outside.max() == pytest.approx(0.22, abs=0.02)
    assert cumulative_charge(np.full(1, 0.285), centre, times).max() == pytest.approx(0.08, abs=0.02)
    assert (collected[-1], just_outside[-1]) == (1.0, 0.0)


def test_collecting_pixel_gets_the_charge_and_neighbours_nothing(table: InductionTable) -> None:
    totals = table.charge.sum(axis=4)
    inside = BINS_PER_PIXEL // 2
    expected = np.zeros(totals.shape[2:])
    expected[:inside, :inside] = 1.0
    assert totals[0] == pytest.approx(np.broadcast_to(expected, totals[0].shape), abs=1e-5)
    assert np.all(table.rings == 1)


def test_diffusion_conserves_charge(table: InductionTable) -> None:
    """Wherever a charge starts in its pixel, what the pixels around it collect adds up to it."""
    width = PIXEL_PITCH_CM / BINS_PER_PIXEL
    start = (np.arange(BINS_PER_PIXEL) + 0.5) * width - PIXEL_PITCH_CM / 2
    bins = np.floor(np.abs(start[:, None] - np.arange(-1, 2) * PIXEL_PITCH_CM) / width).astype(int)
    for level in range(DIFFUSION_LEVELS):
        total = table.charge[level, 0].sum(axis=2)
        summed = sum(total[bins[:, i][:, None], bins[:, j][None, :]] for i in range(3) for j in range(3))
        # A shade of the most diffused charge goes beyond the ring that is read out.
        assert summed == pytest.approx(np.ones_like(summed), abs=1e-4)


def test_diffused_share_is_that_of_a_gaussian(table: InductionTable) -> None:
    sigma = diffusion_width(8.8e-6, DRIFT_LENGTH_CM / drift_velocity(0.5))
    half, centre = PIXEL_PITCH_CM / 2, PIXEL_PITCH_CM / BINS_PER_PIXEL / 2
    one_axis = 0.5 * (
        math.erf((half - centre) / sigma / math.sqrt(2)) + math.erf((half + centre) / sigma / math.sqrt(2))
    )
    assert table.charge[-1, 0, 0, 0].sum() == pytest.approx(one_axis**2, abs=2e-3)


def test_longitudinal_diffusion_widens_the_pulse_and_keeps_its_mean() -> None:
    velocity = drift_velocity(0.5)
    along_only = induction_table(0.0, 4e-6, velocity).charge[:, 0, 0, 0].astype(float)
    ticks = np.arange(along_only.shape[1])
    sharp, wide = along_only[0], along_only[-1]
    assert np.all(sharp[WINDOW_TICKS + 1 :] == 0.0)
    means = [np.average(ticks, weights=pulse) for pulse in (sharp, wide)]
    assert means[1] == pytest.approx(means[0], abs=0.05)
    variances = [
        np.average((ticks - mean) ** 2, weights=pulse) for mean, pulse in zip(means, (sharp, wide), strict=True)
    ]
    sigma_ticks = diffusion_width(4e-6, DRIFT_LENGTH_CM / velocity) / velocity / 0.1
    assert variances[1] - variances[0] == pytest.approx(sigma_ticks**2, rel=0.1)


def test_diffusion_beyond_a_pixel_reads_more_rings() -> None:
    wide = induction_table(14e-6, 4e-6, drift_velocity(0.5))
    assert wide.rings[0] == 1
    assert wide.rings[-1] == math.ceil(5 * diffusion_width(14e-6, DRIFT_LENGTH_CM / drift_velocity(0.5)) / 0.38) == 2
    assert wide.charge.shape[1:4] == (PHASES, 2.5 * BINS_PER_PIXEL, 2.5 * BINS_PER_PIXEL)


@given(st.integers(-1000, 1000), st.integers(-(2**20), 2**20), st.integers(-(2**20), 2**20))
def test_pixels_are_packed_and_unpacked(plane: int, row: int, column: int) -> None:
    packed = pack_pixel(plane, row, column)
    assert packed >= 0
    assert unpack_pixel(packed) == (plane, row, column)


def drifted(
    start: list[float], end: list[float], energy: float = 1.0, time: float = 0.0, lifetime: float = 1e12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return drift_charge(
        np.array([start], np.float32),
        np.array([end], np.float32),
        np.array([energy], np.float32),
        np.array([time], np.float32),
        BIRKS,
        Drift(drift_velocity(0.5), lifetime),
    )


@pytest.mark.parametrize(
    ("x", "plane", "drift"),
    [(10.0, 1, 40.4), (-10.0, 0, 40.4), (60.0, 2, 9.6), (-60.0, -1, 9.6), (110.8, 3, 40.4), (0.0, 1, 50.4)],
)
def test_modules_repeat_along_the_drift(x: float, plane: int, drift: float) -> None:
    where, _, charge = drifted([x, 0.1, 650.0], [x, 0.1, 650.0], lifetime=2200.0)
    assert where[0, 0] == plane
    time = drift / drift_velocity(0.5)
    assert where[0, 5] == pytest.approx(time / 0.1, abs=1.0)
    assert charge.sum() == pytest.approx(0.8 / 23.6e-6 * math.exp(-time / 2200.0), rel=1e-5)


@given(
    st.lists(st.floats(-200, 200, width=32), min_size=3, max_size=3),
    st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3),
)
def test_no_charge_is_lost_on_the_way(start: list[float], along: list[float]) -> None:
    end = [a + b for a, b in zip(start, along, strict=True)]
    _, offset, charge = drifted(start, end)
    length = float(np.linalg.norm(np.float32(end).astype(float) - np.float32(start).astype(float)))
    assert charge.sum() == pytest.approx(free_electrons(1.0, length, BIRKS), rel=1e-6)
    assert np.abs(offset).max() <= PIXEL_PITCH_CM / 2 + 1e-9


def test_late_and_empty_deposits_are_left_out() -> None:
    point = [10.0, 0.0, 650.0]
    for energy, time in ((0.0, 0.0), (1.0, 400.0), (1.0, 1e9), (1.0, -1e9), (1.0, 3e38)):
        assert len(drifted(point, point, energy, time)[2]) == 0
    assert len(drifted(point, point, 1.0, 50.0)[2]) == 1


def induce_once(where, offset, charge, table, peak, rings, key, front_end):  # type: ignore[no-untyped-def]
    """The windows of a single reading."""
    return induce_charge(where, offset, charge, table, peak, rings, np.array([key]), np.array([front_end], float))


def test_induced_charge_adds_up_to_what_arrives(table: InductionTable) -> None:
    where, offset, charge = drifted([-30.0, -4.0, 640.0], [20.0, 3.0, 655.0], energy=100.0)
    slots, begins, induced = induce_once(
        where, offset, charge, table.charge, table.peak, table.rings, np.uint64(1), EVERY_PIXEL
    )
    assert induced.sum(dtype=float) == pytest.approx(charge.sum(), rel=1e-4)
    assert len(np.unique(slots[:, 0])) == len(slots)
    assert np.array_equal(np.diff(begins), slots[:, 2] - slots[:, 1])
    assert slots[:, 1].min() >= -LEAD_TICKS
    assert slots[:, 2].max() <= READ_TICKS


def test_pixels_without_a_window_cannot_trigger(table: InductionTable) -> None:
    """What the shortcut leaves out is what the front end would not have recorded, bit for bit."""
    where, offset, charge = drifted([-30.0, -4.0, 640.0], [20.0, 3.0, 655.0], energy=100.0)
    front_end, key = front_end_of(LArTPCParameters()), np.uint64(7)
    windows = [
        induce_once(where, offset, charge, table.charge, table.peak, table.rings, key, settings)
        for settings in (EVERY_PIXEL, front_end)
    ]
    assert len(windows[1][2]) < len(windows[0][2])
    all_pixels, seen = (read_event(*window, key, front_end) for window in windows)
    assert len(seen[0]) > 100
    assert all(np.array_equal(first, second) for first, second in zip(all_pixels, seen, strict=True))


def test_windows_of_several_readings_hold_those_of_each(table: InductionTable) -> None:
    where, offset, charge = drifted([-30.0, -4.0, 640.0], [20.0, 3.0, 655.0], energy=100.0)
    tables = (table.charge, table.peak, table.rings)
    nominal = front_end_of(LArTPCParameters())
    readings = [
        (1, nominal),
        (2, nominal._replace(discriminator_threshold=4e3)),
        (3, nominal._replace(reset_noise=0.0)),
    ]
    keys = np.array([key for key, _ in readings], np.uint64)
    front_ends = np.array([front_end for _, front_end in readings])
    slots, begins, induced = induce_charge(where, offset, charge, *tables, keys, front_ends)
    seen = np.zeros(len(slots), bool)
    for key, front_end in readings:
        alone_slots, alone_begins, alone = induce_once(where, offset, charge, *tables, np.uint64(key), front_end)
        assert np.array_equal(slots, alone_slots)
        for slot in np.flatnonzero(np.diff(alone_begins)):
            seen[slot] = True
            window, alone_window = (
                values[first[slot] : first[slot + 1]] for values, first in ((induced, begins), (alone, alone_begins))
            )
            assert np.array_equal(window, alone_window)
    assert np.array_equal(seen, np.diff(begins) > 0)
    assert 0 < seen.sum() < len(slots)


def test_memory_goes_with_the_charge(table: InductionTable) -> None:
    where, offset, charge = drifted([0.5, 0.0, 640.0], [0.5, 20.0, 640.0], energy=40.0)
    slots, _, induced = induce_once(
        where, offset, charge, table.charge, table.peak, table.rings, np.uint64(1), EVERY_PIXEL
    )
    assert len(induced) < 130 * len(slots)
