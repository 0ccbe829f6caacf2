"""Write docs/cli.md, the reference of the command line, from the commands themselves.

    python scripts/write_cli_reference.py

The words are those of ``--help``. What shows them is our own, so that the page does not change with typer's layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import typer.main

from nubench.cli import app
from nubench.cli.value_names import value_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
INTRODUCTION = """# Command-line reference

<!-- Written by scripts/write_cli_reference.py; change the commands, not this page. -->

Every command with every option, as `--help` states them. [Getting started](getting-started.md) shows them at work;
[environment variables](getting-started.md#environment-variables) and
[exit codes](getting-started.md#exit-codes) are there.
"""
DEFAULT_IN_HELP = re.compile(r" *\[default: (.+)\]$")


def reference() -> str:
    """The page."""
    program = typer.main.get_command(app)
    sections = [section(command, f"nubench {name}") for name, command in commands(program)]
    options = [row for row in map(option_row, program.params) if row]
    whole = ["\n".join(["## nubench", "", str(program.help), "", *table("option", options)])]
    return "\n".join([INTRODUCTION, *("\n" + text for text in (*whole, *sections))]).replace("\n\n\n", "\n\n")


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group with its full name, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def section(command: Any, name: str) -> str:
    """One command: what it does, how it is called, its arguments and options."""
    hints = get_type_hints(command.callback)
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [option_row(parameter, hints) for parameter in command.params if parameter not in arguments]
    call = " ".join([name, *(placeholder(argument) for argument in arguments), *required(command.params, hints)])
    lines = [f"## {name}", "", " ".join(str(command.help).split()), "", "```text", call, "```", ""]
    if arguments:
        rows = [f"| `{argument_name(one)}` | {escaped(one.help)} | {default_of(one)[1]} |" for one in arguments]
        lines += [*table("argument", rows), ""]
    return "\n".join([*lines, *table("option", [row for row in options if row])])


def table(kind: str, rows: list[str]) -> list[str]:
    """A Markdown table, empty where there are no rows."""
    return [f"| {kind} | meaning | default |", "|---|---|---|", *rows, ""] if rows else []


def option_row(parameter: Any, hints: dict[str, Any] | None = None) -> str | None:
    """The line of an option; None for those that are hidden and for --help."""
    if getattr(parameter, "hidden", False) or parameter.name == "help":
        return None
    text, default = default_of(parameter)
    names = " / ".join(f"`{name}{value_of(parameter, hints or {})}`" for name in parameter.opts)
    names += "".join(f" / `{name}`" for name in parameter.secondary_opts)
    repeated = "; may be given several times" if parameter.multiple and "several times" not in text else ""
    return f"| {names} | {text}{repeated} | {default} |"


def default_of(parameter: Any) -> tuple[str, str]:
    """What the parameter means, and its default: a value, words, or that it is required."""
    text = escaped(parameter.help or "")
    in_words = DEFAULT_IN_HELP.search(text)
    if in_words:
        return text[: in_words.start()], in_words.group(1)
    if parameter.required:
        return text, "required"
    default = parameter.default
    if isinstance(default, bool) and parameter.secondary_opts:
        return text, f"`{(parameter.opts if default else parameter.secondary_opts)[0]}`"
    if callable(default) or default is None or default == [] or isinstance(default, bool):
        return text, ""
    return text, f"`{default}`"


def value_of(parameter: Any, hints: dict[str, Any]) -> str:
    """What follows an option, with a blank before it; nothing for a flag."""
    if getattr(parameter, "is_flag", False):
        return ""
    return f" {parameter.metavar or value_name(hints.get(parameter.name))}"


def argument_name(argument: Any) -> str:
    """An argument as it stands in the call."""
    return str(argument.metavar or argument.name.upper().rstrip("_"))


def placeholder(argument: Any) -> str:
    """An argument in the call: in brackets where it may be left out, with dots where it may stand again."""
    name = argument_name(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def required(parameters: list[Any], hints: dict[str, Any]) -> list[str]:
    """The options without which the command cannot be called, and a sign that there are others."""
    options = [one for one in parameters if one.param_type_name == "option" and one.name != "help"]
    needed = [f"{one.opts[0]}{value_of(one, hints)}" for one in options if one.required]
    return [*needed, *(["[options]"] if len(needed) < len(options) else [])]


def escaped(text: str) -> str:
    """Help as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
