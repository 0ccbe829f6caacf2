from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from nubench.datasets.cards import Card, read_card
from nubench.errors import DataError, UsageError
from nubench.profiles import PROFILES
from nubench.simulation.lartpc import TABLE_I, LArTPCParameters, draw_throw

LARTPC = files("nubench_datasets") / "lartpc.toml"


@pytest.fixture
def card() -> Card:
    return read_card(LARTPC)


def test_the_throws_are_what_their_seed_draws(card: Card) -> None:
    shift = card.shift("throws")
    assert shift.seed is not None
    assert [point.name for point in shift.points] == [f"throw{i}" for i in range(1, 7)]
    for index, point in enumerate(shift.points, start=1):
        assert point.parameters == pytest.approx(draw_throw(shift.seed, index), rel=1e-5)


def test_the_throws_move_the_pedestal_far_enough_both_ways(card: Card) -> None:
    nominal = LArTPCParameters().v_pedestal
    sigmas = [
        (float(point.parameters["v_pedestal"]) / nominal - 1) / TABLE_I["v_pedestal"]
        for point in card.shift("throws").points
    ]
    assert max(sigmas) > 1.5
    assert min(sigmas) < -1


def test_nominal_is_the_simulation_s_default(card: Card) -> None:
    default = LArTPCParameters().to_mapping()
    assert card.nominal == default


def test_every_profile_has_sizes(card: Card) -> None:
    assert set(card.sizes) == set(PROFILES)


def test_all_points_are_written_out_whole_with_nominal_first(card: Card) -> None:
    points = card.shift("throws").all_points(card.nominal)
    assert points[0].name == "nominal"
    assert points[0].parameters == card.nominal
    assert all(set(point.parameters) == set(card.nominal) for point in points)


def test_a_source_that_is_offered_comes_first_and_nominal_is_then_a_target(card: Card) -> None:
    shift = card.shift("throws").model_copy(update={"sources": ("throw2",), "nominal_strength": 1.0})
    points = shift.all_points(card.nominal, "throw2")
    assert [point.name for point in points][:3] == ["throw2", "nominal", "throw1"]
    assert points[1].strength == 1.0
    with pytest.raises(UsageError, match=r"source 'throw3' .* exist at nominal, throw2"):
        shift.all_points(card.nominal, "throw3")


def test_a_card_is_read_again_from_json(card: Card, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(card.model_dump_json(exclude_none=True))
    assert read_card(file) == card
    file.write_text("{")
    with pytest.raises(DataError, match=r"card\.json is not valid JSON"):
        read_card(file)


def test_unknown_shift_and_profile_are_answered_with_what_exists(card: Card) -> None:
    with pytest.raises(UsageError, match="unknown shift 'throw'; did you mean 'throws'"):
        card.shift("throw")
    with pytest.raises(UsageError, match="unknown profile 'smok'; did you mean 'smoke'"):
        card.sizes_of("smok")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version = 1", "version = ", "not valid TOML"),
        ("version = 1", "version = 0", "version"),
        ("voxel_size_cm = 0.38", "voxel_size_cm = -1", "voxel_size_cm"),
        ("gain = 3.85702", "gian = 3.85702", "gian"),
        ('name = "throw2"', 'name = "throw1"', "same name"),
        ("minimum_hits", "minimum_hitz", "minimum_hitz"),
        ("kinetic_energy_mev = [50.0, 400.0]", "", "'proton' must state pdg and either kinetic_energy_mev or momentum"),
        ('strength_unit = "sigma"', 'strength_unit = "sigma"\nsources = ["nowhere"]', "nowhere"),
    ],
)
def test_a_broken_card_is_named_with_the_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = LARTPC.read_text()
    assert old in text
    file = tmp_path / "broken.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"broken\.toml .*{reason}"):
        read_card(file)
