"""What turns the documents of the repository into pages of the site; named in mkdocs.yml.

The documents are written to be read in the repository as well. Three things differ on the site: files at the top of
the repository become pages, links to what is not on the site become the path in words, and marks that are for tests
or for docstrings alone (``:class:`Method```) are left out.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: Files at the top of the repository, and the pages that they become.
TOP_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
RUNNABLE = re.compile(r"^( *```python) runnable=\S+$", re.MULTILINE)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>~?([\w.]+)</code>")


def github_anchor(text: str, separator: str) -> str:
    """The anchor that GitHub gives to a heading, so that one link works in both places.

    Example:
        >>> github_anchor("Drift field, lifetime: `physics-throws`", "-")
        'drift-field-lifetime-physics-throws'
    """
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def on_files(files: Files, config: Any) -> Files:
    """Add the files at the top of the repository."""
    for source, target in TOP_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=LINK.sub(_from_top, text)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Replace links to files that are not on the site by their path; blocks of code lose what names them for tests."""
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = posixpath.normpath(posixpath.join("docs", folder, target.partition("#")[0]))
        if re.match(r"[a-z]+:|#", target) or path.startswith("docs/"):
            return match.group(0)
        if path in TOP_PAGES:
            return f"[{text}]({posixpath.relpath(TOP_PAGES[path], folder or '.')})"
        return f"{text} (`{path}`)"

    return LINK.sub(replaced, RUNNABLE.sub(r"\1", markdown))


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Show what a role of a docstring names as code alone."""
    return ROLE.sub(lambda match: f"<code>{match.group(1).rpartition('.')[2]}</code>", html)


def _from_top(match: re.Match[str]) -> str:
    """A link of a file at the top, as it must read on a page of ``docs/``."""
    text, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match.group(0)
    path, hash_mark, anchor = target.partition("#")
    if path.startswith("docs/"):
        return f"[{text}]({path.removeprefix('docs/')}{hash_mark}{anchor})"
    return f"[{text}]({TOP_PAGES.get(path, f'../{path}')}{hash_mark}{anchor})"
