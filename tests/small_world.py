"""A world in which every command of the documents takes seconds: the same data sets, profiles and shifts, made small.

Cards keep their names, classes, parameters and points, with a handful of events of low energy; profiles keep their
names, with a budget of a few steps. What a command needs besides, such as a file of segments, stands in the folder.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nubench
from nubench import profiles
from nubench.plugins import builtin

SIZES = {"train": 40, "val": 3, "adapt": 3, "test": 4}
VIEWS, BATCH = 256, 32
HIGHEST_MEV = 150.0
#: Shifts that keep every point, since the documents name them; the others keep two.
WHOLE = ("throws", "crosstalk")


def small_cards(folder: Path) -> list[Path]:
    """Write the installed cards with few events of low energy, and few points."""
    written = []
    for file in files("nubench_datasets").iterdir():
        if not file.name.endswith(".toml"):
            continue
        card = tomllib.loads(file.read_text())
        card["sizes"] = dict.fromkeys(card["sizes"], SIZES)
        for particle in card["classes"]:
            if "kinetic_energy_mev" in particle:
                particle["kinetic_energy_mev"][1] = HIGHEST_MEV
        for shift in card["shifts"]:
            if shift["name"] not in WHOLE:
                shift["points"] = shift["points"][:2]
        written.append(folder / file.name)
        written[-1].write_text("".join(f"{name} = {_toml(value)}\n" for name, value in card.items()))
    return written


def _toml(value: Any) -> str:
    """A value as it stands in a TOML file, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def shrink(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put the small cards and budgets in the place of the real ones, and a cache below the folder."""
    cards = small_cards(folder)

    @nubench.hookimpl
    def register_datasets() -> list[Path]:
        return cards

    patch.setattr(builtin, "register_datasets", register_datasets)
    small = {"views": VIEWS, "batch_size": BATCH, "backbone": "tiny"}
    patch.setattr(
        profiles, "PROFILES", {name: each.model_copy(update=small) for name, each in profiles.PROFILES.items()}
    )
    patch.setenv("NUBENCH_CACHE", str(folder / "cache"))
    patch.delenv("NUBENCH_PLUGINS", raising=False)


def foreign_files() -> ModuleType:
    """The writers of files of other programs, which stand beside the tests of the importers."""
    path = Path(__file__).parent / "importing" / "foreign_files.py"
    specification = importlib.util.spec_from_file_location("foreign_files_for_documents", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module
