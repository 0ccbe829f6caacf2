"""The page of licences names what nubench needs; versions of packages may differ from machine to machine."""

from __future__ import annotations

import tomllib

from write_licences import PAGE, ROOT, dependencies, licence_of, requirements


def test_every_package_that_nubench_needs_stands_on_the_page_with_a_licence() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    listed = {row[0].removeprefix("| "): row[-1].removesuffix(" |") for row in rows}
    direct = set(requirements(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]))
    assert direct <= set(listed), f"run python scripts/write_licences.py; it lacks {sorted(direct - set(listed))}"
    assert all(licence and licence != "see the package" for licence in listed.values())
    assert set(dependencies()) >= direct


def test_licences_are_read_from_the_metadata() -> None:
    assert licence_of("numpy").startswith("BSD-3-Clause")
    assert requirements(["A_b>=1; extra == 'x'", "C.d[e]<2", "f; sys_platform == 'win32'", "g"]) == ["c-d", "g"]
