"""The script that measures on a GPU, run on the processor: that it works, and that its shares are shares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "measure_gpu.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_a_measurement_is_written_and_printed(tmp_path):
    done = run("--device", "cpu", "--preset", "tiny", "--batch", "4", "--steps", "1", "--out", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "new" / "measurement.json").read_text())
    assert found["preset"] == "tiny"
    assert found["voxels"] == 4 * 516
    assert found["events_per_second"] == pytest.approx(4 / found["step"])
    for name in ("share_of_waiting", "share_of_matrix_products"):
        assert 0 < found[name] < 1
    assert found["share_of_maps"] > 0
    assert 0 < found["floor_of_operations"] < found["step"]
    assert 0 < found["floor_of_bytes"] < found["step"]
    shares = [kernel["share"] for kernel in found["kernels"]]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1 + 1e-9
    assert "tiny, 4 events" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("--out", str(tmp_path))
    assert done.returncode == 2
    assert "no CUDA GPU is available" in done.stderr
    assert not list(tmp_path.iterdir())
