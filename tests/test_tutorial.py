"""The tutorial runs as it stands, and prints what stands in it, but for the digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import ROOT, load_script


def _without_numbers(text: str) -> list[str]:
    """Lines with every number replaced and blanks joined: the last digits differ between machines."""
    lines = (" ".join(re.sub(r"[-+]?\d[\d,.]*", "#", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def _rows_in_any_order(lines: list[str]) -> list[str]:
    """Rows of nearly equal accuracy may change places."""
    return sorted(re.sub(r"throw#|nominal", "point", line) for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_tutorial_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_script("run_tutorial")
    monkeypatch.setenv("NUBENCH_CACHE", str(tmp_path / "cache"))
    page = script.PAGE.read_text(encoding="utf-8")
    outputs = [cell["output"] or "" for cell in script.CELL.finditer(page)]
    assert sum(map(bool, outputs)) >= 6, "run: python scripts/run_tutorial.py"

    again = script.rendered(page, tmp_path)
    for cell, before in zip(script.CELL.finditer(again), outputs, strict=True):
        found, expected = (_rows_in_any_order(_without_numbers(text or "")) for text in (cell["output"], before))
        assert found == expected, f"run: python scripts/run_tutorial.py\n{cell['code']}\n{cell['output']}"
    assert (tmp_path / script.PICTURE).is_file()
    assert (ROOT / "docs" / "figures" / script.PICTURE).is_file()
