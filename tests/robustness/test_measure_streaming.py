"""The script that measures a large data set, on a small one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measure_streaming import LONGEST, SHORTEST, drawn, measure


def test_drawn_events_are_what_the_format_asks_for() -> None:
    events = drawn(200, 7).events
    assert SHORTEST <= events.voxels_per_event.min() <= events.voxels_per_event.max() <= LONGEST
    for first, last in zip(events.offsets[:-1], events.offsets[1:], strict=True):
        assert len(np.unique(events.coords[first:last], axis=0)) == last - first
    assert np.array_equal(events.features, drawn(200, 7).events.features)


@pytest.mark.slow
def test_every_stage_is_measured_and_no_events_are_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(tmp_path, train=600, test=90, steps=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("600 training and 90 test events of ")
    assert lines[0].endswith("2 steps")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    assert [row[:2] for row in rows] == [["write", "3,690"], ["open", "3,600"], ["train", "256"], ["judge", "90"]]
    assert not list(tmp_path.rglob("handouts/*/*.safetensors"))
