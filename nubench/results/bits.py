"""One bit an event, as text: how a result file says which of its test events were judged right."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from nubench.containers import Bool


def pack(bits: Bool) -> str:
    """Write U truth values as base64 text: eight a byte, the first in the highest bit, the last byte filled with 0.

    Args:
        bits: (U,) truth values.

    Example:
        >>> pack(np.array([True, False, True]))
        'oA=='
    """
    return base64.b64encode(np.packbits(bits).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> Bool:
    """Read what :func:`pack` wrote.

    Args:
        text: base64.
        count: U, the number of truth values.

    Returns:
        (U,) truth values.

    Raises:
        ValueError: when the text is no base64, of another length, or has a bit set beyond the last value.

    Example:
        >>> unpack("oA==", 3)
        array([ True, False,  True])
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from error
    if len(raw) != -(-count // 8):
        raise ValueError(f"{count} truth values take {-(-count // 8)} bytes; got {len(raw)}")
    bits = np.unpackbits(np.frombuffer(raw, np.uint8)).astype(bool)
    if bits[count:].any():
        raise ValueError(f"a bit is set beyond the last of {count} truth values")
    return bits[:count]
