"""The documentation as a site: it builds without a warning, holds every page, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pages import ROOT

pytest.importorskip("mkdocs", reason="the site needs the extra `docs`: pip install -e '.[docs]'")

#: What a browser fetches by itself when it shows a page.
FETCHED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "object": "data",
    "script": "src",
    "source": "src",
    "track": "src",
    "video": "src",
}
#: Relations of a link that are fetched; others, such as canonical, are only words.
FETCHED_RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
OTHER_HOST = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)


class _Fetches(HTMLParser):
    """Collects the addresses that a page makes a browser ask for, and the classes of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.classes |= set(values.get("class", "").split())
        if tag in FETCHED:
            self.addresses.append(values.get(FETCHED[tag], ""))
        if tag == "link" and FETCHED_RELATIONS & set(values.get("rel", "").split()):
            self.addresses.append(values.get("href", ""))
        self.addresses += re.findall(r"url\(['\"]?([^'\")]+)", values.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _parsed(site: Path) -> Iterator[tuple[Path, _Fetches]]:
    for page in sorted(site.rglob("*.html")):
        fetches = _Fetches()
        fetches.feed(page.read_text(encoding="utf-8"))
        yield page, fetches


@pytest.mark.slow
def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    for page, fetches in _parsed(site):
        assert [address for address in fetches.addresses if OTHER_HOST.match(address)] == [], page
        # The theme would fetch the library that draws such diagrams when it meets one.
        assert "mermaid" not in fetches.classes, page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        addresses = re.findall(r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
        assert [address for pair in addresses for address in pair if OTHER_HOST.match(address)] == [], sheet


@pytest.mark.slow
def test_every_page_of_the_documents_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in ROOT.joinpath("docs").rglob("*.md")]
    assert [page for page in pages if not (site / page).is_file()] == []
    assert {"contributing.html", "changelog.html", "security.html", "conduct.html"} <= {
        page.name for page in site.glob("*.html")
    }
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_the_contract_holds_the_words_of_the_docstrings(site: Path) -> None:
    page = (site / "contract.html").read_text(encoding="utf-8")
    for name in ("hookspecs.register_methods", "methods.Method.fit", "methods.TrainingView.target", "training.train"):
        assert f'id="nubench.{name}"' in page
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("load_events", "run", "listing", "Leaderboard.to_pandas"):
        assert f'id="nubench.api.{name}"' in api
    assert not re.search(r":(class|func|meth|mod):", page + api)
