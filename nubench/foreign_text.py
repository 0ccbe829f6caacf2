"""Text of others, as a submission may hold it, made fit to be shown: a terminal obeys control characters."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Make foreign text one visible line: control characters, line ends and marks of direction become spaces.

    Example:
        >>> printable("a\x1b[31mb\n")
        'a [31mb '
    """
    return "".join(character if character.isprintable() else " " for character in text)


def printable_lines(text: str) -> str:
    r"""Make foreign text visible line by line; see :func:`printable`.

    Example:
        >>> printable_lines("a\x1b[31mb\nc")
        'a [31mb\nc'
    """
    return "\n".join(map(printable, text.split("\n")))
