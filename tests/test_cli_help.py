"""What ``--help`` shows, and what the shift of a data command may be called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from nubench.cli import app
from nubench.cli.options import dataset_called, shifts_of
from nubench.errors import UsageError
from nubench.listings import LISTINGS

SHIFT = """
import nubench
from nubench.shifts import Shift, ShiftAddition, ShiftPoint

@nubench.hookimpl
def register_shifts():
    point = ShiftPoint(name="short", strength=700.0, parameters={"electron_lifetime": 700.0})
    shift = Shift(name="purity", title="electron lifetime", strength_unit="us", nominal_strength=2200.0, points=[point])
    return [ShiftAddition(dataset="lartpc", shift=shift)]
"""


def calls(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from calls(command, (*before, name))
        else:
            yield (*before, name)


@pytest.mark.parametrize("call", list(calls(typer.main.get_command(app))), ids=" ".join)
def test_options_take_values_with_names_that_people_use(call: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*call, "--help"])
    assert shown.exit_code == 0, shown.output
    options = [line for line in shown.output.splitlines() if line.startswith("  --")]
    assert options
    assert [line for line in options if "<" in line] == []


def test_value_names_follow_the_type() -> None:
    shown = " ".join(CliRunner().invoke(app, ["run", "--help"]).output.split())
    for option in ("--method TEXT", "--seeds N", "--plugin PATH", "--set NAME=VALUE", "--dry-run print"):
        assert option in shown


def test_the_help_of_list_names_every_listing() -> None:
    shown = CliRunner().invoke(app, ["list", "--help"]).output
    assert [what for what in LISTINGS if what not in shown] == []


def test_a_shift_of_a_data_set_may_be_called_with_its_distribution(tmp_path: Path) -> None:
    file = tmp_path / "adds.py"
    file.write_text(SHIFT)
    for name in ("purity", "file:purity"):
        dataset = dataset_called("lartpc", "smoke", [file], tmp_path, 1, name)
        assert [shift.name for shift in shifts_of(dataset.card, name)] == ["purity"]
    dataset = dataset_called("lartpc", "smoke", [file], tmp_path, 1)
    assert shifts_of(dataset.card, None) == dataset.card.shifts
    with pytest.raises(UsageError, match="unknown shift 'puritty'; did you mean 'purity'"):
        shifts_of(dataset.card, "puritty")
    with pytest.raises(UsageError, match="unknown plugin's shift 'elsewhere:purity'; did you mean 'file:purity'"):
        dataset_called("lartpc", "smoke", [file], tmp_path, 1, "elsewhere:purity")


@pytest.mark.parametrize("command", ["build", "plot"])
def test_data_commands_take_the_shift_of_a_plugin_by_its_full_name(command: str, tmp_path: Path) -> None:
    file = tmp_path / "adds.py"
    file.write_text(SHIFT)
    asked = ["data", command, "lartpc", "--plugin", str(file), "--cache", str(tmp_path), "--shift", "file:purty"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2
    assert "did you mean" in done.output
