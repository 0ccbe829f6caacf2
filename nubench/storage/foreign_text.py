"""Text from outside: read up to a size, parsed in bounded time, refused with a reason.

A few kilobytes of JSON or TOML can keep a parser busy for hours or end it: nested brackets, keys of thousands of parts.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NoReturn

from nubench.errors import DataError
from nubench.storage.files import explained_failures

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
        ValueError: when it is none, is nested too deeply, holds NaN or an infinity, or a key stands twice.

    Example:
        >>> parsed_json('{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parsed_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: when it is none, is nested too deeply, or a key has more than 20 parts.

    Example:
        >>> parsed_toml("a.b = 1")
        {'a': {'b': 1}}
    """
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"line {line}: more than {_MOST_PARTS} words joined by dots are no key")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two equal keys counts: a person would see one value, and the board show another.
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
