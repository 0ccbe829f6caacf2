"""`nubench new`: a file, or a package, with a method that runs as it is."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from nubench.errors import UsageError
from nubench.plugins.registry import PluginRegistry
from nubench.storage.files import write_atomically

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_method(name: str, folder: Path, registry: PluginRegistry, *, package: bool, force: bool) -> list[Path]:
    """Write a method of this name, to be changed into another.

    Args:
        name: of the method: lower case, digits and hyphens, a letter first.
        folder: where the file, or the folder of the package, comes to stand.
        registry: the plugins, whose names are taken.
        package: write a package, with an entry point and a test, instead of a single file.
        force: write over files that exist.

    Returns:
        The files, the one with the method first.

    Raises:
        UsageError: when the name is not accepted or taken, or a file exists.
        NubenchError: when a file cannot be written.
    """
    words = _checked(name, registry)
    module = "_".join(words)
    values = {
        "name": name,
        "module": module,
        "class_name": "".join(word.capitalize() for word in words),
        "title": f"{' '.join(words).capitalize()}: a method for nubench",
        "nubench": version("nubench"),
    }
    if package:
        root = folder / name
        method_file = root / "src" / f"{module}.py"
        wanted = {
            method_file: "method.py",
            root / "tests" / f"test_{module}.py": "test.py",
            root / "pyproject.toml": "pyproject.toml",
            root / "README.md": "README.md",
        }
        values["file"] = f"src/{module}.py"
    else:
        wanted = {folder / f"{module}.py": "method.py"}
        values["file"] = f"{module}.py"
    standing = [str(path) for path in wanted if path.exists()]
    if standing and not force:
        raise UsageError(f"{', '.join(standing)} exists; choose another name, or write over it with --force")
    for path, template in wanted.items():
        write_atomically(path, _filled(template, values).encode())
    return list(wanted)


def _checked(name: str, registry: PluginRegistry) -> list[str]:
    """The words of a name that is accepted."""
    words = name.split("-")
    if not _NAME.fullmatch(name) or keyword.iskeyword("_".join(words)):
        raise UsageError(
            f"name {name!r} is not accepted: lower case, digits and single hyphens, a letter first, such as my-method"
        )
    taken = [registered for registered in registry.methods() if registered.name == name]
    if taken:
        raise UsageError(f"method {name!r} exists, brought by {taken[0].plugin.distribution}; choose another name")
    return words


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = files("nubench.authoring").joinpath("templates", f"{template}.template").read_text(encoding="utf-8")
    return Template(text).substitute(values)
