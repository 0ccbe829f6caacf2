"""JSON files that carry their own checksum, so that a damaged one is told from a whole one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nubench.errors import DataError
from nubench.storage.files import write_atomically
from nubench.storage.foreign_text import parsed_json, read_text

#: The key of the checksum in a file. It is that of everything else that the file says, not of how it is written.
CHECKSUM: Final = "checksum"


def digest_of(content: Any) -> str:
    """SHA-256 of anything that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its checksum as the last key.

    Example:
        >>> without_checksum(with_checksum({"a": 1}))
        {'a': 1}
    """
    plain = json.loads(json.dumps(content))
    return {**plain, CHECKSUM: digest_of(plain)}


def without_checksum(content: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Check what :func:`with_checksum` made, and return the rest.

    Args:
        content: as it was read.
        required: False accepts an object that has no checksum.

    Raises:
        ValueError: when the checksum is missing, or that of something else.
    """
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    if CHECKSUM not in content:
        if required:
            raise ValueError("it has no checksum")
    elif content[CHECKSUM] != digest_of(rest):
        raise ValueError(f"its checksum differs: {digest_of(rest)} of what it says, {content[CHECKSUM]!r} in the file")
    return rest


def write_checked(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all.

    Raises:
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    text = json.dumps(with_checksum(content), indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def read_checked(path: Path, most_bytes: int, *, required: bool = True) -> dict[str, Any]:
    """Read what :func:`write_checked` wrote.

    Args:
        path: the file.
        most_bytes: a larger file is refused.
        required: see :func:`without_checksum`.

    Raises:
        DataError: when the file is missing, too large, no JSON object, or damaged; the message names it.
    """
    try:
        content = parsed_json(read_text(path, most_bytes))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        return without_checksum(content, required=required)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
