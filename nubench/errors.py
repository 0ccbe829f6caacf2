"""Errors that are the user's to mend: the command line prints their message, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NubenchError(Exception):
    """Something failed that a message explains fully (exit code 1)."""

    exit_code = 1


class UsageError(NubenchError):
    """An argument cannot be accepted (exit code 2). The message names it, its value and what is accepted."""

    exit_code = 2


class DataError(NubenchError):
    """A file is missing, corrupt, foreign or implausible. The message names the file and the reason."""


class PluginError(NubenchError):
    """A plugin broke its contract. The message names the plugin and what to change."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that does not exist, with its near misses and all that exists.

    Args:
        kind: what was looked for, in the singular (``"method"``).
        name: the name received.
        known: every name that would have been accepted.

    Example:
        >>> print(unknown_name("method", "supcom", ["supcon", "classifier"]))
        unknown method 'supcom'; did you mean 'supcon'? Known methods: classifier, supcon
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    return UsageError(f"unknown {kind} {name!r}{hint} Known {kind}s: {', '.join(names) or '(none)'}")
