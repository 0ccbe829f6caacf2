from __future__ import annotations

import numpy as np
import pytest

from nubench.errors import UsageError
from nubench.simulation.particle_gun import ParticleGun, Species

GUN = ParticleGun(
    species=(
        Species(0, (11,), (50, 1000)),
        Species(1, (22,), (50, 1000)),
        Species(2, (13, -13), (50, 1000)),
        Species(3, (211, -211), (50, 1000)),
        Species(4, (2212,), (50, 400)),
    ),
    vertex_min_cm=(-50, -50, 600),
    vertex_max_cm=(50, 50, 700),
)


@pytest.fixture(scope="module")
def fired():
    labels = GUN.shuffled_labels(1000, seed=1, first_event_id=0)
    primaries, position = GUN.fire(labels, np.arange(5000), seed=1)
    return labels, primaries, position


def test_classes_are_balanced(fired) -> None:
    labels, _, _ = fired
    assert np.bincount(labels).tolist() == [1000] * 5


def test_counts_may_differ_by_class() -> None:
    assert np.bincount(GUN.shuffled_labels([1, 2, 0, 3, 4], 1, 0), minlength=5).tolist() == [1, 2, 0, 3, 4]


def test_the_place_in_the_file_does_not_tell_the_class(fired) -> None:
    labels, _, _ = fired
    # Neither the trend along the file, nor the neighbour, nor the place modulo the number of classes.
    assert abs(np.corrcoef(np.arange(5000), labels)[0, 1]) < 0.05
    assert np.mean(labels[1:] == labels[:-1]) == pytest.approx(0.2, abs=0.03)
    assert np.mean(labels == np.arange(5000) % 5) == pytest.approx(0.2, abs=0.03)
    for block in labels.reshape(50, 100):
        assert len(np.unique(block)) == 5


def test_another_block_of_the_same_seed_has_another_order() -> None:
    assert not np.array_equal(GUN.shuffled_labels(50, 1, 0), GUN.shuffled_labels(50, 1, 250))


def test_energies_fill_their_range_uniformly(fired) -> None:
    labels, primaries, _ = fired
    for species in GUN.species:
        energy = primaries.kinetic_energy[labels == species.label]
        low, high = species.range_mev
        assert energy.min() >= low
        assert energy.max() <= high
        assert np.allclose(np.histogram(energy, 4, (low, high))[0], 250, atol=70)


def test_both_charges_are_drawn_equally(fired) -> None:
    labels, primaries, _ = fired
    assert set(primaries.pdg[labels == 3].tolist()) == {211, -211}
    assert np.mean(primaries.pdg[labels == 3] > 0) == pytest.approx(0.5, abs=0.06)


def test_directions_are_isotropic_unit_vectors(fired) -> None:
    _, primaries, _ = fired
    direction = primaries.direction.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(direction.mean(axis=0), 0, atol=0.035)
    np.testing.assert_allclose(direction.T @ direction / len(direction), np.eye(3) / 3, atol=0.025)
    for axis in range(3):
        assert np.allclose(np.histogram(direction[:, axis], 5, (-1, 1))[0], 1000, atol=140)


def test_vertices_fill_the_box(fired) -> None:
    _, primaries, _ = fired
    assert np.all(primaries.vertex >= [-50, -50, 600])
    assert np.all(primaries.vertex <= [50, 50, 700])
    np.testing.assert_allclose(primaries.vertex.mean(axis=0), [0, 0, 650], atol=2)


def test_an_event_does_not_depend_on_its_neighbours(fired) -> None:
    labels, primaries, position = fired
    chosen = np.array([4321, 7, 0])
    alone, alone_position = GUN.fire(labels[chosen], chosen, seed=1)
    expected = primaries.select(chosen)
    assert all(np.array_equal(getattr(alone, f), getattr(expected, f)) for f in alone.__slots__)
    assert np.array_equal(alone_position, position[chosen])


def test_events_and_seeds_get_their_own_random_numbers(fired) -> None:
    labels, primaries, position = fired
    assert len(np.unique(position, axis=0)) == 5000
    assert len(np.unique(primaries.vertex[:, 0])) > 4990
    other, _ = GUN.fire(labels[:100], np.arange(100), seed=2)
    assert not np.any(other.kinetic_energy == primaries.kinetic_energy[:100])


def test_a_momentum_spectrum_is_uniform_in_momentum() -> None:
    gun = ParticleGun((Species(0, (2212,), (200, 1000), uniform_in="momentum"),), (0, 0, 0), (0, 0, 0))
    primaries, _ = gun.fire(np.zeros(4000, np.int64), np.arange(4000), seed=0)
    energy = primaries.kinetic_energy.astype(np.float64)
    momentum = np.sqrt(energy * (energy + 2 * 938.2720882))
    assert momentum.min() > 199.9
    assert momentum.max() < 1000.1
    assert np.allclose(np.histogram(momentum, 4, (200, 1000))[0], 1000, atol=140)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Species(0, (99,), (1, 2)), r"pdg \(99,\).*known: \[11, 13"),
        (lambda: Species(0, (), (1, 2)), "pdg"),
        (lambda: Species(0, (11,), (2, 1)), r"range_mev.*\(2, 1\)"),
        (lambda: Species(0, (11,), (1, 2), uniform_in="energy"), "'energy'"),
        (lambda: ParticleGun((), (0, 0, 0), (1, 1, 1)), "labels"),
        (lambda: ParticleGun((Species(1, (11,), (1, 2)),), (0, 0, 0), (1, 1, 1)), r"labels.*\[1\]"),
        (lambda: ParticleGun(GUN.species, (0, 0, 2), (1, 1, 1)), "vertex_min_cm"),
        (lambda: ParticleGun(GUN.species, (0, 0), (1, 1, 1)), "3 values"),
        (lambda: GUN.shuffled_labels([1, 2], 0, 0), r"events_per_class.*\[1, 2\]"),
        (lambda: GUN.shuffled_labels(-1, 0, 0), r"events_per_class.*-1"),
    ],
)
def test_what_cannot_be_fired_is_refused(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
