"""Ask a public database for known weaknesses of the installed packages (installs pip-audit; needs the network).

    python scripts/audit_packages.py --if-possible

It fails where a release without the weakness exists, and names it. A weakness without one is printed and does not fail:
nobody here could do anything about it. With ``--if-possible`` it says in one line that the database cannot be reached,
and does not fail; without, that fails too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: What put the environment there and is not used afterwards.
_INSTALLERS: Final = frozenset({"pip"})
_SECONDS: Final = 300


@dataclass(frozen=True)
class Weakness:
    """A known weakness of an installed package.

    Attributes:
        package, version: what is installed.
        name: in the database.
        repaired: the releases without it, none where there is none yet.
    """

    package: str
    version: str
    name: str
    repaired: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Whether something can be done about it here."""
        return bool(self.repaired) and self.package not in _INSTALLERS

    def __str__(self) -> str:
        way_out = f"repaired in {', '.join(self.repaired)}" if self.repaired else "no release without it yet"
        return f"{self.package} {self.version}: {self.name}; {way_out}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is known; return 1 where something can be done about it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--if-possible", action="store_true", help="do not fail where the database cannot be reached")
    if_possible = parser.parse_args(arguments).if_possible
    try:
        report = asked()
    except OSError as error:
        sys.stdout.write(f"Packages are not audited, the database of weaknesses cannot be asked: {error}\n")
        return 0 if if_possible else 1
    found = list(weaknesses(report))
    for one in found:
        sys.stdout.write(f"{one}\n")
    audited = sum("vulns" in package for package in report["dependencies"])
    sys.stdout.write(
        f"{audited} of {len(report['dependencies'])} packages are known to the database, with {len(found)} weaknesses\n"
    )
    return int(any(one.fails for one in found))


def asked() -> dict[str, Any]:
    """What pip-audit says of this environment, as JSON.

    Raises:
        OSError: when it cannot be installed, ended without a report, or the database knows none of the packages, as one
            does that answers for another.
    """
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "pip-audit"]
    _run(install)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        # It ends with 1 for weaknesses as for a network that is not there; only the report tells one from the other.
        said = _run(["-m", "pip_audit", "--skip-editable", "--progress-spinner=off", "-f", "json", "-o", str(file)])
        if not file.is_file() or not file.stat().st_size:
            raise OSError(f"pip-audit made no report: {said}")
        report: dict[str, Any] = json.loads(file.read_text())
    if not any("vulns" in package for package in report["dependencies"]):
        raise OSError(f"it knows none of the {len(report['dependencies'])} packages")
    return report


def weaknesses(report: dict[str, Any]) -> Iterator[Weakness]:
    """Those in a report; a package that the database does not know has none."""
    for package in report["dependencies"]:
        for known in package.get("vulns", ()):
            yield Weakness(package["name"], package["version"], known["id"], tuple(known["fix_versions"]))


def _run(words: Sequence[str]) -> str:
    """Run this Python; return the last line that it printed."""
    try:
        done = subprocess.run(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no answer in {_SECONDS} s") from error
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
