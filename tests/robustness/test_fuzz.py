"""The fuzzer's script: the files that it begins with are valid, and it goes through the readers for a bounded time."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


@pytest.mark.parametrize("reader", fuzz.FILES)
def test_the_files_that_it_begins_with_are_read(reader: str, tmp_path: Path) -> None:
    fuzz.write_examples(reader, tmp_path)
    examples = sorted(tmp_path.iterdir())
    assert examples
    for example in examples:
        assert example.suffix == Path(fuzz.FILES[reader]).suffix
        assert example.stat().st_size < 65_536
        fuzz._reader(reader)(example)


def test_without_atheris_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert fuzz.main(["--all", "--seconds", "1"]) == 0
    assert "Nothing was fuzzed: atheris is not installed" in capsys.readouterr().out
    assert fuzz.main(["result"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_reader_is_fuzzed_for_a_bounded_time(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "study", "--seconds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "runs in" in done.stderr
