"""`nubench new`: what it writes runs as it is, keeps the contract, and is written as the project writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nubench.authoring import check_method, failures_of
from nubench.authoring.scaffold import new_method
from nubench.errors import UsageError
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registry() -> PluginRegistry:
    """The installed plugins."""
    return load_plugins()


def _python(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("package", [False, True])
def test_what_is_written_is_formatted_and_free_of_lint(tmp_path: Path, registry: PluginRegistry, package: bool) -> None:
    new_method("my-method", tmp_path, registry, package=package, force=False)
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    # A package has settings of its own, which say where its modules are; a file is judged by the project's.
    settings = ["--select", ",".join(rules["select"]), "--ignore", ",".join(rules["ignore"])]
    if not package:
        settings = ["--config", str(ROOT / "pyproject.toml")]
    for command in (["format", "--check", *([] if package else settings)], ["check", *settings]):
        done = _python("-m", "ruff", *command, ".", cwd=tmp_path)
        assert done.returncode == 0, done.stdout


def test_the_file_keeps_the_contract(tmp_path: Path, registry: PluginRegistry) -> None:
    (file,) = new_method("my-method", tmp_path, registry, package=False, force=False)
    assert file == tmp_path / "my_method.py"
    loaded = load_plugins([file])
    assert loaded.failures == []
    method = loaded.method("my-method").thing
    assert method.__name__ == "MyMethod"
    assert failures_of(check_method(method)) == []
    text = file.read_text()
    assert "nubench check my_method.py" in text
    assert "$" not in text


@pytest.mark.slow
def test_the_test_of_the_package_passes(tmp_path: Path, registry: PluginRegistry) -> None:
    new_method("my-method", tmp_path, registry, package=True, force=False)
    root = tmp_path / "my-method"
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"nubench": {"my-method": "my_method"}}
    assert project["name"] == "nubench-my-method"
    done = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=root)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    "name", ["My-Method", "my_method", "3d-method", "-method", "my--method", "method-", "", "class"]
)
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, registry: PluginRegistry, name: str) -> None:
    with pytest.raises(UsageError, match="lower case, digits and single hyphens"):
        new_method(name, tmp_path, registry, package=False, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path: Path, registry: PluginRegistry) -> None:
    with pytest.raises(UsageError, match="method 'supcon' exists, brought by nubench"):
        new_method("supcon", tmp_path, registry, package=False, force=False)


def test_files_are_written_over_only_when_asked(tmp_path: Path, registry: PluginRegistry) -> None:
    file = tmp_path / "mine.py"
    file.write_text("work of a week")
    with pytest.raises(UsageError, match=r"mine\.py exists; .* --force"):
        new_method("mine", tmp_path, registry, package=False, force=False)
    assert file.read_text() == "work of a week"
    new_method("mine", tmp_path, registry, package=False, force=True)
    assert "class Mine(Method)" in file.read_text()
