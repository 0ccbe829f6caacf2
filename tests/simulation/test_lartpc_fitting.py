"""Fits of the front end to simulated targets whose settings are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nubench.containers import Events
from nubench.errors import DataError
from nubench.simulation.lartpc import (
    TABLE_I,
    LArTPCParameters,
    draw_parameters,
    simulate,
    simulate_draws,
    simulate_hits,
)
from nubench.simulation.lartpc.fitting import FRONT_END, FittedDetector, closed_form, fit_detector
from nubench.simulation.lartpc.moments import LEVELS, Tally, covariance
from nubench.simulation.lartpc.scale import Scale, effective, scale_of, with_scale
from nubench.simulation.resimulation import Resimulator
from short_tracks import Sample, short_tracks

NOMINAL = LArTPCParameters()


@pytest.fixture(scope="module")
def source() -> Sample:
    return short_tracks(800, 1)


@pytest.fixture(scope="module")
def target() -> Sample:
    return short_tracks(800, 2)


@pytest.fixture(scope="module")
def at_nominal(source: Sample) -> Events:
    return simulate(*source, NOMINAL, 9)


def fit(target: Events, source: Sample, at_nominal: Events, seed: int = 0, events: int = 300) -> FittedDetector:
    resimulator = Resimulator(*source, simulate_draws, draw_parameters)
    return fit_detector(target, at_nominal, resimulator, NOMINAL, events=events, seed=seed)


def _throw(seed: int) -> LArTPCParameters:
    [point] = draw_parameters(seed, np.array([1]))
    return point


@pytest.mark.parametrize("seed", range(4))
def test_gain_pedestal_and_range_cannot_be_told_apart(seed: int, target: Sample) -> None:
    point = _throw(seed)
    other = effective(point, NOMINAL)
    assert (other.v_cm, other.v_ref) == (NOMINAL.v_cm, NOMINAL.v_ref)
    assert abs(other.gain - point.gain) > 1e-3
    assert scale_of(other) == pytest.approx(scale_of(point), rel=1e-12)
    deposits, ids = target[0].select(np.arange(60)), target[1][:60]
    first, second = (simulate_hits(deposits, ids, one, 3) for one in (point, other))
    assert len(first.adc) > 500
    assert np.array_equal(first.adc, second.adc)
    assert np.array_equal(first.charge, second.charge)
    assert np.array_equal(first.tick, second.tick)


def test_the_scale_is_the_digitiser_s(target: Sample) -> None:
    point = _throw(5)
    hits = simulate_hits(target[0].select(np.arange(40)), target[1][:40], point, 3)
    slope, offset = scale_of(point)
    free = hits.adc < 255
    assert np.allclose((slope * hits.charge + offset)[free], hits.adc[free], atol=0.5001)
    wanted = Scale(1.1e-3, 60.0)
    assert scale_of(with_scale(point, wanted)) == pytest.approx(wanted)
    # An offset that was subtracted afterwards belongs to the scale.
    assert scale_of(replace(point, adc_offset=-7.0)).offset == pytest.approx(offset - 7)


@pytest.mark.parametrize(("gain", "pedestal"), [(1.0, 0.0), (1.05, 60.0), (0.96, -35.0), (1.0, 20.0)])
def test_the_closed_form_finds_an_affine_change(
    gain: float, pedestal: float, at_nominal: Events, target: Sample
) -> None:
    nominal = scale_of(NOMINAL)
    truth = Scale(nominal.slope * gain, nominal.offset + pedestal)
    seen = Tally.of(simulate(*target, with_scale(NOMINAL, truth), 9))
    tally, rng = Tally.of(at_nominal), np.random.default_rng(0)
    spread = covariance(rng, seen) + covariance(rng, tally)
    found, errors = closed_form(seen.moments(), tally.moments(), spread, nominal)
    pulls = np.subtract(found, truth) / errors
    assert np.abs(pulls).max() < 3
    # And the errors are worth something: 800 short tracks know the slope to a few per cent, the offset to a count.
    assert errors.slope < 0.04 * nominal.slope
    assert errors.offset < 0.8


def test_the_closed_form_is_exact_for_the_same_charges() -> None:
    rng, nominal = np.random.default_rng(0), scale_of(NOMINAL)
    charge = np.concatenate([rng.uniform(7e3, 5e4, len(LEVELS)), [0, 0]])
    charge[: len(LEVELS)].sort()
    wanted = Scale(1.2e-3, 31.0)
    moments = [scale.slope * charge + scale.offset for scale in (wanted, nominal)]
    found, _ = closed_form(*moments, np.eye(len(charge)), nominal)
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.slow
def test_a_nominal_target_is_found_nominal(source: Sample, at_nominal: Events, target: Sample) -> None:
    fitted = fit(simulate(*target, NOMINAL, 9), source, at_nominal)
    assert [parameter.name for parameter in fitted.parameters] == [parameter.name for parameter in FRONT_END]
    for parameter in fitted.parameters:
        assert abs(parameter.value - parameter.nominal) < 3 * parameter.error, parameter
        assert parameter.error <= parameter.width
    assert fitted.converged
    assert fitted.chi_squared < 2 * fitted.moments


@pytest.mark.slow
def test_throws_are_found_within_the_errors(source: Sample, at_nominal: Events) -> None:
    pulls = []
    for seed in range(20, 25):
        truth = _throw(seed)
        reference = effective(truth, NOMINAL)
        fitted = fit(simulate(*short_tracks(800, seed), truth, 9), source, at_nominal)
        pulls.append([(p.value - getattr(reference, p.name)) / p.error for p in fitted.parameters])
    spread = np.sqrt(np.mean(np.square(pulls), axis=0))
    # Five pulls of sigma 1 have a root mean square above 2 once in 800 times.
    assert np.all(spread < 2), spread
    assert np.mean(spread) < 1.4, spread


@pytest.mark.slow
def test_what_the_target_does_not_show_is_left_to_the_prior(source: Sample, at_nominal: Events, target: Sample) -> None:
    truth = LArTPCParameters(gain=4.1, v_pedestal=690.0, discriminator_threshold=6720.0, buffer_risetime=0.12)
    fitted = fit(simulate(*target, truth, 9), source, at_nominal)
    by_name = {parameter.name: parameter for parameter in fitted.parameters}
    seen = {name for name, parameter in by_name.items() if not parameter.from_prior}
    assert {"gain", "v_pedestal", "discriminator_threshold"} <= seen
    assert "buffer_risetime" not in seen
    assert by_name["buffer_risetime"].value == pytest.approx(0.1, abs=0.01)
    assert by_name["v_pedestal"].value == pytest.approx(690, abs=6)
    assert by_name["discriminator_threshold"].value < 6900
    point = fitted.detector(NOMINAL)
    assert point.discriminator_threshold == by_name["discriminator_threshold"].value
    assert (point.v_cm, point.electric_field) == (NOMINAL.v_cm, NOMINAL.electric_field)
    assert FittedDetector.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.slow
def test_a_fit_follows_from_its_seed(source: Sample, at_nominal: Events, target: Sample) -> None:
    seen = simulate(*target, _throw(7), 9)
    first = fit(seen, source, at_nominal, seed=4, events=60)
    assert fit(seen, source, at_nominal, seed=4, events=60) == first
    assert fit(seen, source, at_nominal, seed=5, events=60) != first


def test_the_prior_of_the_effective_gain_is_what_table_i_spreads() -> None:
    rng = np.random.default_rng(0)
    thrown = {name: getattr(NOMINAL, name) * (1 + TABLE_I[name] * rng.normal(size=200_000)) for name in TABLE_I}
    spread = np.std(thrown["gain"] / (thrown["v_ref"] - thrown["v_cm"]) * (NOMINAL.v_ref - NOMINAL.v_cm) / NOMINAL.gain)
    assert FRONT_END[0].width == pytest.approx(spread, rel=0.02)


def test_too_few_events_are_refused(source: Sample, at_nominal: Events) -> None:
    resimulator = Resimulator(*source, simulate_draws, draw_parameters)
    few = at_nominal.select(np.arange(49))
    with pytest.raises(DataError, match="at least 50 target events; got 49"):
        fit_detector(few, at_nominal, resimulator, NOMINAL)
    with pytest.raises(DataError, match="at least 50 source events; got 49"):
        fit_detector(at_nominal, few, resimulator, NOMINAL)


def test_moments_by_hand() -> None:
    # Pixel (0, 0) has a hit at 3 and again at 5 and at 12; pixel (1, 0) one at 4; the second event one hit alone.
    coords = np.array([[3, 0, 0], [5, 0, 0], [12, 0, 0], [4, 1, 0], [6, 0, 0]], np.int32)
    adc = np.array([[80.0], [80], [90], [100], [90]], np.float32)
    tally = Tally.of(Events(np.array([0, 4, 5]), coords, adc))
    assert tally.values.tolist() == [80, 90, 100]
    assert tally.counts.tolist() == [[2, 1, 1], [0, 1, 0]]
    # Of five hits the middles of the three counts lie at 0.2, 0.6 and 0.9.
    assert tally.second_hits.tolist() == [1, 0]
    moments = tally.moments()
    assert moments[: len(LEVELS)][np.isclose(LEVELS, 0.4)] == pytest.approx(80 + 10 * (0.4 - 0.2) / (0.6 - 0.2))
    assert moments[-2:] == pytest.approx(np.log([2.5, 2 / 5]))
    assert tally.moments(np.array([1.0, 2.0]))[-2:] == pytest.approx(np.log([2.0, 2 / 6]))


def test_the_bootstrap_gives_the_error_of_the_mean(at_nominal: Events) -> None:
    hits = at_nominal.voxels_per_event
    expected = np.std(hits) / np.mean(hits) / np.sqrt(len(hits))
    found = np.sqrt(covariance(np.random.default_rng(1), Tally.of(at_nominal))[-2, -2])
    assert found == pytest.approx(expected, rel=0.2)
    # The same response twice does not differ, whatever events are drawn.
    tally = Tally.of(at_nominal)
    assert not covariance(np.random.default_rng(1), tally, tally).any()
