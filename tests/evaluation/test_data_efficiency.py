"""The probe with few labels, from arrays and from the cache of a run."""

from __future__ import annotations

import numpy as np
import pytest

from nubench.evaluation.data_efficiency import CurvePoint, Labelled, Network, joint_curve, label_counts, label_curve
from nubench.evaluation.probe import fit_probe


def clusters(sizes: tuple[int, ...], seed: int, distance: float = 1.0) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = distance * np.random.default_rng(99).normal(size=(len(sizes), 16))
    return Labelled((centres[labels] + 2 * rng.normal(size=(len(labels), 16))).astype(np.float32), labels)


TRAIN = clusters((400, 400, 400), 0)
TESTS = {"nominal": clusters((200, 200, 200), 1), "throw1": clusters((200, 200, 200), 2, distance=0.7)}


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ((5, 3), (5,)),
        ((10, 10), (10,)),
        ((11, 2), (10, 11)),
        ((1000, 1000), (10, 100, 1000)),
        ((2400,), (10, 100, 1000, 2400)),
    ],
)
def test_the_numbers_of_labels_are_powers_of_ten_and_all(sizes: tuple[int, ...], counts: tuple[int, ...]) -> None:
    assert label_counts(np.repeat(np.arange(len(sizes)), sizes)) == counts


def test_more_labels_are_better_and_their_choice_matters_less() -> None:
    curve = label_curve(TRAIN, TESTS, repeats=8)
    assert [(point.labels_a_class, point.events) for point in curve] == [(10, 30), (100, 300), (400, 1200)]
    means = [np.mean(point.accuracies["nominal"]) for point in curve]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.05
    spreads = [np.std(point.accuracies["nominal"]) for point in curve]
    assert spreads[1] < spreads[0]
    assert [len(point.accuracies["throw1"]) for point in curve] == [8, 8, 1]
    assert all(point.converged for point in curve)


def test_all_labels_give_the_probe_that_a_run_is_scored_by() -> None:
    (point,) = label_curve(TRAIN, TESTS, [10_000])
    probe = fit_probe(TRAIN.rows, TRAIN.labels)
    for name, test in TESTS.items():
        expected = float(np.mean(probe.log_probabilities(test.rows).argmax(axis=1) == test.labels))
        assert point.accuracies[name] == (expected,)
    assert point.events == 1200


def test_the_choice_follows_from_the_seed_and_the_labels_alone() -> None:
    one = label_curve(TRAIN, TESTS, [10], repeats=3)
    assert label_curve(TRAIN, TESTS, [10, 50], repeats=3)[0] == one[0]
    assert label_curve(TRAIN, TESTS, [10], repeats=5)[0].accuracies["nominal"][:3] == one[0].accuracies["nominal"]
    assert label_curve(TRAIN, TESTS, [10], repeats=3, seed=1) != one
    # Another method has other embeddings of the same events: it is given the same ones, so a mirror image scores alike.
    mirrored = Labelled(-TRAIN.rows, TRAIN.labels)
    tests = {name: Labelled(-test.rows, test.labels) for name, test in TESTS.items()}
    assert label_curve(mirrored, tests, [10], repeats=3) == one


def test_a_class_with_fewer_labels_gives_all_it_has() -> None:
    train = clusters((300, 20, 300), 0)
    (few, many) = label_curve(train, TESTS, [100, 300], repeats=2)
    assert (few.events, many.events) == (220, 620)
    assert len(few.accuracies["nominal"]) == 2


def test_one_network_a_target_is_joined_to_one_curve() -> None:
    networks = [Network(TRAIN, {"nominal": TESTS["nominal"]}), Network(TRAIN, {"throw1": TESTS["throw1"]})]
    assert joint_curve(networks, [10], repeats=2) == label_curve(TRAIN, TESTS, [10], repeats=2)
    with pytest.raises(ValueError, match="at least one"):
        joint_curve([])


def test_what_cannot_be_asked_for_is_named() -> None:
    for counts in ([], [0], [-1, 10]):
        with pytest.raises(ValueError, match="must be at least 1"):
            label_curve(TRAIN, TESTS, counts)
    with pytest.raises(ValueError, match="must be at least 1"):
        label_curve(TRAIN, TESTS, [10], repeats=0)
    with pytest.raises(ValueError, match="at least one set of events"):
        label_curve(TRAIN, {}, [10])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\); got 3"):
        label_curve(TRAIN, {"nominal": clusters((2, 2, 2, 2), 0)}, [10])
    with pytest.raises(ValueError, match="rows must be"):
        Labelled(TRAIN.rows, TRAIN.labels[:-1])


def test_a_point_says_when_a_solver_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nubench.evaluation.probe.MAX_ITERATIONS", 1)
    (point,) = label_curve(TRAIN, TESTS, [10], repeats=2)
    assert isinstance(point, CurvePoint)
    assert not point.converged
