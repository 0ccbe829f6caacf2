"""Text from outside: read up to a size, parsed in bounded time, refused with a reason.

A few kilobytes of JSON or TOML can keep a parser busy for hours or end it: nested brackets, keys of thousands of parts.
Whoever checks what was parsed remembers about a kilobyte of each wrong value, so the number of values is bounded here.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections import Counter
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NoReturn

from nubench.errors import DataError
from nubench.storage.files import explained_failures

#: In one list or object: a manifest of a thousand shift points holds two thousand files.
MOST_IN_ONE: Final = 10_000
#: What a text has of the marks that part its values, of which there are hardly more than marks. A result at 40 points
#: of 20 classes has 40,000.
MOST_MARKS: Final = 200_000
_JSON_MARKS: Final = ",[{"
#: Each part of a key in TOML may be a table of its own.
_TOML_MARKS: Final = ",[{=."

#: Python writes no number of more than 4,300 digits, not even into a message; TOML may state one in hexadecimal digits.
_MOST_BITS: Final = 14_000

#: Python's parser of TOML takes a time that grows with the square of the parts of a key.
_MOST_PARTS: Final = 20
_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_MOST_PARTS}}}")


def read_text(file: Path | Traversable, most_bytes: int) -> str:
    """Read a text file in UTF-8.

    Args:
        file: on disk, or in an installed package.
        most_bytes: of the file.

    Raises:
        DataError: when it is missing, no regular file, or larger.
        NubenchError: when it cannot be read for want of permission.
        UnicodeDecodeError: a ValueError, when it is no text.
    """
    if isinstance(file, Path):
        with explained_failures(file):
            try:
                # A link may lead to a device that never ends, and a pipe may never begin.
                if not stat.S_ISREG(file.stat().st_mode):
                    raise DataError(f"{file}: no regular file")
            except FileNotFoundError:
                raise DataError(f"{file}: no such file") from None
            with file.open("rb") as opened:
                content = opened.read(most_bytes + 1)
    else:
        content = file.read_bytes()
    if len(content) > most_bytes:
        raise DataError(f"{file}: larger than the {most_bytes:,} bytes that are read of such a file")
    return content.decode("utf-8")


def parsed_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: when it is none, is nested too deeply, holds NaN or an infinity, a key stands twice, or it has more
            values than any file of ours: 10,000 in one list or object, or 200,000 commas and brackets.

    Example:
        >>> parsed_json('{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    _refuse_many_marks(text, _JSON_MARKS)
    try:
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _refuse_long(content)
    return content


def parsed_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: when it is none, is nested too deeply, a key has more than 20 parts, or it has more values than any
            file of ours: 10,000 in one list or table, or 200,000 commas, brackets, dots and equals signs.

    Example:
        >>> parsed_toml("a.b = 1")
        {'a': {'b': 1}}
    """
    _refuse_many_marks(text, _TOML_MARKS)
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"line {line}: more than {_MOST_PARTS} words joined by dots are no key")
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _refuse_long(content)
    return content


def _refuse_many_marks(text: str, marks: str) -> None:
    found = sum(map(text.count, marks))
    if found > MOST_MARKS:
        raise ValueError(
            f"it has {found:,} of the marks {' '.join(marks)}, so about as many values; at most {MOST_MARKS:,} are read"
        )


def _refuse_long(content: Any) -> None:
    """Refuse long lists, tables and numbers, wherever they stand."""
    waiting = [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict | list):
            if len(inner) > MOST_IN_ONE:
                kind = "list" if isinstance(inner, list) else "table"
                raise ValueError(f"it has a {kind} of {len(inner):,} values; at most {MOST_IN_ONE:,} are read")
            waiting.extend(inner if isinstance(inner, list) else inner.values())
        elif isinstance(inner, int) and inner.bit_length() > _MOST_BITS:
            raise ValueError(f"it has a whole number of {inner.bit_length():,} bits")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two equal keys counts: a person would see one value, and the board show another.
    content = dict(pairs)
    if len(content) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {next(name for name, found in times.items() if found > 1)!r} stands twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
