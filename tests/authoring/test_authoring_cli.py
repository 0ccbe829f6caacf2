"""`nubench new`, `check` and `plugins` as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nubench.cli import app


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUBENCH_CACHE", str(shared_cache))


def nubench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.slow
def test_new_check_and_run_without_a_change(tmp_path: Path, tiny_plugin: Path) -> None:
    made = nubench("new", "my-method")
    assert made.exit_code == 0, made.stderr
    assert "wrote my_method.py" in made.stdout

    checked = nubench("check", "my_method.py")
    assert checked.exit_code == 0, checked.stdout
    assert "FAILED" not in checked.stdout
    assert "batch independence" in checked.stdout

    small = ["--set", "views=128", "--set", "batch_size=16"]
    plugins = ["--plugin", "my_method.py", "--plugin", tiny_plugin]
    run = nubench(
        "run", *plugins, "--method", "my-method", "--dataset", "tiny", "--shift", "throws", *small,
    )  # fmt: skip
    assert run.exit_code == 0, run.stderr
    assert len(list((tmp_path / "leaderboards" / "submissions").rglob("*.json"))) == 1


@pytest.mark.slow
def test_a_failed_check_names_what_to_change_and_ends_with_one(tmp_path: Path) -> None:
    assert nubench("new", "mine").exit_code == 0
    file = tmp_path / "mine.py"
    file.write_text(file.read_text().replace('ranked_by = "head"', 'ranked_by = "head"\n    profiles = {"smok": {}}'))
    file.write_text(file.read_text().replace("    profiles = {}\n", ""))
    done = nubench("check", "mine.py")
    assert done.exit_code == 1
    assert "FAILED" in done.stdout
    assert "change:" in done.stdout
    assert "1 FAILED" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new", "My-Method"), "lower case, digits and single hyphens"),
        (("new", "supcon"), "method 'supcon' exists"),
        (("check", "absent.py"), "'absent.py' is not a file"),
        (("check", "supcom"), "did you mean 'supcon'"),
    ],
)
def test_a_mistake_ends_with_one_message(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = nubench(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_plugins_lists_what_loaded_and_what_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUBENCH_PLUGINS", "supcon,absent")
    (tmp_path / "broken.py").write_text("import nubench\n@nubench.hookimpl\ndef register_methods(): 1 / 0")
    done = nubench("plugins", "--plugin", "broken.py")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    (supcon,) = [line for line in lines if line.startswith("supcon")]
    assert "nubench" in supcon
    assert "1 method " in supcon
    assert "supcon.py" in supcon
    assert not [line for line in lines if line.startswith("dann")]
    assert "NUBENCH_PLUGINS='supcon,absent' keeps out all others" in done.stdout
    assert "broken of file: ZeroDivisionError: division by zero (broken.py, line 3)" in done.stdout
    assert "absent of NUBENCH_PLUGINS: no installed plugin or distribution has this name" in done.stdout
