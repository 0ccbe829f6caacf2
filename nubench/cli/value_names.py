"""What stands for the value of an option in ``--help`` and in the reference of the command line."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

#: For the type of one value; whatever is not here is text.
VALUE_NAMES: Final = MappingProxyType({int: "N", float: "NUMBER", Path: "PATH"})


def value_name(annotation: Any) -> str:
    """The placeholder of a type: of the one value of a list, or of what may be absent.

    Example:
        >>> value_name(list[str]), value_name(int | None), value_name(Path)
        ('TEXT', 'N', 'PATH')
    """
    for inner in get_args(annotation):
        if inner is not type(None):
            return value_name(inner)
    return VALUE_NAMES.get(annotation, "TEXT")


def with_value_names(command: Any) -> Any:
    """Name the values of a command's options, and of those below it, where the command does not name them itself.

    Args:
        command: what typer made of a function or of a group, or None.

    Returns:
        The same object.
    """
    unnamed = [
        option
        for option in getattr(command, "params", ())
        if option.param_type_name == "option" and not option.is_flag and option.metavar is None
    ]
    annotations = get_type_hints(command.callback) if unnamed else {}
    for option in unnamed:
        option.metavar = value_name(annotations.get(option.name))
    for below in getattr(command, "commands", {}).values():
        with_value_names(below)
    return command
