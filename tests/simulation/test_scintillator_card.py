"""The data-set card of the scintillator says what the simulation does and what the reference study shifted."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from nubench.datasets.building import particle_gun
from nubench.datasets.cards import Card, read_card
from nubench.detectors import ScintillatorCubes
from nubench.profiles import PROFILES
from nubench.simulation.scintillator import CUBES_A_SIDE, LOWEST_INDEX, ScintillatorParameters

LEVELS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(files("nubench_datasets") / "scintillator.toml")


def test_nominal_is_the_simulation_s_default(card: Card) -> None:
    assert card.nominal == ScintillatorParameters().to_mapping()
    assert card.detector == ScintillatorCubes.name
    assert card.voxel_size_cm == ScintillatorCubes.voxel_size_cm


def test_every_profile_has_sizes(card: Card) -> None:
    assert set(card.sizes) == set(PROFILES)


def test_particles_are_born_inside_with_uniform_momentum(card: Card) -> None:
    gun = particle_gun(card)
    assert {species.uniform_in for species in gun.species} == {"momentum"}
    assert min(gun.vertex_min_cm) >= LOWEST_INDEX
    assert max(gun.vertex_max_cm) <= LOWEST_INDEX + CUBES_A_SIDE
    labels = np.repeat(np.arange(len(card.classes)), 500)
    primaries, _ = gun.fire(labels, np.arange(len(labels)), seed=1)
    mass = np.array([0.511, 105.658, 139.570, 938.272])[labels]
    momentum = np.sqrt(primaries.kinetic_energy * (primaries.kinetic_energy + 2 * mass))
    for label, particle in enumerate(card.classes):
        low, high = particle.momentum_mev
        counts, _ = np.histogram(momentum[labels == label], bins=5, range=(low, high))
        assert counts.sum() >= 499
        assert np.all(np.abs(counts - 100) < 4 * np.sqrt(80))


def test_the_crosstalk_levels_are_those_of_the_study(card: Card) -> None:
    shift = card.shift("crosstalk")
    assert shift.nominal_strength == card.nominal["crosstalk"] == 1.0
    assert [(p.name, p.strength, p.parameters) for p in shift.points] == [
        (f"level-{level:.2f}", level, {"crosstalk": level}) for level in LEVELS
    ]
    assert shift.sources == ("level-0.00", "level-0.25", "level-0.50", "level-0.75")


def test_the_leakage_points_surround_nominal(card: Card) -> None:
    shift = card.shift("leakage")
    assert shift.nominal_strength == card.nominal["leakage"]
    assert [(p.name, p.strength, p.parameters) for p in shift.points] == [
        (f"leakage-{share:.2f}", share, {"leakage": share}) for share in (0.0, 0.01, 0.02, 0.04, 0.05, 0.06)
    ]


def test_every_point_can_be_simulated(card: Card) -> None:
    for shift in card.shifts:
        for point in shift.all_points(card.nominal):
            assert ScintillatorParameters.from_mapping(point.parameters).to_mapping() == point.parameters
