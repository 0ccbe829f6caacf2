"""What a result says of where it was made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import nubench
from nubench.environment import git_revision


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of a package."""
    package = tmp_path / "checkout" / "nubench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        by = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        subprocess.run(["git", *by, *arguments], cwd=package.parent, check=True)
    return package.parent


def _head(checkout: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True
    ).stdout[:-1]


def test_the_revision_is_that_of_the_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nubench, "__file__", str(checkout / "nubench" / "__init__.py"))
    assert git_revision() == _head(checkout)
    (checkout / "notes").write_text("a file that is no code")
    assert git_revision() == _head(checkout)
    (checkout / "nubench" / "__init__.py").write_text("changed = True")
    assert git_revision() == f"{_head(checkout)}-dirty"


def test_a_link_leads_to_its_checkout(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "site-packages" / "nubench"
    link.parent.mkdir()
    link.symlink_to(checkout / "nubench")
    monkeypatch.setattr(nubench, "__file__", str(link / "__init__.py"))
    assert git_revision() == _head(checkout)


def test_an_installed_package_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nubench, "__file__", str(tmp_path / "site-packages" / "nubench" / "__init__.py"))
    assert git_revision() is None


def test_a_checkout_that_git_cannot_read_has_no_revision(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nubench, "__file__", str(checkout / "nubench" / "__init__.py"))
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None
