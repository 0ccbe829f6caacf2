from __future__ import annotations

from pathlib import Path

import pytest

from nubench.errors import UsageError
from nubench.plugins import load_plugins
from nubench.progress import SilentProgress
from nubench.running import Request, Runner

GOOD = """
import nubench
from nubench.methods import Method

class Mine(Method):
    name = "{name}"
    title = "mine"
    ranked_by = "head"
    def fit(self, data, context): ...

@nubench.hookimpl
def register_methods():
    return [Mine]
"""


def _write(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_the_reference_methods_come_through_entry_points() -> None:
    registry = load_plugins()
    names = {registered.name for registered in registry.methods()}
    assert {"classifier", "classifier-augmented", "supcon", "summary-features"} <= names
    assert registry.failures == []
    assert registry.method("supcon").plugin.distribution == "nubench"


def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    registry = load_plugins([_write(tmp_path, GOOD.format(name="mine"))])
    assert registry.method("mine").plugin.distribution == "file"


@pytest.mark.parametrize(("allowed", "methods"), [("", set()), ("supcon", {"supcon"}), ("nubench", None)])
def test_the_allow_list_restricts_installed_plugins(
    monkeypatch: pytest.MonkeyPatch, allowed: str, methods: set[str] | None
) -> None:
    monkeypatch.setenv("NUBENCH_PLUGINS", allowed)
    found = {registered.name for registered in load_plugins().methods()}
    assert found == methods if methods is not None else "classifier" in found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nubench\n@nubench.hookimpl\ndef register_methods(wrong): return []", "wrong"),
        ("import nubench\n@nubench.hookimpl\ndef register_method(): return []", "register_method"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(): raise RuntimeError('no luck')", "no luck"),
    ],
)
def test_a_broken_plugin_is_named_and_skipped(tmp_path: Path, text: str, reason: str) -> None:
    registry = load_plugins([_write(tmp_path, text, "broken.py")])

    assert registry.method("supcon").name == "supcon"
    assert [failure.name for failure in registry.failures] == ["broken"]
    assert reason in registry.failures[0].reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('title = "mine"', "", "title must be text"),
        ('name = "mine"', 'name = "my_method"', "name must be text of the form"),
        ('ranked_by = "head"', 'ranked_by = "tail"', "ranked_by must be 'head' or 'probe'; got 'tail'"),
        ("class Mine(Method)", "class Mine", "must return subclasses of nubench.methods.Method"),
    ],
)
def test_a_method_that_breaks_the_contract_is_named_and_skipped(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    text = GOOD.format(name="mine")
    assert old in text
    registry = load_plugins([_write(tmp_path, text.replace(old, new))])
    assert "mine" not in {registered.name for registered in registry.methods()}
    assert [failure.name for failure in registry.failures] == ["mine"]
    assert reason in registry.failures[0].reason


def test_a_file_that_cannot_be_imported_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"broken\.py' cannot be imported: ZeroDivisionError"):
        load_plugins([_write(tmp_path, "1 / 0", "broken.py")])
    with pytest.raises(UsageError, match="is not a file"):
        load_plugins([tmp_path / "absent.py"])


def test_two_methods_of_one_name_ask_for_the_distribution(tmp_path: Path) -> None:
    registry = load_plugins([_write(tmp_path, GOOD.format(name="supcon"))])
    with pytest.raises(UsageError, match="file:supcon, nubench:supcon"):
        registry.method("supcon")
    assert registry.method("nubench:supcon").plugin.distribution == "nubench"


BACKBONE = """
import torch
import nubench
from nubench.backbone_designs import BackboneDesign


class MeanCharge(torch.nn.Module):
    embedding_size = 4

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 4)

    def forward(self, batch):
        return self.layer(torch.segment_reduce(batch.features, "mean", offsets=batch.offsets))


@nubench.hookimpl
def register_backbones():
    return [BackboneDesign("mean-charge", "one layer on the mean charge", lambda in_channels, engine: MeanCharge(),
                           lambda network, batch: len(batch.features))]
"""


@pytest.mark.slow
def test_a_plugin_brings_a_backbone_that_methods_train(tmp_path: Path, tiny_plugin: Path, shared_cache: Path) -> None:
    file = tmp_path / "mean_charge.py"
    file.write_text(BACKBONE)
    registry = load_plugins([file, tiny_plugin])
    assert {"tiny", "small", "paper", "mean-charge"} == {registered.name for registered in registry.backbones()}
    settings = {"views": 640, "batch_size": 32}
    request = Request("supcon", "throws", dataset="tiny", settings=settings, backbone="mean-charge")
    result = Runner(request, registry, shared_cache, SilentProgress(), None).run(0)
    assert result.backbone is not None
    assert (result.backbone.preset, result.backbone.parameters, result.backbone.embedding_size) == ("mean-charge", 8, 4)


def test_an_unknown_name_is_answered_with_near_misses() -> None:
    registry = load_plugins()
    with pytest.raises(UsageError, match="unknown method 'supcom'; did you mean 'supcon'"):
        registry.method("supcom")
    with pytest.raises(UsageError, match="unknown detector 'lartcp'; did you mean 'lartpc'"):
        registry.detector("lartcp")
