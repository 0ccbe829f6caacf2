"""A process that gave up some folders; each test has one of its own, since the right does not come back."""

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

#: Tries every way to change a file, or what stands in its folder, and prints those that worked.
CHANGES = """
import os, sys
from pathlib import Path
from nubench.evaluation.confinement import confine
forbidden, allowed, unchanged = ([Path(path) for path in part.split(":") if path] for part in sys.argv[1:4])
assert confine(forbidden, allowed, unchanged)
for path in map(Path, sys.argv[4].split(":")):
    ways = {
        "read": lambda: path.read_text(),
        "write": lambda: path.open("r+").write("lie"),
        "append": lambda: path.open("a").write("lie"),
        "truncate": lambda: os.truncate(path, 0),
        "make": lambda: (path.parent / "new").touch(),
        "folder": lambda: (path.parent / "folder").mkdir(),
        "link": lambda: (path.parent / "symbolic").symlink_to("x"),
        "pipe": lambda: os.mkfifo(path.parent / "pipe"),
        "rename": lambda: path.rename(path.with_name("renamed")),
        "remove": lambda: path.unlink(missing_ok=False),
    }
    done = []
    for way, change in ways.items():
        try:
            change()
            done.append(way)
        except OSError:
            pass
    print(",".join(done) or "nothing")
"""
#: What is renamed cannot be removed under its old name.
ALL = "read,write,append,truncate,make,folder,link,pipe,rename"

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


def _changed(forbidden: list[Path], allowed: list[Path], unchanged: list[Path], tried: list[Path]) -> list[str]:
    for path in tried:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("true")
    arguments = [":".join(map(str, paths)) for paths in (forbidden, allowed, unchanged, tried)]
    command = [sys.executable, "-c", CHANGES, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_what_can_be_changed_and_what_not(tmp_path: Path) -> None:
    names = ("cache/labels/x", "cache/own/x", "cache/beside/x", "code/deep/x", "code/kernels/x", "outside/x")
    tried = [tmp_path / name for name in names]
    found = _changed(
        [tmp_path / "cache" / "labels"],
        [tmp_path / "cache" / "own", tmp_path / "code" / "kernels"],
        [tmp_path / "code"],
        tried,
    )
    if found[0] == "truncate":
        pytest.skip("before Linux 6.2 a file can be cut short")
    assert found == ["nothing", ALL, ALL, "read", ALL, ALL]
    assert [path.read_text() for path in (tried[0], tried[3])] == ["true", "true"]


def test_beside_what_is_closed_files_change_and_no_new_ones_come(tmp_path: Path) -> None:
    tried = [tmp_path / "a" / "x", tmp_path / "a" / "closed" / "x"]
    found = _changed([], [], [tmp_path / "a" / "closed"], tried)
    assert found == ["read,write,append,truncate", "read"]


def test_a_closed_folder_inside_of_a_closed_one_opens_nothing(tmp_path: Path) -> None:
    tried = [tmp_path / "a" / name / "x" for name in ("b", "c")]
    assert _changed([tmp_path / "a", tmp_path / "a" / "b"], [], [], tried) == ["nothing", "nothing"]
    assert _changed([tmp_path / "a"], [], [tmp_path / "a" / "b"], tried) == ["nothing", "nothing"]


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
