"""The values of the shift points in the cards, against the formulas and publications that they are said to follow."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from nubench.containers import Events
from nubench.datasets.cards import Card, read_card
from nubench.datasets.catalogue import open_dataset
from nubench.detectors import LArTPC
from nubench.events.store import TruthChunk
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.shifts import NOMINAL, Shift
from nubench.simulation.geant4 import PHYSICS_LISTS
from nubench.simulation.lartpc import TABLE_I, LArTPCParameters, draw_throw
from nubench.simulation.lartpc.quenching import recombination_of, surviving_fraction

PAGE = Path(__file__).parents[2] / "docs" / "datasets" / "lartpc.md"


def rounded(value: float) -> float:
    """A value as the card states it."""
    return float(f"{value:.6g}")


def pedestal(parameters: dict[str, float | str]) -> float:
    v_pedestal, v_cm, v_ref = (float(parameters[name]) for name in ("v_pedestal", "v_cm", "v_ref"))
    return 256 * (v_pedestal - v_cm) / (v_ref - v_cm)


@pytest.fixture(scope="module")
def card() -> Card:
    """The card of the LArTPC."""
    return read_card(load_plugins().card("lartpc").thing)


def test_the_card_has_every_shift_of_the_benchmark(card: Card) -> None:
    points = {shift.name: len(shift.points) for shift in card.shifts}
    assert points == {
        "throws": 6,
        "throw-strength": 14,
        "throw-parameter": 36,
        "physics-throws": 16,  # nominal is the seventeenth
        "throws-calibrated": 6,
        "recombination": 7,
        "dead-channels": 10,
        "hadronic-model": 1,
        "noise-hits": 4,
    }


def test_the_response_accepts_every_point_and_nominal_is_its_default(card: Card) -> None:
    assert LArTPCParameters.from_mapping(card.nominal) == LArTPCParameters()
    assert set(card.nominal) == set(LArTPCParameters().to_mapping())
    for shift in card.shifts:
        for point in shift.all_points(card.nominal):
            parameters = LArTPCParameters.from_mapping(point.parameters)
            # Below, small charges are clipped and their hits are lost: a shift of another kind.
            assert parameters.v_pedestal > parameters.v_cm, (shift.name, point.name)


def test_nominal_values_belong_to_the_version_of_the_card(card: Card) -> None:
    """Results are compared by the recipe, which holds the version and not the values: raise it when one changes."""
    assert card.version == 1
    assert {name: card.nominal[name] for name in (*TABLE_I, "electric_field", "electron_lifetime")} == {
        "gain": 4.0,
        "buffer_risetime": 0.1,
        "v_cm": 288.0,
        "v_ref": 1300.0,
        "v_pedestal": 580.0,
        "reset_noise": 900.0,
        "uncorrelated_noise": 500.0,
        "discriminator_noise": 650.0,
        "discriminator_threshold": 7000.0,
        "electric_field": 0.5,
        "electron_lifetime": 2200.0,
    }
    others = {name: value for name, value in card.nominal.items() if name not in (*TABLE_I, "electric_field")}
    switched_off = {"adc_offset": 0.0, "dead_fraction": 0.0, "noise_hits": 0.0, "recombination": "birks"}
    assert switched_off.items() <= others.items()


def direction_of(seed: int) -> dict[str, float]:
    """The throw of index 0 in sigma, scaled to a root mean square of one."""
    throw, nominal = draw_throw(seed, 0), LArTPCParameters()
    deviations = {name: (throw[name] / getattr(nominal, name) - 1) / width for name, width in TABLE_I.items()}
    scale = math.sqrt(np.mean(np.square(list(deviations.values()))))
    return {name: deviation / scale for name, deviation in deviations.items()}


def test_throw_strength_follows_one_direction(card: Card) -> None:
    shift, nominal = card.shift("throw-strength"), LArTPCParameters()
    assert shift.seed is not None
    direction = direction_of(shift.seed)
    strengths = [point.strength for point in shift.points]
    positive = [0.25, 0.5, 0.75, 1, 1.5, 2, 3]
    assert strengths == sorted([*positive, *(-strength for strength in positive)])
    for point in shift.points:
        assert point.name == f"{'plus' if point.strength > 0 else 'minus'}-{abs(point.strength):g}"
        assert point.parameters == {
            name: rounded(getattr(nominal, name) * (1 + width * point.strength * direction[name]))
            for name, width in TABLE_I.items()
        }
    assert 0.5 <= abs(direction["v_pedestal"]) <= 0.7
    assert not any(0.5 <= abs(direction_of(seed)["v_pedestal"]) <= 0.7 for seed in range(1, shift.seed))


def test_throw_parameter_moves_one_parameter_at_a_time(card: Card) -> None:
    nominal = LArTPCParameters()
    expected = {
        f"{name.replace('_', '-')}-{'plus' if sigma > 0 else 'minus'}-{abs(sigma)}": (
            sigma,
            {name: rounded(getattr(nominal, name) * (1 + sigma * width))},
        )
        for name, width in TABLE_I.items()
        for sigma in (-2, -1, 1, 2)
    }
    points = card.shift("throw-parameter").points
    assert {point.name: (point.strength, point.parameters) for point in points} == expected


def test_physics_throws_reach_from_end_to_end(card: Card) -> None:
    ends = {
        "electric_field": (0.45, 0.5, 0.55),
        "electron_lifetime": (500.0, 2200.0, 5000.0),
        "transverse_diffusion": (4e-6, 8.8e-6, 14e-6),
    }

    def at(name: str, step: float) -> float:
        low, nominal, high = ends[name]
        if step >= 0:
            return rounded(nominal + step * (high - nominal))
        if step < -1 and name != "electric_field":
            return rounded(1 / (1 / nominal - step * (1 / low - 1 / nominal)))
        return rounded(nominal - step * (low - nominal))

    points = card.shift("physics-throws").points
    together = {point.strength: point.parameters for point in points if point.name.startswith("all-")}
    steps = [0.25, 0.5, 0.75, 1, 3]
    assert set(together) == {*steps, *(-step for step in steps)}
    for step, parameters in together.items():
        assert parameters == {name: at(name, step) for name in ends}
    alone = [(point.parameters, point.strength) for point in points if not point.name.startswith("all-")]
    assert alone == [({name: at(name, step)}, step) for name in ends for step in (1, -1)]


def test_calibrated_throws_are_the_throws_with_the_nominal_pedestal(card: Card) -> None:
    for throw, calibrated in zip(card.shift("throws").points, card.shift("throws-calibrated").points, strict=True):
        offset = rounded(pedestal(card.nominal) - pedestal(throw.parameters))
        assert calibrated.parameters == {**throw.parameters, "adc_offset": offset}
        assert (calibrated.name, calibrated.strength) == (throw.name, throw.strength)


def test_recombination_points_state_what_they_do_to_a_minimum_ionising_particle(card: Card) -> None:
    def survives(values: dict[str, float | str]) -> float:
        return surviving_fraction(2.1, recombination_of(LArTPCParameters.from_mapping(values)))

    points = card.shift("recombination").points
    for point in points:
        assert point.strength == pytest.approx(100 * (survives(point.parameters) / survives({}) - 1), abs=0.006)
    assert {point.parameters.get("recombination", "birks") for point in points} == {"birks", "box"}


def test_channel_points_state_their_share(card: Card) -> None:
    for point in card.shift("dead-channels").points:
        assert point.parameters["dead_fraction"] == pytest.approx(point.strength / 100)
        assert point.parameters.get("dead_group", 1) == (8 if point.name.startswith("groups") else 1)
    for point in card.shift("noise-hits").points:
        assert point.parameters == {"noise_hits": point.strength}


def test_the_hadronic_model_is_another_truth_and_the_same_detector(card: Card) -> None:
    (point,) = card.shift("hadronic-model").points
    assert card.truth is not None
    assert point.physics_list in set(PHYSICS_LISTS) - {card.truth.physics_list}
    assert point.parameters == {}
    assert point.settings == {"physics_list": point.physics_list}


def shift_table(shift: Shift) -> str:
    """The Markdown table of a shift, from the card alone."""
    rows = [f"| point | strength, {shift.strength_unit} | moved |", "|---|---|---|"]
    for point in shift.points:
        moved = ", ".join(
            f"`{name}` {value if isinstance(value, str) else f'{value:g}'}" for name, value in point.settings.items()
        )
        rows.append(f"| {point.name} | {point.strength:g} | {moved} |")
    return "\n".join(rows)


def test_the_page_shows_every_shift_as_the_card_has_it(card: Card) -> None:
    page = PAGE.read_text()
    for shift in card.shifts:
        assert re.search(rf"^## .*`{shift.name}`", page, re.MULTILINE), shift.name
        if shift.name != "throws":  # this one has a table of its own, parameter by parameter
            assert shift_table(shift) in page, f"\n{shift_table(shift)}"


def test_the_detector_is_the_one_of_the_card(card: Card) -> None:
    assert (card.detector, card.voxel_size_cm) == (LArTPC.name, LArTPC.voxel_size_cm)


@pytest.fixture(scope="module")
def truth(tiny_plugin: Path, shared_cache: Path) -> TruthChunk:
    """30 simulated events of up to 200 MeV."""
    registry = load_plugins([tiny_plugin])
    tiny = open_dataset(registry, shared_cache, read_card(registry.card("tiny").thing), "smoke")
    tiny.build_truth("test", SilentProgress())
    return next(tiny.truth("test"))


@pytest.mark.slow
def test_every_point_does_to_events_what_its_shift_says(card: Card, truth: TruthChunk) -> None:
    ids = truth.primaries.event_id
    seen: dict[str, Events] = {}
    for shift in card.shifts:
        for point in shift.all_points(card.nominal):
            name = "nominal" if point.name == NOMINAL else f"{shift.name}/{point.name}"
            if name not in seen:
                seen[name] = LArTPC().respond(truth.deposits, ids, point.parameters, card.noise_seed).events
    hits = {name: len(events.coords) for name, events in seen.items()}
    charge = {name: float(events.features.mean()) for name, events in seen.items()}
    nominal, events = hits["nominal"], len(ids)

    for percent in (1, 2, 5, 10, 20):
        # A pixel has about one hit, and pixels of an event die independently, or by groups of 64.
        assert hits[f"dead-channels/pixels-{percent}"] / nominal == pytest.approx(1 - percent / 100, abs=0.02)
        assert hits[f"dead-channels/groups-{percent}"] / nominal == pytest.approx(1 - percent / 100, abs=0.15)
    for number in (1, 3, 10, 30):
        added = (hits[f"noise-hits/noise-{number}"] - nominal) / events
        assert added == pytest.approx(number, abs=4 * math.sqrt(number / events))
    assert hits["physics-throws/lifetime-minus"] < nominal <= hits["physics-throws/lifetime-plus"]
    assert hits["physics-throws/all-minus-triple"] < 0.9 * hits["physics-throws/all-minus-full"]
    assert charge["throw-parameter/v-pedestal-plus-2"] - charge["nominal"] == pytest.approx(2 * 29.4, abs=1.5)
    assert charge["throw-parameter/gain-plus-2"] - charge["nominal"] == pytest.approx(2 * 0.36, abs=0.4)
    strengths = [charge[f"throw-strength/{point.name}"] for point in card.shift("throw-strength").points]
    assert strengths == sorted(strengths)  # the pedestal leads
    for number in range(1, 7):
        # What is left after the pedestal is corrected is a slope of a few per cent on some 20 counts.
        assert abs(charge[f"throws-calibrated/throw{number}"] - charge["nominal"]) < 3
    assert charge["recombination/birks-low"] < charge["nominal"] < charge["recombination/birks-high"]
    assert charge["recombination/box-icarus"] < charge["recombination/box-argoneut"] < charge["recombination/box"]
    # The truth differs, the detector does not.
    assert np.array_equal(seen["hadronic-model/qgsp-bic"].coords, seen["nominal"].coords)
