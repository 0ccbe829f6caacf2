"""What stands beside the code: citation, forms, continuous integration. It can be read, and agrees with the package."""

from __future__ import annotations

import re

import pytest
import yaml

import nubench
from pages import ROOT

FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))


def test_the_citation_is_of_this_version_and_names_the_study() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == nubench.__version__
    study = citation["preferred-citation"]
    assert study["identifiers"][0]["value"] == "arXiv:2502.07724"
    page = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    assert study["title"] in page
    assert all(author["family-names"] in page for author in study["authors"])


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.stem)
def test_an_issue_form_has_what_the_forge_requires(form) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    names = [field["id"] for field in content["body"]]
    assert len(set(names)) == len(names)
    for field in content["body"]:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
        if field["type"] == "dropdown":
            assert len(field["attributes"]["options"]) > 1


def test_there_is_a_form_for_each_kind_of_issue() -> None:
    assert {"bug", "disputed-result", "new-method"} <= {form.stem for form in FORMS}


def test_continuous_integration_runs_what_everybody_runs() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["test"]["steps"]
    assert "make test" in [step.get("run") for step in steps]


def test_the_hooks_of_pre_commit_call_what_make_lint_calls() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    tools = {hook["entry"].split()[0] for hook in local["hooks"]}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint is not None
    assert set(re.findall(r"\$\(BIN\)/(\w+)", lint.group(1))) <= tools
    for hook in local["hooks"]:
        assert all((ROOT / word).exists() for word in hook["entry"].split() if word.endswith(".py"))


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert "## [Unreleased]" in text
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) <= kinds
