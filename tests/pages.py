"""The documents as tests see them: their pages, the fenced blocks on them, and the commands in those."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import typer

from nubench.cli import app

ROOT = Path(__file__).resolve().parents[1]
TOP = ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")
PAGES = sorted([*ROOT.joinpath("docs").rglob("*.md"), *(ROOT / f"{name}.md" for name in TOP)])
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
#: Commands of other programs that the documents show, with the reason why no test runs them.
OTHER_COMMANDS = {
    ". .venv/bin/activate": "the tests run in that environment",
    "NUBENCH_KILLS=200 python -m pytest tests/robustness/test_killing.py": "takes minutes; runs with fewer",
    "python -m calzone download": "downloads 2 GB from outside",
    "python -m pytest tests/gpu": "needs a GPU",
    "python scripts/measure_gpu.py --events train/nominal.h5 --out measured": "needs a GPU; tested without one",
    "python scripts/soak.py --minutes 60": "takes an hour; tests/robustness runs it in short",
    "python scripts/write_cli_reference.py": "changes the repository; test_docs.py runs what it does",
    "python scripts/write_result_tables.py": "changes the repository; test_result_tables.py runs what it does",
    "sbatch seeds.sh": "needs a cluster; the script is tested",
    "torchrun --nproc-per-node 4 -m nubench run --method supcon --shift throws --profile paper": "see tests/launching",
}


def load_script(name: str) -> ModuleType:
    """A module of the folder ``scripts``, which is no package."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        page: its path from the top of the repository.
        info: what stands behind the fence.
        text: the lines, without the indentation of the block.
    """

    page: str
    info: str
    text: str

    @property
    def first_line(self) -> str:
        """What the block is called where it must be named."""
        return self.text.strip().splitlines()[0].strip() if self.text.strip() else ""


def name_of(page: Path) -> str:
    """The path of a page from the top of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(*infos: str) -> Iterator[Block]:
    """Every block of every page, or those of the kinds named."""
    for page in PAGES:
        for indent, info, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if not infos or info.strip() in infos:
                yield Block(name_of(page), info.strip(), re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))


def commands_in(text: str) -> list[str]:
    """The commands of a shell block, one a line, without comments and prompts."""
    lines = (line.removeprefix("$ ").split(" #")[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def commands() -> list[tuple[str, str]]:
    """Every command of a shell block with its page."""
    return [(block.page, line) for block in blocks("sh") for line in commands_in(block.text)]


def runnable(name: str) -> str:
    """The one example that a test of its own runs: of the kind ``python runnable=NAME``."""
    texts = [block.text for block in blocks(f"python runnable={name}")]
    assert len(texts) == 1, f"the documents must hold exactly one example {name}"
    return texts[0]


def names_of_commands() -> dict[str, set[str]]:
    """Every command by its name without the program, and its options; groups have none."""
    found: dict[str, set[str]] = {}

    def visit(command: Any, name: str) -> None:
        found[name] = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        for sub, inner in getattr(command, "commands", {}).items():
            visit(inner, f"{name} {sub}".strip())

    visit(typer.main.get_command(app), "")
    return found
