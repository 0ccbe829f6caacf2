"""The soak, in short: runs in one process, one after another, leave neither memory nor open files behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick_world import DATASET, SHIFT, open_world
from soak import WARM_UP, WAYS, Measured, soak, verdict

from nubench.runs.request import Request


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_dozen_runs_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_world(tmp_path, monkeypatch)
    request = Request("classifier", SHIFT, "smoke", DATASET, device="cpu")
    measured = list(soak([request], tmp_path / "cache", loops=WARM_UP + 9, seconds=3600, ways=WAYS["here"]))
    growth, more, _ = verdict(measured, 1.0)
    assert more <= 0, measured
    # A run's events, weights and optimiser are some 20 MB: one that was kept would show.
    assert growth < 5, measured


def test_growth_is_told_from_noise() -> None:
    def history(growth: float, files: int) -> list[Measured]:
        return [Measured(float(n), 500 + 300 * (n < 2) + growth * n + 3 * (n % 2), 20 + files * n) for n in range(40)]

    assert verdict(history(0.0, 0), 1.0)[2]
    assert not verdict(history(2.0, 0), 1.0)[2]
    assert not verdict(history(0.0, 1), 1.0)[2]
    assert verdict(history(2.0, 0), 1.0)[0] == pytest.approx(2.0, abs=0.1)
    with pytest.raises(ValueError, match="4 loops are too few"):
        verdict(history(0.0, 0)[:4], 1.0)
