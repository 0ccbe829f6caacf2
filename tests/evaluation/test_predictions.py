"""Files of predictions: equal predictions are equal bytes, what is wrong is named, scores follow from them alone."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from scipy.special import log_softmax

from nubench.errors import DataError, PluginError
from nubench.evaluation import predictions as module
from nubench.evaluation.metrics import Metric
from nubench.evaluation.predictions import PointPredictions, read_predictions, write_predictions
from nubench.evaluation.rescoring import TestEvents, readouts_from
from nubench.results.bits import unpack

EVENTS, CLASSES = 40, 3


def rows(seed: int, events: int = EVENTS, classes: int = CLASSES) -> Any:
    logits = np.random.default_rng(seed).normal(size=(events, classes))
    return log_softmax(logits, axis=1).astype(np.float32)


def predicted(seed: int = 0, events: int = EVENTS) -> PointPredictions:
    ids = np.random.default_rng(seed).permutation(10 * events)[:events].astype(np.int64)
    return PointPredictions(ids, {"head": rows(seed, events), "probe": rows(seed + 1, events)})


def shuffled(found: PointPredictions, seed: int) -> PointPredictions:
    order = np.random.default_rng(seed).permutation(len(found.event_id))
    return PointPredictions(found.event_id[order], {name: r[order] for name, r in found.log_probabilities.items()})


def test_what_was_written_is_read_in_the_order_of_the_ids(tmp_path: Path) -> None:
    written = {"nominal": predicted(0), "throw1": predicted(5)}
    digest = write_predictions(tmp_path / "p.safetensors", written)
    assert digest == hashlib.sha256((tmp_path / "p.safetensors").read_bytes()).hexdigest()
    found = read_predictions(tmp_path / "p.safetensors")
    assert list(found) == ["nominal", "throw1"]
    for point, before in written.items():
        order = np.argsort(before.event_id)
        assert np.array_equal(found[point].event_id, before.event_id[order])
        for name in ("head", "probe"):
            assert np.array_equal(found[point].log_probabilities[name], before.log_probabilities[name][order])


@given(st.integers(0, 1000), st.booleans())
def test_equal_predictions_are_equal_bytes(tmp_path_factory: pytest.TempPathFactory, seed: int, turned: bool) -> None:
    folder = tmp_path_factory.getbasetemp()
    one = {"nominal": predicted(0), "throw1": predicted(5)}
    other = {point: shuffled(found, seed) for point, found in (reversed(one.items()) if turned else one.items())}
    assert write_predictions(folder / "one", one) == write_predictions(folder / "other", other)
    assert (folder / "one").read_bytes() == (folder / "other").read_bytes()


def test_a_changed_number_is_another_digest(tmp_path: Path) -> None:
    one = predicted()
    changed = one.log_probabilities["head"].copy()
    changed[3, 1] = np.nextafter(changed[3, 1], np.float32(0))
    other = PointPredictions(one.event_id, {**one.log_probabilities, "head": changed})
    assert write_predictions(tmp_path / "a", {"nominal": one}) != write_predictions(tmp_path / "b", {"nominal": other})


def test_certainty_is_accepted(tmp_path: Path) -> None:
    certain = np.array([[0, -np.inf], [-np.inf, 0]], np.float32)
    write_predictions(tmp_path / "p", {"nominal": PointPredictions(np.arange(2), {"head": certain})})
    assert np.array_equal(read_predictions(tmp_path / "p")["nominal"].log_probabilities["head"], certain)


IDS = np.arange(EVENTS)


@pytest.mark.parametrize(
    ("event_id", "readouts", "words"),
    [
        (IDS.astype(np.int32), {"head": rows(0)}, r"event_id must be \(E,\) int64; got \(40,\) int32"),
        (IDS[:, None], {"head": rows(0)}, r"event_id must be \(E,\) int64"),
        (np.zeros(EVENTS, np.int64), {"head": rows(0)}, "event_id must be unique; 39 of 40"),
        (IDS, {}, "at least one read-out of head, probe"),
        (IDS, {"tail": rows(0)}, "unknown read-out 'tail'"),
        (IDS, {"head": rows(0).astype(np.float64)}, "head must be float32; got float64"),
        (IDS, {"head": rows(0)[:9]}, r"labels must be \(9,\)"),
        (IDS, {"head": rows(0), "probe": rows(0, EVENTS, 4)}, r"differ in shape: head \(40, 3\), probe \(40, 4\)"),
        (IDS, {"head": rows(0) - 1}, "head: probabilities must sum to 1"),
        (IDS, {"head": np.full_like(rows(0), np.nan)}, "head: .* no NaN"),
        (IDS[:0], {"head": rows(0)[:0]}, r"must be \(E >= 1, C >= 2\)"),
    ],
)
def test_what_is_no_prediction_is_refused(event_id: Any, readouts: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PointPredictions(event_id, readouts)


@pytest.mark.parametrize("point", ["", "../x", "a/b", "Throw1", "a" * 65])
def test_a_point_of_a_hostile_name_is_not_written(tmp_path: Path, point: str) -> None:
    with pytest.raises(ValueError, match="no name of a shift point"):
        write_predictions(tmp_path / "p", {point: predicted()})
    assert list(tmp_path.iterdir()) == []


def test_no_points_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one point"):
        write_predictions(tmp_path / "p", {})


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "holds no predictions"),
        ({"nominal/event_id": IDS}, "point 'nominal': .*at least one read-out"),
        ({"nominal/head": rows(0)}, "tensor 'nominal/event_id' is missing"),
        ({"nominal/event_id": IDS[::-1].copy(), "nominal/head": rows(0)}, "'nominal/event_id' is not in ascending"),
        ({"nominal/event_id": IDS, "nominal/head": rows(0).astype(np.float64)}, "'nominal/head' of type F64"),
        ({"nominal/event_id": IDS.astype(np.int32), "nominal/head": rows(0)}, "'nominal/event_id' of type I32"),
        ({"nominal/event_id": IDS, "nominal/weights": rows(0)}, "'nominal/weights' of type F32 is unknown"),
        ({"event_id": IDS, "head": rows(0)}, "'' is no name of a shift point"),
        ({"../event_id": IDS, "../head": rows(0)}, r"'\.\.' is no name of a shift point"),
        ({"nominal/event_id": IDS[:9], "nominal/head": rows(0)}, "point 'nominal': head: labels must be"),
    ],
)
def test_a_foreign_file_is_named_with_its_tensor(tmp_path: Path, tensors: Any, words: str) -> None:
    save_file(tensors, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match=words) as caught:
        read_predictions(tmp_path / "foreign.safetensors")
    assert str(tmp_path / "foreign.safetensors") in str(caught.value)


def header(content: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        header({}, length=2**63),
        header({}, length=200_000_000),
        header(b"{" * 100_000),
        header(b"[]"),
        header({"nominal/event_id": tensor("I64", [1], 0, 8)}),  # points behind the end
        header({"nominal/event_id": tensor("I64", [2**60], 0, 8)}, b"\0" * 8),
        header({"nominal/event_id": tensor("I64", [2**62, 4], 0, 8)}, b"\0" * 8),  # overflows
        header(
            {"nominal/event_id": tensor("I64", [2], 0, 16), "nominal/head": tensor("F32", [2, 2], 0, 16)}, b"\0" * 16
        ),  # overlap
        header({"nominal/event_id": tensor("I64", [1], 8, 16)}, b"\0" * 16),  # a hole
        header({"nominal/event_id": tensor("I64", [-1], 0, 8)}, b"\0" * 8),
        header({"nominal/event_id": tensor("OBJECT", [1], 0, 8)}, b"\0" * 8),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hostile.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"hostile\.safetensors: not a file of predictions"):
        read_predictions(tmp_path / "hostile.safetensors")


@given(st.binary(max_size=300))
def test_garbage_is_a_data_error(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.safetensors"
    path.write_bytes(garbage)
    with pytest.raises(DataError, match=r"garbage\.safetensors"):
        read_predictions(path)


def test_a_cut_file_is_refused_at_any_length(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", {"nominal": predicted()})
    whole = (tmp_path / "p").read_bytes()
    for length in range(0, len(whole), 61):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut"):
            read_predictions(tmp_path / "cut")


def test_a_missing_and_a_too_large_file_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_predictions(tmp_path / "missing")
    write_predictions(tmp_path / "p", {"nominal": predicted()})
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="bytes are more than the 100 that predictions may take"):
        read_predictions(tmp_path / "p")


def events_of(*points: PointPredictions) -> TestEvents:
    return TestEvents.union([(found.event_id, found.event_id % CLASSES) for found in points])


def test_scores_are_those_that_a_direct_count_gives() -> None:
    found = predicted()
    other = PointPredictions(np.array([10**6]), {"head": rows(3, 1), "probe": rows(4, 1)})
    test = events_of(found, other)
    readouts = readouts_from(found, test, probe_converged=True)
    assert readouts.head is not None
    assert readouts.probe_converged
    right = [
        int(event)
        for event, row in zip(found.event_id, found.log_probabilities["head"], strict=True)
        if max(range(CLASSES), key=lambda k: row[k]) == event % CLASSES
    ]
    assert readouts.head.accuracy == len(right) / EVENTS
    assert readouts.head.right is not None
    assert test.event_id[unpack(readouts.head.right, EVENTS + 1)].tolist() == sorted(right)
    assert test.event_id[test.present(found.event_id)].tolist() == sorted(found.event_id.tolist())


@given(st.integers(0, 1000))
def test_scores_do_not_depend_on_the_order_of_the_events(seed: int) -> None:
    found = predicted(events=300)
    test = events_of(found)
    assert readouts_from(found, test) == readouts_from(shuffled(found, seed), test)


def test_scores_of_a_file_are_those_of_the_run(tmp_path: Path) -> None:
    found = predicted(events=1000)
    write_predictions(tmp_path / "p", {"nominal": found})
    test = events_of(found)
    assert readouts_from(read_predictions(tmp_path / "p")["nominal"], test) == readouts_from(found, test)


def metric(compute: Callable[..., float]) -> Metric:
    return Metric("error", "share of wrong events", False, compute)


def test_further_metrics_stand_beside() -> None:
    found = predicted()
    error = metric(lambda labels, log_probabilities: float(np.mean(log_probabilities.argmax(axis=1) != labels)))
    scores = readouts_from(found, events_of(found), [error]).probe
    assert scores is not None
    assert scores.further == {"error": pytest.approx(1 - scores.accuracy)}
    with pytest.raises(PluginError, match=r"'error'.*finite"):
        readouts_from(found, events_of(found), [metric(lambda labels, log_probabilities: float("nan"))])


def test_strange_events_and_contradicting_labels_are_named() -> None:
    found = predicted()
    with pytest.raises(DataError, match="1 predicted events are no test events, the first has the id 123456"):
        readouts_from(PointPredictions(np.array([123456]), {"head": rows(0, 1)}), events_of(found))
    with pytest.raises(DataError, match=r"test event 3 has different labels at different points: \[1, 2\]"):
        TestEvents.union([(np.array([3, 4]), np.array([1, 0])), (np.array([3]), np.array([2]))])


def test_the_library_gives_equal_bytes_for_equal_tensors() -> None:
    one, two = np.arange(3), np.zeros((3, 2), np.float32)
    assert save({"a/event_id": one, "a/head": two}) == save({"a/head": two, "a/event_id": one})
