"""JSON and TOML from outside: refused with a reason, in bounded time and memory; checksums find every change."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import ends_of

from nubench.errors import DataError
from nubench.storage.checked_json import read_checked, with_checksum, without_checksum, write_checked
from nubench.storage.foreign_text import MOST_IN_ONE, MOST_MARKS, parsed_json, parsed_toml, read_text
from result_factory import make_result

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 50_000, "nested too deeply"),
        ("[" * 1_000_000, "1,000,000 of the marks"),
        ('{"a": NaN}', "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("9" * 5_000, "integer string conversion"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ('{"a": 1', "delimiter"),
        ("", "Expecting value"),
    ],
)
def test_json_that_would_hurt_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parsed_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Python's own parser takes 50 s for the first and grows with the square.
        (".".join("a" * 20_000) + " = 1", "line 1: more than 20 words joined by dots"),
        ("x = 1\n[" + " . ".join(["'b'"] * 3_000) + "]", "line 2: more than 20 words"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "{a=" * 50_000, "nested too deeply"),
        ("a = 1\na = 2", "overwrite"),
        ("a = " + "9" * 5_000, "integer string conversion"),
    ],
)
def test_toml_that_would_hurt_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parsed_toml(text)


def result_with(**changed: Any) -> str:
    """The text of a result file with other values in it."""
    made = make_result("supcon", {"nominal": 0.8, "throw1": 0.7}, 0).model_dump(mode="json")
    return json.dumps({**made, **changed})


def wrong(count: int) -> dict[str, list[None]]:
    return {f"x{i}": [] for i in range(count)}


RESULTS = {
    "at the limit of the size": (lambda: "[" + "[]," * 6_600_000 + "[]]", "so about as many values"),
    "a key that stands twice among many": (
        lambda: "{" + ",".join(f'"{i}":0' for i in range(150_000)) + ',"149999":0}',
        "the key '149999' stands twice",
    ),
    "unknown keys": (lambda: result_with(**wrong(9_000)), "Extra inputs are not permitted"),
    "empty points": (lambda: result_with(points=[{}] * 10_000), r"points.0.point: Field required"),
    "more points than are read": (lambda: result_with(points=[{}] * 10_001), "a list of 10,001 values"),
    "half a million points": (lambda: result_with(points=[{}] * 500_000), "so about as many values"),
    "points of wrong parameters": (
        lambda: result_with(points=[{"parameters": wrong(9_000)}] * 9),
        "points.0.point: Field required",
    ),
    "nothing but brackets": (lambda: "[" * 20_000_000, "so about as many values"),
}
HEAD = 'title = "t"\nprofile = "smoke"\n'
STUDIES = {
    "empty figures": (lambda: HEAD + "[[figures]]\n" * 9_000, "figures.0.name: Field required"),
    "more figures than are read": (lambda: HEAD + "[[figures]]\n" * 40_000, "a list of 40,000 values"),
    "wrong settings": (
        lambda: HEAD + "settings = {" + ",".join(f"k{i} = []" for i in range(9_000)) + "}",
        "settings.k0",
    ),
    "tables in tables": (lambda: "\n".join(f"[k{i}{'.a' * 18}]" for i in range(20_000)), "so about as many values"),
    "empty tables": (lambda: f"x = [{'{},' * 300_000}]", "so about as many values"),
    "one long number": (lambda: "x = 0x" + "f" * 990_000, "a whole number of 3,960,000 bits"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reader", "name", "texts"),
    [
        ("nubench.results.files:read_result", "a.json", RESULTS),
        ("nubench.studies.study_file:read_study", "a.toml", STUDIES),
        ("nubench.datasets.cards:read_card", "a.toml", STUDIES),
    ],
)
def test_files_made_to_take_time_and_memory_are_refused_within_limits(
    tmp_path: Path, reader: str, name: str, texts: dict[str, Any]
) -> None:
    """All files of a kind take 30 s of the processor and 600 MB at the most; one of them took hours or 25 GB before."""
    paths = []
    for number, (make, _) in enumerate(texts.values()):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_text(make())
        paths.append(path)
    ends = ends_of([(reader, [path]) for path in paths], megabytes=600, seconds=30)
    for end, path, (title, (_, reason)) in zip(ends, paths, texts.items(), strict=True):
        assert end is not None, title
        assert end.startswith(("DataError: ", "UsageError: ")), title
        assert len(end) < 3_000, title
        assert name in end, title
        if "cards" not in reader:
            assert reason in end, (title, end, path)


def test_as_much_as_is_read_is_read() -> None:
    assert len(parsed_json(json.dumps(list(range(MOST_IN_ONE))))) == MOST_IN_ONE
    assert len(parsed_toml(f"x = {list(range(MOST_IN_ONE))}")["x"]) == MOST_IN_ONE
    rows = [[0] * 9_000] * (MOST_MARKS // 9_001)
    assert parsed_json(json.dumps(rows)) == rows
    for long in ([0] * (MOST_IN_ONE + 1), {str(i): 0 for i in range(MOST_IN_ONE + 1)}):
        with pytest.raises(ValueError, match=r"it has a (list|table) of 10,001 values; at most 10,000 are read"):
            parsed_json(json.dumps({"a": [long]}))


@given(VALUES)
def test_json_that_is_whole_comes_back(value: Any) -> None:
    assert parsed_json(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_toml_or_refused_with_a_value_error(text: str) -> None:
    try:
        found = parsed_toml(text)
    except ValueError:
        return
    assert found == tomllib.loads(text)


def test_files_are_read_up_to_their_limit_and_devices_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("x" * 100)
    assert read_text(path, 100) == "x" * 100
    with pytest.raises(DataError, match=r"a\.json: larger than the 99 bytes"):
        read_text(path, 99)
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no room on the disk
    with pytest.raises(DataError, match="larger than the 1,000,000 bytes"):
        read_text(path, 1_000_000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(DataError, match="no regular file"):
            read_text(tmp_path / name, 100)
    with pytest.raises(DataError, match="no such file"):
        read_text(tmp_path / "missing", 100)


@given(st.dictionaries(st.text().filter(lambda name: name != "checksum"), VALUES, max_size=5))
def test_what_a_checksum_is_put_to_comes_back(content: dict[str, Any]) -> None:
    assert without_checksum(parsed_json(json.dumps(with_checksum(content)))) == content


@given(st.data())
def test_every_flipped_bit_of_a_file_with_a_checksum_is_found_or_changes_nothing(data: st.DataObject) -> None:
    content = {"a": [1, 2.5, {"b": "text", "c": None}], "d": True, "e": 0.1 + 0.2}
    text = bytearray(json.dumps(with_checksum(content), indent=1).encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = without_checksum(parsed_json(text.decode()))
    except ValueError:
        return
    assert found == content


def test_files_with_a_checksum_are_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_checked(path, {"b": (1, 2), "a": 0.1})
    assert read_checked(path, 1_000) == {"b": [1, 2], "a": 0.1}
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(DataError, match=r"a\.json is damaged: its checksum differs"):
        read_checked(path, 1_000)
    path.write_text('{"a": 1}')
    assert read_checked(path, 1_000, required=False) == {"a": 1}
    with pytest.raises(DataError, match="it has no checksum"):
        read_checked(path, 1_000)
    path.write_text("[1]")
    with pytest.raises(DataError, match="it is no JSON object"):
        read_checked(path, 1_000, required=False)
