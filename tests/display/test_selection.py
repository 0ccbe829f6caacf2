"""What the arguments of a display mean on a card."""

from __future__ import annotations

from importlib.resources import files

import pytest

from nubench.datasets.cards import Card, Imported, read_card
from nubench.display.selection import choose_event, choose_point
from nubench.errors import UsageError
from nubench.shifts import Shift, ShiftPoint


@pytest.fixture(scope="module")
def card() -> Card:
    """The card of the LArTPC with two more shifts: one with sources, one with a point of a name that throws has."""
    card = read_card(files("nubench_datasets") / "lartpc.toml")
    throws = card.shift("throws")
    points = tuple(
        ShiftPoint(name=name, strength=strength, parameters={"gain": 4 * (1 + strength)})
        for name, strength in (("low", -0.5), ("high", 0.25))
    )
    levels = Shift(name="levels", title="t", strength_unit="u", sources=("low",), points=points)
    twin = Shift(name="twin", title="t", strength_unit="u", points=(ShiftPoint(name="throw1", strength=1),))
    return card.model_copy(update={"shifts": (throws, levels, twin)})


@pytest.mark.parametrize(
    ("number", "split", "expected"),
    [
        (12, None, ("test", 3_000_000_012)),
        (12, "test", ("test", 3_000_000_012)),
        (12, "train", ("train", 12)),
        (12, "val", ("val", 1_000_000_012)),
        (3_000_000_012, None, ("test", 3_000_000_012)),
        (2_000_000_000, None, ("adapt", 2_000_000_000)),
        (1_000_000_999, "val", ("val", 1_000_000_999)),
        (1499, None, ("test", 3_000_001_499)),
    ],
)
def test_a_number_or_an_id_names_an_event(card: Card, number: int, split: str | None, expected: object) -> None:
    assert choose_event(card, "smoke", number, split) == expected


@pytest.mark.parametrize(
    ("number", "split", "message"),
    [
        (1500, None, "event 1500 is not in data set 'lartpc' with profile 'smoke'"),
        (3_000_001_500, None, "test 3000000000 to 3000001499"),
        (500_000_000, None, "a number in test, 0 to 1499"),
        (1_000_000_003, "test", "ids: test 3000000000 to 3000001499; or a number in test, 0 to 1499"),
        (9_000_000_000, None, "train 0 to 11999, val 1000000000 to 1000000999, adapt 2000000000 to 2000001499"),
        (3, "tset", "unknown split 'tset'; did you mean 'test'"),
    ],
)
def test_an_event_that_is_not_there_is_answered_with_those_that_are(
    card: Card, number: int, split: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        choose_event(card, "smoke", number, split)


def test_how_many_events_were_imported_is_not_known(card: Card) -> None:
    source = Imported(format="segments", source="some.h5", sha256="0" * 64)
    imported = card.model_copy(update={"truth": None, "imported": source})
    assert choose_event(imported, "smoke", 400_000, None) == ("test", 3_000_400_000)
    assert choose_event(imported, "smoke", 1_000_400_000, None) == ("val", 1_000_400_000)


def test_the_default_point_is_the_strongest_of_the_first_shift(card: Card) -> None:
    shift, point = choose_point(card, "test", None, None)
    assert shift is not None
    assert point is not None
    assert (shift.name, point.name) == ("throws", "throw4")
    assert set(point.parameters) == set(card.nominal)  # written out, as the files were built
    _, farthest = choose_point(card, "test", "levels", None)
    assert farthest is not None
    assert farthest.name == "low"  # -0.5 is farther from nominal than +0.25


def test_a_point_names_its_shift(card: Card) -> None:
    shift, point = choose_point(card, "test", None, "high")
    assert shift is not None
    assert point is not None
    assert (shift.name, point.name, point.parameters["gain"]) == ("levels", "high", 5.0)


def test_of_several_shifts_with_the_point_the_first_is_meant(card: Card) -> None:
    shift, _ = choose_point(card, "test", None, "throw1")
    assert shift == card.shift("throws")
    shift, _ = choose_point(card, "test", "twin", "throw1")
    assert shift == card.shift("twin")


def test_nominal_alone(card: Card) -> None:
    assert choose_point(card, "test", "levels", "nominal") == (card.shift("levels"), None)
    bare = card.model_copy(update={"shifts": ()})
    assert choose_point(bare, "test", None, None) == (None, None)


def test_source_splits_exist_at_sources_alone(card: Card) -> None:
    assert choose_point(card, "train", "throws", None) == (card.shift("throws"), None)
    _, point = choose_point(card, "train", "levels", None)
    assert point is not None
    assert point.name == "low"
    with pytest.raises(UsageError, match="events of val do not exist at --point 'high', only at nominal, low"):
        choose_point(card, "val", "levels", "high")


def test_wrong_names(card: Card) -> None:
    with pytest.raises(UsageError, match="unknown shift 'throw'; did you mean 'throws'"):
        choose_point(card, "test", "throw", None)
    with pytest.raises(UsageError, match="unknown point 'throw9'; did you mean 'throw"):
        choose_point(card, "test", "throws", "throw9")
