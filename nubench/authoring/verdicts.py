"""What a check raises when it has found something, or cannot be made."""

from __future__ import annotations


class CheckFailedError(Exception):
    """A check has found something; ``advice`` says what to change, where the check's own does not fit."""

    def __init__(self, detail: str, advice: str | None = None) -> None:
        super().__init__(detail)
        self.advice = advice


class CheckSkippedError(Exception):
    """A check cannot be made here; the message says why."""
