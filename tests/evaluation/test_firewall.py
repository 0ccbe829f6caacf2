"""Who may import the way to the labels, read from the imports of every module."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LABELS = "nubench.evaluation.labels"
#: All that a method is made of, and the sealed child itself.
TRAINING = (
    "nubench.methods",
    "nubench.training.loop",
    "nubench.adaptation",
    "nubench.augment",
    "nubench.backbone",
    "nubench.losses",
    "nubench.plugins.discovery",
    "nubench.evaluation.sealed_child",
    "nubench.evaluation.trainee",
    "nubench.evaluation.handout",
    "nubench.evaluation.messages",
    *(f"nubench_plugins.{path.stem}" for path in sorted((ROOT / "plugins").glob("*.py")) if path.stem != "__init__"),
)
#: Apart from the evaluation: commands that show events.
OTHER_READERS = {"nubench.display.loading", "nubench.display.summaries"}


def _file(module: str) -> Path | None:
    parts = module.split(".")
    base = ROOT / "plugins" if parts[0] == "nubench_plugins" else ROOT / "nubench"
    for path in (base.joinpath(*parts[1:]).with_suffix(".py"), base.joinpath(*parts[1:], "__init__.py")):
        if path.is_file() and parts[0] in ("nubench", "nubench_plugins"):
            return path
    return None


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of the project that a module imports, also inside of functions, except for types alone."""
    path = _file(module)
    if path is None:
        return frozenset()
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(name for name in found if _file(name) is not None)


def _reached(module: str) -> set[str]:
    # Every plugin imports nubench, whose face for users loads runs and data when it is called; no method calls it.
    seen: set[str] = {"nubench.api"}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _imports(name)
    return seen


@pytest.mark.parametrize("module", TRAINING)
def test_nothing_on_the_way_of_a_method_leads_to_the_labels(module: str) -> None:
    reached = _reached(module)
    assert _file(module) is not None
    assert LABELS not in reached


def test_the_search_would_find_it() -> None:
    assert LABELS in _reached("nubench.runs.runner")
    assert LABELS in _reached("nubench.cli.data")
    assert {"nubench.containers", "nubench.sparse.batch", "nubench.storage.files"} <= _reached("nubench.training.loop")


def test_the_evaluation_and_what_shows_data_read_labels_and_nobody_else() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("nubench", "plugins")
        for path in (ROOT / folder).rglob("*.py")
    }
    readers = {module for module in modules if LABELS in _imports(module)}
    assert {module for module in readers if not module.startswith("nubench.evaluation.")} == OTHER_READERS
    # The reader of the files themselves is called in one place alone.
    naming = {path.name for path in (ROOT / "nubench").rglob("*.py") if "read_labels" in path.read_text()}
    assert naming == {"label_files.py", "labels.py"}
