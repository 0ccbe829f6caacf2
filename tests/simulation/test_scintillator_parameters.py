"""Parameters of the scintillator: what is accepted and what is refused."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from nubench.errors import UsageError
from nubench.simulation.scintillator import ScintillatorParameters


def test_mapping_there_and_back() -> None:
    parameters = ScintillatorParameters(leakage=0.05, crosstalk=0.25)
    assert ScintillatorParameters.from_mapping(parameters.to_mapping()) == parameters
    assert ScintillatorParameters.from_mapping({}) == ScintillatorParameters()


def test_unknown_name_is_answered_with_its_near_miss() -> None:
    with pytest.raises(UsageError, match="unknown scintillator parameter 'leakagge'; did you mean 'leakage'"):
        ScintillatorParameters.from_mapping({"leakagge": 0.01})


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("light_yield", 0.0, "above 0"),
        ("light_yield", -1.0, "above 0"),
        ("light_yield", 2000.0, "at most 1000"),
        ("birks_k", -0.01, "from 0 to 1 cm/MeV"),
        ("leakage", -0.01, "below 1/6"),
        ("leakage", 1 / 6, "below 1/6"),
        ("mppc_pixels", -1.0, r"0 \(no limit\) or 1 and above"),
        ("mppc_pixels", 0.5, r"0 \(no limit\) or 1 and above"),
        ("threshold", -0.5, "from 0 to"),
        ("crosstalk", -0.1, "from 0 to 1"),
        ("crosstalk", 1.1, "from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(name: str, value: float, accepted: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be .*{accepted}") as error:
        ScintillatorParameters.from_mapping({name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", [field.name for field in fields(ScintillatorParameters)])
@pytest.mark.parametrize("value", [math.nan, math.inf, "much", True, None])
def test_what_is_no_finite_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} must be (a number|finite)"):
        ScintillatorParameters(**{name: value})


def test_the_ends_of_the_ranges_and_numpy_numbers_are_accepted() -> None:
    ScintillatorParameters(leakage=0.0, crosstalk=0.0, birks_k=0.0, threshold=0.0, mppc_pixels=0.0)
    ScintillatorParameters(leakage=np.float32(0.166), crosstalk=1, light_yield=1000, mppc_pixels=np.int64(1))
