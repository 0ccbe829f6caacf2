"""What pydantic finds wrong with a value, in words for people: which field, what it is, what is accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nubench.foreign_text import printable

if TYPE_CHECKING:
    from pydantic import ValidationError

#: A file may hold values, and so messages, of any length.
_MOST_LETTERS: Final = 400


@dataclass(frozen=True)
class Problem:
    """One value that is not accepted.

    Attributes:
        field: its place, the parts joined by dots; empty where it is the whole.
        value: what it is.
        accepted: what would be, a sentence of pydantic's or of our own check.
        kind: pydantic's name of the rule, as ``missing``.
    """

    field: str
    value: Any
    accepted: str
    kind: str

    def __str__(self) -> str:
        # Of a key that is missing pydantic gives all that is there; a whole table would hide the message.
        shown = self.kind != "missing" and isinstance(self.value, str | int | float | None)
        value = f" = {_cut(repr(self.value))}" if shown and self.field else ""
        # A field may be a key that somebody made up.
        return f"{printable(self.field)}{value}: {self.accepted}" if self.field else self.accepted


def problems_of(error: ValidationError) -> list[Problem]:
    """Everything that was found wrong, in the order of the fields; at least one.

    Example:
        >>> from pydantic import BaseModel, PositiveInt, ValidationError
        >>> class Sizes(BaseModel):
        ...     train: PositiveInt
        >>> try:
        ...     Sizes(train=-3)
        ... except ValidationError as error:
        ...     print(problems_of(error)[0])
        train = -3: Input should be greater than 0
    """
    return [
        Problem(".".join(map(str, one["loc"])), one["input"], _sentence(one["msg"]), one["type"])
        for one in error.errors(include_url=False, include_context=False)
    ]


def in_words(problems: Iterable[Problem], most: int = 3) -> str:
    """Some problems in one line; of more than ``most``, the number of the others."""
    found = list(map(str, problems))
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def _sentence(message: str) -> str:
    # Pydantic puts this before what our own checks say.
    return _cut(message.removeprefix("Value error, "))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."
