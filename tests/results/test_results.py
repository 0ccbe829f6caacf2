"""Result files: what was written is read again, and what contradicts itself is refused by name."""

from __future__ import annotations

import copy
import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nubench.errors import DataError, NubenchError
from nubench.results.bits import pack, unpack
from nubench.results.files import experiment, fingerprint, load_results, read_result, submission_path, write_result
from nubench.results.schema import Result
from nubench.results.scores import Scores
from result_factory import EVENTS, as_version_1, make_result, result_content, with_bits


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, inner ones included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def parent(content: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        content = content[key]
    return content


CONTENT = result_content(readout="head")
PLACES = list(places(CONTENT))
#: Below these any key is allowed.
FREE = ("config", "checksums", "events", "parameters", "packages", "settings", "values")
FIELDS = [place for place in PLACES if isinstance(place[-1], str) and not any(name in FREE for name in place[:-1])]


def test_round_trip(tmp_path: Path) -> None:
    result = make_result(config={"temperature": 0.1, "nested": {"list": [1, None, True]}})
    write_result(result, tmp_path / "a.json")
    write_result(result, tmp_path / "b.json")
    assert read_result(tmp_path / "a.json") == result
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_measured_scores_make_a_valid_result(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 3))
    scores = Scores.measure(rng.integers(3, size=500), logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    content = result_content(events=500)
    for point in content["points"]:
        point["readouts"]["probe"] = scores.model_dump(mode="json")
    result = Result.model_validate(with_bits(content))
    write_result(result, tmp_path / "a.json")
    found = read_result(tmp_path / "a.json").points[0].readouts.probe
    assert found is not None
    assert found.model_copy(update={"right": None}) == scores


def test_a_file_of_version_1_is_read_forever(tmp_path: Path) -> None:
    result = read_result(Path(__file__).parents[1] / "fixtures" / "result-version-1.json")
    assert (result.schema_version, result.method.name, result.seed) == (1, "supcon", 0)
    assert result.points[1].readouts.probe is not None
    assert result.points[1].readouts.probe.accuracy == pytest.approx(0.69, abs=0.02)
    assert result.sealed is None
    assert result.test_events is None
    write_result(result, tmp_path / "again.json")
    assert read_result(tmp_path / "again.json") == result


def test_a_version_holds_what_it_has() -> None:
    assert Result.model_validate(as_version_1(result_content())).schema_version == 1
    with pytest.raises(ValidationError, match="sealed must not stand in version 1"):
        Result.model_validate({**as_version_1(result_content()), "sealed": True})
    without = result_content()
    del without["points"][1]["present"]
    with pytest.raises(ValidationError, match="present must stand in version 2"):
        Result.model_validate(without)


def flipped(bits: str, first: int) -> str:
    values = unpack(bits, EVENTS)
    values[first] = not values[first]
    return pack(values)


def test_bits_that_contradict_the_counts_are_refused() -> None:
    content = result_content()
    point = content["points"][1]
    point["readouts"]["probe"]["right"] = flipped(point["readouts"]["probe"]["right"], 5)
    with pytest.raises(ValidationError, match=r"probe at point 'throw1' is right about .* by its confusion matrix"):
        Result.model_validate(content)
    content = result_content()
    content["points"][0]["present"] = flipped(content["points"][0]["present"], 7)
    with pytest.raises(ValidationError, match=f"point 'nominal' has {EVENTS} events; present marks {EVENTS - 1}"):
        Result.model_validate(content)
    content = result_content()
    content["test_events"] += 8
    for text in ("present", "3008 truth values take 376 bytes; got 375"):
        with pytest.raises(ValidationError, match=text):
            Result.model_validate(content)


@given(st.lists(st.booleans(), max_size=70))
def test_bits_are_read_as_they_were_written(values: list[bool]) -> None:
    assert unpack(pack(np.array(values, dtype=bool)), len(values)).tolist() == values


@pytest.mark.parametrize(
    ("text", "count", "words"), [("!!", 3, "base64"), ("oA==", 9, "2 bytes"), ("/w==", 3, "beyond")]
)
def test_text_that_is_no_bits_is_refused(text: str, count: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(text, count)


def test_a_class_without_events_has_no_efficiency() -> None:
    scores = Scores.measure(np.array([0, 0]), np.log([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]]))
    assert scores.efficiency == (0.5, None, None)
    assert scores.purity == (1.0, 0.0, None)
    assert scores.balanced_accuracy == 0.5


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FIELDS))
def test_every_field_is_needed_and_none_may_be_invented(place: tuple[Any, ...]) -> None:
    content = copy.deepcopy(CONTENT)
    del parent(content, place)[place[-1]]
    optional = {"head", "probe", "history", "further", "flops_per_event", "probe_converged"}
    if place[-1] not in optional:
        with pytest.raises(ValidationError):
            Result.model_validate(content)
    content = copy.deepcopy(CONTENT)
    parent(content, place)["invented"] = 1
    with pytest.raises(ValidationError):
        Result.model_validate(content)


NUMBERS = [place for place in PLACES if isinstance(parent(CONTENT, place)[place[-1]], (int, float))]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NUMBERS), st.sampled_from([math.nan, math.inf, -math.inf, "1", [], {}, -1e300]))
def test_no_number_may_be_something_else(place: tuple[Any, ...], value: object) -> None:
    if ("config" in place or "settings" in place or "parameters" in place) and not (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return
    content = copy.deepcopy(CONTENT)
    parent(content, place)[place[-1]] = value
    if value == -1e300 and ("values" in place or "strength" in place):
        return
    with pytest.raises(ValidationError):
        Result.model_validate_json(json.dumps(content), strict=True)


MEASURED = [
    place
    for place in NUMBERS
    if {"accuracy", "balanced_accuracy", "efficiency", "purity", "confusion"} & set(place) or place[-1] == "events"
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([place for place in MEASURED if place[0] == "points"]), st.sampled_from([1e-6, 0.5, 1, 7]))
def test_a_changed_measurement_is_contradicted(place: tuple[Any, ...], change: float) -> None:
    content = copy.deepcopy(CONTENT)
    old = parent(content, place)[place[-1]]
    parent(content, place)[place[-1]] = old + (change if isinstance(old, float) else max(int(change), 1))
    with pytest.raises(ValidationError):
        Result.model_validate(content)


def edit(*place: Any, to: object) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        parent(content, place)[place[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit("points", 0, "events", to=2999), "has 2999 events; its confusion counts 3000"),
        (edit("points", 1, "readouts", "head", to=None), "lacks the read-out 'head' that ranks it"),
        (edit("points", 1, "point", to="nominal"), "points must be those of the shift"),
        (edit("shift", "points", to=["nominal", "throw1", "throw1"]), "stand more than once"),
        (edit("dataset", "classes", to=["a", "b"]), "scores 3 classes; the data set has 2"),
        (edit("dataset", "classes", to=["a", "b", "b"]), "classes must be unique"),
        (edit("method", "target_access", to="labelled"), "'labelled' cannot be ranked"),
        (edit("method", "config", to={"a": {"b": [float("nan")]}}), "NaN is no number of JSON"),
        (edit("points", 0, "readouts", "head", "confusion", to=[[1, 2], [3]]), "must be square"),
        (edit("points", 0, "readouts", "head", "confusion", to=[[0, 0], [0, 0]]), "at least one event"),
        (edit("points", 0, "readouts", "head", "accuracy", to=0.5), "contradicts the confusion matrix"),
        (edit("created", to="2025-01-02T03:04:05"), "timezone"),
        (edit("schema_version", to=0), "schema_version"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str) -> None:
    content = copy.deepcopy(CONTENT)
    change(content)
    path = write_json(tmp_path / "bad.json", content)
    with pytest.raises(DataError, match=words) as caught:
        read_result(path)
    assert str(path) in str(caught.value)


def test_settings_beyond_all_numbers_are_refused(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["method"]["config"] = {"a": {"b": [1.5]}}
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content).replace("[1.5]", "[1e999]"))
    with pytest.raises(DataError, match="settings must be finite"):
        read_result(path)


def test_a_changed_file_is_told_by_its_checksum_and_one_without_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_result(make_result(), path)
    content = json.loads(path.read_text())
    content["cost"]["wall_seconds"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a\.json is damaged, or was changed by hand: its checksum differs"):
        read_result(path)
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert read_result(path).cost.wall_seconds == content["cost"]["wall_seconds"]


def test_a_file_of_very_many_points_or_parameters_is_refused_or_named_in_a_moment(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    for count, reason in ((10_000, "points must be those of the shift"), (10_001, "a list of 10,001 values")):
        content["shift"]["points"] = [f"p{number}" for number in range(count)]
        with pytest.raises(DataError, match=reason):
            read_result(write_json(tmp_path / "many.json", content))
    content = copy.deepcopy(CONTENT)
    for point in content["points"]:
        point["parameters"] |= {f"{point['point']}-{number}": 1.0 for number in range(9_000)}
    many = read_result(write_json(tmp_path / "parameters.json", content))
    assert submission_path(tmp_path, many).name.startswith("supcon-seed")


def test_the_readouts_of_a_point_must_agree_on_the_classes() -> None:
    content = copy.deepcopy(CONTENT)
    other = Scores.measure(np.array([0] * 3000), np.log(np.tile([0.8, 0.1, 0.1], (3000, 1))))
    content["points"][0]["readouts"]["probe"] = other.model_dump(mode="json")
    with pytest.raises(ValidationError, match="disagree on the events of each class"):
        Result.model_validate(content)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", "A", "a b", "a_b", "a\n", "a..b", ".a", "a.", "-a", "é", "a\x00", "a" * 65, "<b>", "|"]
)
@pytest.mark.parametrize("place", [("method", "name"), ("dataset", "detector"), ("shift", "name"), ("profile", "name")])
def test_hostile_names_are_refused(place: tuple[str, str], name: str) -> None:
    content = copy.deepcopy(CONTENT)
    parent(content, place)[place[-1]] = name
    with pytest.raises(ValidationError):
        Result.model_validate(content)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_garbage_is_a_data_error(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_bytes(garbage)
    with pytest.raises(DataError, match=r"garbage\.json: not a"):
        read_result(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "no valid JSON"),
        ('{"schema_version": 1}', "method: Field required.* more"),
        ('{"schema_version": 3}', "schema version 3 is newer than 2.*upgrade"),
        ('{"schema_version": "1"}', "schema_version"),
        ("{}", "no schema_version"),
        ("[]", "no schema_version"),
        ('{"schema_version": 1' + "0" * 5000 + "}", "JSON"),
        ('{"schema_version": 2, "seed": 1, "seed": 2}', "the key 'seed' stands twice"),
        ('{"schema_version": 2, "method": {"config": {"a": ' + "[" * 500 + "]" * 500 + "}}}", "recursion limit"),
        (" " * 20_000_001, "larger than the 20,000,000 bytes that are read"),
    ],
)
def test_foreign_files_are_explained(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "foreign.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_result(tmp_path / "foreign.json")


def test_a_truncated_file_is_detected_at_any_length(tmp_path: Path) -> None:
    write_result(make_result(), tmp_path / "a.json")
    whole = (tmp_path / "a.json").read_bytes().rstrip()
    for length in range(0, len(whole), 997):
        (tmp_path / "cut.json").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut"):
            read_result(tmp_path / "cut.json")


def test_a_missing_file_and_folder_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_result(tmp_path / "missing.json")
    with pytest.raises(DataError, match="no such folder"):
        load_results(tmp_path / "missing")


def test_a_folder_and_a_device_are_no_result_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "c.json")
    for name in ("a", "b", "c"):
        with pytest.raises(DataError, match=f"{name}.json: no regular file"):
            read_result(tmp_path / f"{name}.json")


def test_whole_counts_beyond_double_precision_are_refused() -> None:
    content = copy.deepcopy(CONTENT)
    content["points"][0]["readouts"]["head"]["confusion"][0][0] = 2**63
    with pytest.raises(ValidationError):
        Result.model_validate(content)


def test_the_path_tells_experiments_apart_and_repetitions_not(tmp_path: Path) -> None:
    one = make_result(seed=3)
    path = submission_path(tmp_path, one)
    assert path.parent == tmp_path / "submissions" / "lartpc" / "throws" / "smoke"
    assert path.name == f"supcon-seed3-{fingerprint(experiment(one))}.json"
    worse = make_result(accuracies={"nominal": 0.5, "throw1": 0.5, "throw2": 0.5}, seed=3)
    assert submission_path(tmp_path, worse) == path
    others = [
        make_result(seed=4),
        make_result(seed=3, config={"temperature": 0.2}),
        make_result(seed=3, backbone="small"),
        make_result(seed=3, version="2"),
        make_result("simclr", seed=3),
        make_result(seed=3, shift="crosstalk"),
        make_result(seed=3, profile="paper"),
    ]
    assert len({submission_path(tmp_path, other) for other in [one, *others]}) == 8
    assert len({fingerprint(experiment(other)) for other in [one, *others]}) == 8


def test_a_later_version_never_takes_the_name_of_an_earlier_one(tmp_path: Path) -> None:
    first = read_result(Path(__file__).parents[1] / "fixtures" / "result-version-1.json")
    assert submission_path(tmp_path, first).name == "supcon-seed0-5367e3b3.json", "committed under this name"
    old = Result.model_validate(as_version_1(result_content()))
    new = Result.model_validate(result_content())
    assert submission_path(tmp_path, old) != submission_path(tmp_path, new)


def test_every_committed_file_stands_where_it_would_be_written() -> None:
    root = Path(__file__).parents[2] / "leaderboards"
    for path in sorted((root / "submissions").rglob("*.json")):
        assert path == submission_path(root, read_result(path))


def test_parameters_that_no_point_moves_do_not_part_results(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    before = submission_path(tmp_path, Result.model_validate(content))
    for point in content["points"]:
        point["parameters"]["added_later_and_switched_off"] = 0.0
    assert submission_path(tmp_path, Result.model_validate(content)) == before
    content["points"][1]["parameters"]["added_later_and_switched_off"] = 1.0
    assert submission_path(tmp_path, Result.model_validate(content)) != before


def test_another_source_point_is_another_folder(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    nominal, first, second = content["points"]
    content["points"] = [first, nominal, second]
    content["shift"]["points"] = [point["point"] for point in content["points"]]
    result = Result.model_validate(content)
    assert submission_path(tmp_path, result).parent.parent.name == "throws-from-throw1"
    assert [point.point for point in result.target_points] == ["nominal", "throw2"]


def test_load_results_reads_all_in_order_and_refuses_repetitions(tmp_path: Path) -> None:
    results = [make_result(seed=seed) for seed in (2, 0, 1)]
    for result in results:
        write_result(result, submission_path(tmp_path, result))
    (tmp_path / "submissions" / "notes.txt").write_text("no result")
    (tmp_path / "submissions" / ".supcon.json.12-ab.partial").write_text("{")
    assert [result.seed for result in load_results(tmp_path)] == [0, 1, 2]
    write_result(results[0], tmp_path / "submissions" / "copy.json")
    with pytest.raises(DataError, match="remove one of them") as caught:
        load_results(tmp_path)
    assert "copy.json" in str(caught.value)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NubenchError, match="disk is full"):
        write_result(make_result(), tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_results_are_immutable() -> None:
    result = make_result()
    with pytest.raises(ValidationError, match="frozen"):
        result.seed = 7
