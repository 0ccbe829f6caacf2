"""Every hook is documented with its exact signature, and used: by the page's example, and by a plugin that is run."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nubench import hookspecs
from nubench.plugins.checks import KINDS
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS: dict[str, Callable[..., object]] = {
    name: hook
    for name, hook in inspect.getmembers(hookspecs, inspect.isfunction)
    if hasattr(hook, f"{hookspecs.PROJECT}_spec")
}


def signature(hook: Callable[..., object]) -> str:
    """As it stands in the source: annotations are text there, without quotes."""
    return str(inspect.signature(hook)).replace("'", "")


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> PluginRegistry:
    """The plugins, with all examples of the page in one file."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.partition("## The hooks")[2], re.MULTILINE | re.DOTALL)
    file = tmp_path_factory.mktemp("page") / "documented.py"
    file.write_text("\n".join(blocks))
    card = (ROOT / "datasets" / "lartpc.toml").read_text()
    (file.parent / "my-detector.toml").write_text(card.replace('name = "lartpc"', 'name = "my-detector"', 1))
    return load_plugins([file])


def test_there_is_a_hook_for_every_kind_and_no_other() -> None:
    assert set(HOOKS) == set(KINDS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_signature(name: str) -> None:
    assert re.findall(rf"^`({name}\(.*)`$", PAGE, re.MULTILINE) == [f"{name}{signature(HOOKS[name])}"]
    assert inspect.getdoc(HOOKS[name])


def test_an_example_stands_under_every_hook() -> None:
    sections = PAGE.partition("## The hooks")[2].split("\n### ")[1:]
    found = {re.search(r"^`(\w+)\(", section, re.MULTILINE).group(1): section for section in sections}
    assert set(found) == set(HOOKS)
    for name, section in found.items():
        assert f"@nubench.hookimpl\ndef {name}{signature(HOOKS[name])}:" in section


def test_every_example_of_the_page_loads(documented: PluginRegistry) -> None:
    assert documented.failures == []
    (plugin,) = [plugin for plugin in documented.plugins if plugin.name == "documented"]
    assert {hook: len(things) for hook, things in documented.brought_by(plugin).items()} == dict.fromkeys(HOOKS, 1)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_used_by_the_project(name: str) -> None:
    """By nubench itself, by a reference plugin, or by an example package, which test_examples.py installs and runs."""
    files = [
        ROOT / "nubench" / "plugins" / "builtin.py",
        *(ROOT / "plugins").glob("*.py"),
        *ROOT.glob("examples/*/src/**/*.py"),
    ]
    used = [file for file in files if name in _functions(file)]
    assert used, f"no plugin of the project implements {name}"


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_of_checks_is_complete() -> None:
    from nubench.authoring.checks import CHECKS

    listed = re.findall(r"^\| `([a-z ]+)` \|", PAGE.partition("## A package")[0], re.MULTILINE)
    assert listed == ["hooks", *(check.name for check in CHECKS)]
