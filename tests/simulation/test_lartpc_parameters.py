"""Parameters of the LArTPC: what is accepted, what is refused, and how throws are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.errors import UsageError
from nubench.simulation.lartpc import TABLE_I, LArTPCParameters, draw_throw


def test_nominal_values_are_those_of_table_i() -> None:
    nominal = LArTPCParameters()
    assert [getattr(nominal, name) for name in TABLE_I] == [4.0, 0.1, 288.0, 1300.0, 580.0, 900.0, 500.0, 650.0, 7000.0]
    assert list(TABLE_I.values()) == [0.02, 0.10, 0.02, 0.02, 0.20, 0.10, 0.10, 0.10, 0.02]


def test_mapping_there_and_back() -> None:
    parameters = LArTPCParameters(gain=4.2, recombination="box")
    assert LArTPCParameters.from_mapping(parameters.to_mapping()) == parameters
    assert LArTPCParameters.from_mapping({}) == LArTPCParameters()


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


def test_throws_have_the_widths_of_table_i_and_are_independent() -> None:
    nominal = LArTPCParameters()
    throws = [draw_throw(3, index) for index in range(4000)]
    pulls = np.array(
        [[(throw[name] / getattr(nominal, name) - 1.0) / width for name, width in TABLE_I.items()] for throw in throws]
    )
    assert np.abs(pulls.mean(axis=0)).max() < 4.0 / math.sqrt(len(throws))
    assert np.abs(pulls.std(axis=0) - 1.0).max() < 4.0 / math.sqrt(2 * len(throws))
    correlations = np.corrcoef(pulls.T) - np.eye(9)
    assert np.abs(correlations).max() < 5.0 / math.sqrt(len(throws))


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (2**64, 0), (0, -1)])
def test_seeds_and_indices_out_of_range_are_refused(seed: int, index: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        draw_throw(seed, index)
