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

from nubench.errors import DataError
from nubench.storage.checked_json import read_checked, with_checksum, without_checksum, write_checked
from nubench.storage.foreign_text import parsed_json, parsed_toml, read_text

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a":' * 500_000, "nested too deeply"),
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
