"""Run docs/tutorial.md and put what its blocks print under them.

    python scripts/run_tutorial.py

Blocks of Python run in their order, in one namespace and a folder of their own. Under a block that prints stands a
block of text with the output, which is written anew; the picture is copied to ``docs/figures``.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
PICTURE = "tutorial-charge.png"
#: A block of Python and, perhaps, its output.
CELL = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def rendered(page: str, folder: Path) -> str:
    """The page with the output of every block, run in a folder."""
    names: dict[str, object] = {"__name__": "__main__"}

    def run(cell: re.Match[str]) -> str:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(cell["code"], "docs/tutorial.md", "exec"), names)
        lines = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
        return f"```python\n{cell['code']}```\n" + (f"\n```text\n{lines}```\n" if lines else "")

    with chdir(folder):
        return CELL.sub(run, page)


def main() -> None:
    """Write the page and the picture anew, with data built in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["NUBENCH_CACHE"] = str(Path(name, "cache"))
        page = rendered(PAGE.read_text(encoding="utf-8"), Path(name))
        shutil.copyfile(Path(name, PICTURE), ROOT / "docs" / "figures" / PICTURE)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
