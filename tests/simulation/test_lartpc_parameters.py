"""Parameters of the LArTPC: what is accepted, what is refused, and how throws are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.errors import UsageError
from nubench.simulation.lartpc import TABLE_I, LArTPCParameters, draw_parameters, draw_throw, draw_throws


def test_nominal_values_are_those_of_table_i() -> None:
    nominal = LArTPCParameters()
    assert [getattr(nominal, name) for name in TABLE_I] == [4.0, 0.1, 288.0, 1300.0, 580.0, 900.0, 500.0, 650.0, 7000.0]
    assert list(TABLE_I.values()) == [0.02, 0.10, 0.02, 0.02, 0.20, 0.10, 0.10, 0.10, 0.02]


def test_mapping_there_and_back() -> None:
    parameters = LArTPCParameters(gain=4.2, recombination="box")
    assert LArTPCParameters.from_mapping(parameters.to_mapping()) == parameters
    assert LArTPCParameters.from_mapping({}) == LArTPCParameters()


def test_defects_and_calibration_are_off_unless_asked_for() -> None:
    off = {"adc_offset": 0.0, "dead_fraction": 0.0, "dead_group": 1.0, "noise_hits": 0.0}
    assert LArTPCParameters.from_mapping(off) == LArTPCParameters()
    assert LArTPCParameters(dead_group=8) == LArTPCParameters(dead_group=8.0)


def test_unknown_name_is_answered_with_its_near_miss() -> None:
    with pytest.raises(UsageError, match="did you mean 'v_pedestal'"):
        LArTPCParameters.from_mapping({"v_pedestall": 1.0})
    with pytest.raises(UsageError, match="did you mean 'birks'"):
        LArTPCParameters(recombination="birk")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("electron_lifetime", -1.0),
        ("electron_lifetime", 0.0),
        ("reset_noise", -1e-9),
        ("uncorrelated_noise", -500.0),
        ("discriminator_noise", -1.0),
        ("discriminator_threshold", -7000.0),
        ("buffer_risetime", -0.1),
        ("gain", 0.0),
        ("electric_field", 0.01),
        ("electric_field", 50.0),
        ("transverse_diffusion", 1.0),
        ("longitudinal_diffusion", -1e-6),
        ("v_pedestal", math.nan),
        ("v_pedestal", math.inf),
        ("gain", "4"),
        ("gain", True),
        ("v_ref", 288.0),
        ("adc_offset", math.nan),
        ("dead_fraction", -0.01),
        ("dead_fraction", 1.0),
        ("dead_group", 0.0),
        ("dead_group", 2.5),
        ("dead_group", 2000.0),
        ("noise_hits", -1.0),
        ("noise_hits", 501.0),
    ],
)
def test_what_is_out_of_range_is_named_with_its_value(name: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        LArTPCParameters.from_mapping({name: value})
    assert name in str(error.value)
    assert repr(value) in str(error.value)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1))
def test_throws_are_deterministic_and_acceptable(seed: int, index: int) -> None:
    throw = draw_throw(seed, index)
    assert throw == draw_throw(seed, index)
    assert set(throw) == set(TABLE_I)
    LArTPCParameters.from_mapping(throw)


def pulls_of(throws: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 9) deviations from nominal in widths of Table I."""
    nominal = LArTPCParameters()
    return np.column_stack([(throws[name] / getattr(nominal, name) - 1.0) / TABLE_I[name] for name in TABLE_I])


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_throws_have_the_widths_of_table_i_and_are_independent(strength: float) -> None:
    pulls = pulls_of(draw_throws(3, np.arange(4000), strength)) / strength
    assert np.abs(pulls.mean(axis=0)).max() < 4.0 / math.sqrt(len(pulls))
    assert np.abs(pulls.std(axis=0) - 1.0).max() < 4.0 / math.sqrt(2 * len(pulls))
    correlations = np.corrcoef(pulls.T) - np.eye(9)
    assert np.abs(correlations).max() < 5.0 / math.sqrt(len(pulls))


def test_a_throw_depends_on_its_seed_and_index_alone() -> None:
    index = np.array([5, 0, 2**40, 5])
    throws = draw_throws(3, index)
    for row, number in enumerate(index):
        assert {name: values[row] for name, values in throws.items()} == draw_throw(3, int(number))
    assert draw_throws(4, index)["gain"][0] != throws["gain"][0]


def test_fewer_names_leave_the_others_nominal_and_do_not_change_the_draw() -> None:
    index = np.arange(20)
    everything, few = draw_throws(3, index), draw_throws(3, index, names=["v_ref", "gain"])
    assert list(few) == ["gain", "v_ref"]
    assert all(np.array_equal(few[name], everything[name]) for name in few)
    points = draw_parameters(3, index, names=["v_ref", "gain"])
    assert [point.gain for point in points] == everything["gain"].tolist()
    assert {point.v_pedestal for point in points} == {580.0}
    assert draw_parameters(3, index, strength=0.0) == draw_parameters(3, index, names=[]) == [LArTPCParameters()] * 20


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.floats(0.0, 10.0))
def test_a_throw_of_any_strength_is_a_possible_detector(seed: int, strength: float) -> None:
    """A point out of range would be refused when it is made."""
    index = np.arange(30)
    points = draw_parameters(seed, index, strength)
    assert [point.v_ref > point.v_cm for point in points] == [True] * 30
    assert points[7] == draw_parameters(seed, index[7:8], strength)[0]


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (2**64, 0), (0, -1)])
def test_seeds_and_indices_out_of_range_are_refused(seed: int, index: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        draw_throw(seed, index)


def test_strengths_and_names_that_no_throw_has_are_refused() -> None:
    for strength in (-0.1, 10.1, math.nan):
        with pytest.raises(UsageError, match="strength must be from 0 to 10"):
            draw_throws(1, np.arange(2), strength)
    with pytest.raises(UsageError, match="did you mean 'v_pedestal'"):
        draw_throws(1, np.arange(2), names=["v_pedestals"])
