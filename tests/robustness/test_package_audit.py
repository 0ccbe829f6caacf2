"""The audit of the installed packages: what fails, what is only printed, and a database that cannot be reached."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import audit_packages
import pytest


def _package(name: str, *fixes: list[str]) -> dict[str, Any]:
    known = [{"id": f"W-{number}", "fix_versions": found} for number, found in enumerate(fixes)]
    return {"name": name, "version": "1.0", "vulns": known}


def _reporting(monkeypatch: pytest.MonkeyPatch, *packages: dict[str, Any]) -> None:
    monkeypatch.setattr(audit_packages, "asked", lambda: {"dependencies": list(packages), "fixes": []})


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        (
            [_package("safe"), {"name": "unknown", "skip_reason": "not there"}],
            0,
            "1 of 2 packages are known to the database, with 0 weaknesses",
        ),
        ([_package("weak", ["1.1", "2.0"])], 1, "weak 1.0: W-0; repaired in 1.1, 2.0"),
        ([_package("weak", [], ["1.1"])], 1, "weak 1.0: W-0; no release without it yet"),
        ([_package("weak", [])], 0, "1 of 1 packages are known to the database, with 1 weaknesses"),
        ([_package("pip", ["99"])], 0, "pip 1.0: W-0; repaired in 99"),
    ],
)
def test_what_can_be_repaired_fails_and_all_is_printed(
    packages: list[dict[str, Any]],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _reporting(monkeypatch, *packages)
    assert audit_packages.main(["--if-possible"]) == code
    assert said in capsys.readouterr().out


def _no_network(*arguments: Any, **_: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(arguments, 1, "Traceback\nConnectionError: name resolution failed\n")


def _no_answer(*arguments: Any, **_: Any) -> subprocess.CompletedProcess[str]:
    raise subprocess.TimeoutExpired(arguments, 300)


@pytest.mark.parametrize("outcome", [_no_network, _no_answer])
def test_without_the_network_one_line_says_so(
    outcome: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", outcome)
    assert audit_packages.main(["--if-possible"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "cannot be asked" in said
    assert audit_packages.main([]) == 1


def test_a_database_that_knows_no_package_has_not_audited_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "-o" in words:
            unknown = {"name": "numpy", "skip_reason": "not found"}
            Path(words[-1]).write_text(json.dumps({"dependencies": [unknown], "fixes": []}))
        return subprocess.CompletedProcess(words, 0, "No known vulnerabilities found\n")

    monkeypatch.setattr(subprocess, "run", report)
    assert audit_packages.main(["--if-possible"]) == 0
    assert "it knows none of the 1 packages" in capsys.readouterr().out


def test_continuous_integration_audits_where_it_can() -> None:
    assert "make audit AUDIT_ARGUMENTS=--if-possible" in (Path(__file__).parents[2] / ".ci" / "run").read_text()
