"""The soak, in short: runs in one process, one after another, leave neither memory nor open files behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from quick_world import DATASET, SHIFT, open_world
from soak import WARM_UP, WAYS, Measured, cells_of, soak, verdict

from nubench.runs.request import Request
from pages import ROOT


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_dozen_runs_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_world(tmp_path, monkeypatch)
    request = Request("classifier", SHIFT, "smoke", DATASET, device="cpu")
    measured = list(soak([request], tmp_path / "cache", loops=WARM_UP + 9, seconds=3600, ways=WAYS["here"]))
    growth, more, _ = verdict(measured, 1.0, WARM_UP)
    assert more <= 0, measured
    # A run's events, weights and optimiser are some 20 MB: one that was kept would show.
    assert growth < 5, measured


def _history(growth: float, files: int, heights: Sequence[float] = (500.0,), loops: float = 40) -> list[Measured]:
    """What would be measured where each loop has a run for each height, and memory and files grow by loop."""
    runs = [divmod(number, len(heights)) for number in range(int(loops * len(heights)))]
    return [
        Measured(
            loop, run, float(loop), heights[run] + 300 * (loop < 1) + growth * loop + 3 * (loop % 2), 20 + files * loop
        )
        for loop, run in runs
    ]


@pytest.mark.parametrize("heights", [(500.0,), (700.0, 300.0, 450.0)])
def test_growth_is_told_from_noise(heights: tuple[float, ...]) -> None:
    assert verdict(_history(0.0, 0, heights), 1.0, WARM_UP)[2]
    assert not verdict(_history(2.0, 0, heights), 1.0, WARM_UP)[2]
    assert not verdict(_history(0.0, 1, heights), 1.0, WARM_UP)[2]
    assert verdict(_history(2.0, 0, heights), 1.0, WARM_UP)[0] == pytest.approx(2.0, abs=0.1)


def test_cells_of_other_heights_are_no_growth() -> None:
    begun = _history(0.0, 0, (900.0, 400.0, 600.0, 500.0), loops=2.5)
    growth, _, well = verdict(begun, 0.1, warm_up=4)
    assert growth == pytest.approx(-3.0), "what the uneven loop is higher by, and nothing of the heights"
    assert well


def test_too_few_runs_are_said_to_be_too_few() -> None:
    with pytest.raises(ValueError, match="2 runs after the first 38 are too few"):
        verdict(_history(0.0, 0), 1.0, warm_up=38)
    with pytest.raises(ValueError, match="must come again"):
        verdict(_history(0.0, 0, (500.0, 300.0, 400.0), loops=2), 1.0, warm_up=3)


def test_a_study_is_looped_cell_by_cell() -> None:
    cells = cells_of(ROOT / "studies" / "smoke.toml", {"views": "64"})
    assert len(cells) == len(set(map(str, cells))) == 34
    assert {(cell.dataset, cell.profile, cell.settings["views"]) for cell in cells if cell.settings} == {
        ("lartpc", "smoke", "64"),
        ("scintillator", "smoke", "64"),
    }
