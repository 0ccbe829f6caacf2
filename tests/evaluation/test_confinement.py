"""A process that gave up reading some folders; each test has one of its own, since the right does not come back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nubench.evaluation.confinement import can_confine

CODE = """
import sys
from pathlib import Path
from nubench.evaluation.confinement import confine
forbidden, allowed, tried = (list(map(Path, part.split(":"))) for part in sys.argv[1:4])
assert confine(forbidden, allowed)
for path in tried:
    try:
        print(path.read_text())
    except OSError as error:
        print(type(error).__name__)
"""

pytestmark = pytest.mark.skipif(not can_confine(), reason="this system cannot confine: Landlock needs Linux 5.13")


def _read(forbidden: list[Path], allowed: list[Path], tried: list[Path]) -> list[str]:
    arguments = [":".join(map(str, paths)) for paths in (forbidden, allowed, tried)]
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_what_is_forbidden_and_what_is_not(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a/b/deep", "a/b/own/mine", "a/c/beside", "a/new", "outside")}
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name.rpartition("/")[2])
    found = _read([tmp_path / "a/b", tmp_path / "absent"], [tmp_path / "a/b/own"], list(files.values()))
    assert found == ["PermissionError", "mine", "beside", "new", "outside"]


def test_two_forbidden_folders_do_not_open_each_other(tmp_path: Path) -> None:
    for name in ("one/x", "two/x", "three/x"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("read")
    tried = [tmp_path / name / "x" for name in ("one", "two", "three")]
    found = _read([tmp_path / "one", tmp_path / "two"], [tmp_path / "three"], tried)
    assert found == ["PermissionError", "PermissionError", "read"]


def test_a_symbolic_link_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_text("read")
    (tmp_path / "door").symlink_to(tmp_path / "secret")
    (tmp_path / "key").symlink_to(tmp_path / "secret" / "x")
    tried = [tmp_path / "door" / "x", tmp_path / "key", tmp_path / "secret" / "x"]
    assert _read([tmp_path / "door"], [tmp_path / "door" / "absent"], tried) == ["PermissionError"] * 3


def test_it_holds_for_what_the_process_starts(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_text("read")
    code = (
        "import subprocess, sys; from pathlib import Path; from nubench.evaluation.confinement import confine; "
        "confine([Path(sys.argv[1])]); "
        "print(subprocess.run(['cat', sys.argv[1] + '/x'], capture_output=True).returncode)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "secret")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() != "0"
