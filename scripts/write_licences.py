"""Write docs/licences.md: every package that nubench needs, and theirs, with its licence as its metadata state it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "licences.md"
_HEAD: Final = """# Licences

nubench is under the MIT licence. These packages are installed with it, on Linux with Python 3.11; they are not part
of it, and each keeps its own licence. The last column is what the metadata of the package say. This page is written by
`python scripts/write_licences.py`.

| package | needed by | licence |
|---|---|---|
"""
#: What metadata do not say in a word.
_STATED: Final = {"torch": "BSD-3-Clause", "xraylib": "BSD-3-Clause"}
_LONGEST: Final = 60


def page() -> str:
    """The page as it should be, for what is installed here."""
    rows = [f"| {name} | {', '.join(sorted(by))} | {licence_of(name)} |" for name, by in sorted(dependencies().items())]
    return _HEAD + "\n".join(rows) + "\n"


def dependencies() -> dict[str, set[str]]:
    """Every package that an installation of nubench without extras brings, and what asks for it."""
    found: dict[str, set[str]] = {}
    waiting = ["nubench"]
    while waiting:
        asking = waiting.pop()
        lines = _of_nubench() if asking == "nubench" else distribution(asking).requires or []
        for name in requirements(lines):
            if name not in found:
                try:
                    distribution(name)
                except PackageNotFoundError:  # of another platform
                    continue
                waiting.append(name)
            found.setdefault(name, set()).add(asking)
    return found


def licence_of(name: str) -> str:
    """The licence of an installed package, in a few words."""
    metadata = distribution(name).metadata
    classified = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    for stated in (
        _STATED.get(name),
        *(metadata.get_all("License-Expression") or []),
        *(metadata.get_all("License") or []),
        ", ".join(classified),
    ):
        first = (stated or "").strip()
        if first and "\n" not in first and len(first) <= _LONGEST:
            return first.replace("|", "or")
    return ", ".join(classified) or "see the package"


def requirements(lines: Iterable[str]) -> list[str]:
    """Names of what a package needs without extras, as they are normalised in an index."""
    names = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if "extra" in marker or "win32" in marker or "Windows" in marker or "darwin" in marker:
            continue
        matched = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
        if matched:
            names.append(re.sub(r"[-_.]+", "-", matched[0]).lower())
    return names


def _of_nubench() -> list[str]:
    """The file, not the metadata: those are of the last installation."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
