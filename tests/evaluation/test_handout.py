"""What passes between the evaluation and a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.containers import Deposits, LabelledEvents
from nubench.errors import PluginError
from nubench.evaluation.handout import (
    KEY_SIZE,
    Handout,
    Outputs,
    keyed_order,
    load_deposits,
    load_events,
    save_deposits,
    save_events,
)

Make = Callable[..., LabelledEvents]


@pytest.mark.parametrize("target", ["none", "unlabelled", "labelled"])
def test_events_come_back_and_nothing_beside_them_is_written(
    synthetic_events: Make, tmp_path: Path, target: str
) -> None:
    train, val, adapt = (synthetic_events(20, seed) for seed in (1, 2, 3))
    handout = Handout(
        train.events,
        train.labels,
        val.events,
        val.labels,
        adapt.events if target != "none" else None,
        adapt.labels if target == "labelled" else None,
    )
    handout.save(tmp_path)
    found = Handout.load(tmp_path)
    for split, labels in (("train", train.labels), ("val", val.labels)):
        assert np.array_equal(found.source(split).coords, handout.source(split).coords)  # type: ignore[arg-type]
        assert np.array_equal(getattr(found, f"{split}_labels"), labels)
    assert (found.target is None) == (target == "none")
    assert (found.target_labels is None) == (target != "labelled")
    assert {file.stem for file in tmp_path.iterdir()} == {"train", "val"} | ({"target"} if target != "none" else set())
    # Neither ids nor energies: those of the synthetic events start at 1000 and 50.
    names = b"".join(file.read_bytes()[:1000] for file in tmp_path.iterdir())
    assert b"event_id" not in names
    assert b"kinetic" not in names


def test_events_without_labels_are_events_alone(synthetic_events: Make, tmp_path: Path) -> None:
    events = synthetic_events(20, 1).events
    save_events(tmp_path / "events.safetensors", events)
    found = load_events(tmp_path / "events.safetensors")
    assert np.array_equal(found.offsets, events.offsets)
    assert np.array_equal(found.features, events.features)
    assert b"labels" not in (tmp_path / "events.safetensors").read_bytes()


def test_deposits_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    positions = [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(2)]
    deposits = Deposits(np.array([0, 2, 5]), *positions, *(rng.random(5).astype(np.float32) for _ in range(2)))
    save_deposits(tmp_path / "deposits", deposits, np.array([7, 3]))
    found, ids = load_deposits(tmp_path / "deposits")
    assert ids.tolist() == [7, 3]
    assert all(np.array_equal(getattr(found, name), getattr(deposits, name)) for name in Deposits.__slots__)


@given(st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE), st.integers(0, 300))
def test_the_order_is_a_permutation_that_follows_from_the_key(key: bytes, count: int) -> None:
    order = keyed_order(key, "throw1", count)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, keyed_order(key, "throw1", count))


def test_another_key_or_point_is_another_order() -> None:
    orders = [keyed_order(key, name, 500) for key in (bytes(16), b"\1" * 16) for name in ("throw1", "throw2")]
    for number, first in enumerate(orders):
        for second in orders[number + 1 :]:
            # A common event at the same place has probability 1/500; 500 of them are Poisson with mean 1.
            assert np.sum(first == second) < 10
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("embeddings", "scores", "message"),
    [
        (np.zeros((3, 2), np.float32), None, r"embed returned an array of shape \(3, 2\); expected \(4, D\)"),
        (np.zeros(4, np.float32), None, r"embed returned an array of shape \(4,\)"),
        (np.full((4, 2), np.nan, np.float32), None, "embed returned 8 numbers that are not finite"),
        (np.array([["a"]] * 4), None, "embed returned numbers of type <U1"),
        (None, np.zeros((4, 2), np.float32), r"log_probabilities returned .* expected \(4, 3\)"),
    ],
)
def test_what_a_model_returns_is_checked(
    embeddings: np.ndarray | None, scores: np.ndarray | None, message: str
) -> None:
    with pytest.raises(PluginError, match=f"method 'mine': {message}"):
        Outputs(embeddings, scores).checked("mine", 4, 3)


def test_outputs_come_back_whatever_their_shape(tmp_path: Path) -> None:
    made = Outputs(np.arange(6, dtype=np.float32).reshape(3, 2), None)
    made.save(tmp_path / "outputs")
    found = Outputs.load(tmp_path / "outputs")
    assert found.log_probabilities is None
    assert np.array_equal(found.embeddings, made.embeddings)  # type: ignore[arg-type]
    assert np.array_equal(found.select(np.array([2, 0])).embeddings, made.embeddings[[2, 0]])  # type: ignore
    (tmp_path / "outputs").write_bytes(b"\x80\x04pickle")
    with pytest.raises(PluginError, match="does not hold the outputs of a model"):
        Outputs.load(tmp_path / "outputs")
