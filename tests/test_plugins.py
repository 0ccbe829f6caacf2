from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from nubench.datasets.catalogue import card_called, find_card, known_cards
from nubench.errors import UsageError
from nubench.listings import LISTINGS
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner

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


def _install(folder: Path, distribution: str, text: str, value: str | None = None) -> None:
    """Lay a distribution with one plugin into a folder, as pip leaves it there."""
    module = distribution.replace("-", "_")
    sys.modules.pop(module, None)  # of another test
    _write(folder, text, f"{module}.py")
    info = folder / f"{module}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[nubench]\n{distribution}-plugin = {value or module}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose distributions are installed for the length of a test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


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
        ("import nubench\n@nubench.hookimpl\ndef register_method(): return []", "did you mean 'register_methods'"),
        (
            "import nubench\n@nubench.hookimpl\ndef register_methods(): return None",
            "returned None; it must return a list",
        ),
        ("import nubench\ndef register_methods(): return []", "no function of it is marked with nubench.hookimpl"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(): raise SystemExit('gone')", "gone"),
        ("import nubench\n@nubench.hookimpl\ndef register_detectors(): return [3]", "detector int: name must be"),
        ("import nubench\n@nubench.hookimpl\ndef register_datasets(): return ['a.toml']", "paths of TOML files"),
        (
            "import nubench, pathlib\n@nubench.hookimpl\n"
            "def register_datasets(): return [pathlib.Path('/absent/a.toml')]",
            "a.toml",
        ),
        ("import nubench\n@nubench.hookimpl\ndef register_backbones(): return [3]", "backbone_designs.BackboneDesign"),
        ("import nubench\n@nubench.hookimpl\ndef register_shifts(): return [3]", "nubench.shifts.ShiftAddition"),
        ("import nubench\n@nubench.hookimpl\ndef register_selectors(): return [3]", "evaluation.selectors.Selector"),
        ("import nubench\n@nubench.hookimpl\ndef register_metrics(): return [3]", "evaluation.metrics.Metric"),
        ("import nubench\n@nubench.hookimpl\ndef register_columns(): return [3]", "leaderboard.columns.Column"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(): raise RuntimeError('no luck')", "no luck"),
    ],
)
def test_a_broken_plugin_is_named_and_skipped(tmp_path: Path, text: str, reason: str) -> None:
    registry = load_plugins([_write(tmp_path, text, "broken.py")])

    assert registry.method("supcon").name == "supcon"
    assert [failure.name for failure in registry.failures] == ["broken"]
    assert reason in registry.failures[0].reason
    assert "broken" not in {plugin.name for plugin in registry.plugins}


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("import no_such_module_anywhere", None, r"ModuleNotFoundError: No module .* \(stranger\.py, line 1\)"),
        ("1 +", None, "SyntaxError"),
        ("def register_methods(): return []", "stranger:register_methods", "is no module; leave out the part after"),
        ("import time\ntime.sleep(30)", None, "took longer than 0.3 s; NUBENCH_PLUGIN_SECONDS"),
        (
            "import time, nubench\n@nubench.hookimpl\ndef register_methods():\n"
            "    try: time.sleep(30)\n    except Exception: return []",
            None,
            "took longer than 0.3 s",
        ),
    ],
)
def test_a_broken_distribution_is_named_and_skipped(
    site: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: str | None, reason: str
) -> None:
    monkeypatch.setenv("NUBENCH_PLUGIN_SECONDS", "0.3")
    _install(site, "stranger", text, value)

    registry = load_plugins()

    assert registry.method("supcon").name == "supcon"
    assert [(failure.name, failure.distribution) for failure in registry.failures] == [("stranger-plugin", "stranger")]
    assert re.search(reason, registry.failures[0].reason)


def test_a_limit_that_is_no_number_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUBENCH_PLUGIN_SECONDS", "soon")
    with pytest.raises(UsageError, match="NUBENCH_PLUGIN_SECONDS='soon' is not accepted"):
        load_plugins()


def test_a_name_that_one_distribution_brings_twice_is_refused(tmp_path: Path) -> None:
    text = GOOD.format(name="mine")
    registry = load_plugins([_write(tmp_path, text, "first.py"), _write(tmp_path, text, "second.py")])
    assert registry.method("mine").plugin.name == "first"
    (failure,) = registry.failures
    assert failure.name == "second"
    assert "method 'mine' is already brought by plugin 'first' of file" in failure.reason

    twice = text.replace("[Mine]", "[Mine, Mine]")
    registry = load_plugins([_write(tmp_path, twice, "twice.py")])
    assert [failure.name for failure in registry.failures] == ["twice"]


def test_two_distributions_with_one_name_are_both_kept(site: Path) -> None:
    for distribution in ("alpha", "beta"):
        _install(site, distribution, GOOD.format(name="mine"))

    registry = load_plugins()

    assert registry.failures == []
    assert [(noun, name) for noun, name, _ in registry.ambiguous()] == [("method", "mine")]
    rows = LISTINGS["methods"]([], registry)[1]
    assert [row[-1] for row in rows if row[0] == "mine"] == ["alpha 1.5", "beta 1.5"]
    with pytest.raises(UsageError, match="say which one: alpha:mine, beta:mine"):
        registry.method("mine")
    assert registry.method("beta:mine").plugin.origin == str(site / "beta.py")


def test_an_allowed_name_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUBENCH_PLUGINS", "supcon, supcom")
    registry = load_plugins()
    assert [method.name for method in registry.methods()] == ["supcon"]
    assert [failure.name for failure in registry.failures] == ["supcom"]


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


SHIFTS = """
import nubench
from nubench.shifts import Shift, ShiftAddition, ShiftPoint

POINTS = (ShiftPoint(name="down", strength=-2, parameters={{"{parameter}": -2.0}}),)
SHIFT = Shift(name="{name}", title="{title}", strength_unit="ADC counts", points=POINTS)

@nubench.hookimpl
def register_shifts():
    return [ShiftAddition("{dataset}", SHIFT)]
"""


def _shifts(**changes: str) -> str:
    return SHIFTS.format(
        **{"dataset": "lartpc", "name": "pedestal-drift", "parameter": "adc_offset", "title": "drift", **changes}
    )


def test_a_plugin_adds_a_shift_to_a_data_set(tmp_path: Path) -> None:
    registry = load_plugins([_write(tmp_path, _shifts())])
    assert registry.failures == []
    card = find_card(registry, tmp_path, None, "pedestal-drift")
    assert (card.name, card.shifts[-1].name) == ("lartpc", "pedestal-drift")
    nominal, drifted = card.shift("pedestal-drift").all_points(card.nominal)
    assert (nominal.parameters["adc_offset"], drifted.parameters["adc_offset"]) == (0.0, -2.0)
    assert drifted.parameters["gain"] == card.nominal["gain"]
    assert card_called(registry, tmp_path, "lartpc") == card
    assert "pedestal-drift" not in {s.name for s in card_called(load_plugins(), tmp_path, "lartpc").shifts}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "throws"}, "data set 'lartpc' has a shift 'throws' already"),
        ({"parameter": "colour"}, r"sets \['colour'\], absent from \[nominal\]"),
    ],
)
def test_a_shift_that_does_not_fit_its_card_is_named_and_skipped(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    registry = load_plugins([_write(tmp_path, _shifts(**changes))])
    assert [failure.name for failure in registry.failures] == ["mine"]
    assert re.search(reason, registry.failures[0].reason)
    assert registry.shifts() == []


def test_a_shift_of_an_absent_data_set_waits_for_it(tmp_path: Path) -> None:
    registry = load_plugins([_write(tmp_path, _shifts(dataset="not-imported-yet"))])
    assert registry.failures == []
    assert {card.name for card in known_cards(registry, tmp_path)} >= {"lartpc", "scintillator"}


def test_two_shifts_of_one_name_ask_for_the_distribution(site: Path, tmp_path: Path) -> None:
    _install(site, "alpha", _shifts(title="of alpha"))
    _install(site, "beta", _shifts(title="of beta"))
    registry = load_plugins()

    with pytest.raises(UsageError, match="say which one: alpha:pedestal-drift, beta:pedestal-drift"):
        find_card(registry, tmp_path, None, "pedestal-drift")
    with pytest.raises(UsageError, match="say which one"):
        find_card(registry, tmp_path, "lartpc", "pedestal-drift")
    with pytest.raises(UsageError, match="unknown shift 'gamma:pedestal-drift'"):
        find_card(registry, tmp_path, None, "gamma:pedestal-drift")
    for dataset in (None, "lartpc"):
        card = find_card(registry, tmp_path, dataset, "beta:pedestal-drift")
        assert card.shift("pedestal-drift").title == "of beta"
    rows = LISTINGS["shifts"](known_cards(registry, tmp_path), registry)[1]
    assert {"alpha:pedestal-drift", "beta:pedestal-drift"} <= {row[0] for row in rows}


OTHERS = """
import nubench
from nubench.evaluation.metrics import Metric
from nubench.evaluation.selectors import Selector
from nubench.leaderboard.columns import Column

@nubench.hookimpl
def register_selectors():
    return [Selector("widest", "spread of the embeddings", True, False, lambda seen: seen.target_embeddings.std())]

@nubench.hookimpl
def register_metrics():
    return [Metric("wrong", "share of wrong events", False, lambda labels, scores: (scores.argmax(1) != labels).mean())]

@nubench.hookimpl
def register_columns():
    return [Column("device", "Device", lambda row: row.first.environment.device)]
"""


def test_a_plugin_brings_selectors_metrics_and_columns(tmp_path: Path) -> None:
    registry = load_plugins([_write(tmp_path, OTHERS)])
    assert registry.failures == []
    assert registry.selector("widest").thing.needs_target
    assert registry.metric("file:wrong").thing.compute(np.array([0, 1]), np.log([[0.9, 0.1], [0.8, 0.2]])) == 0.5
    assert registry.column("device").thing.title == "Device"
    for listing, name in (("selectors", "widest"), ("metrics", "wrong"), ("columns", "device")):
        columns, rows = LISTINGS[listing]([], registry)
        assert [len(row) for row in rows] == [len(columns)] * len(rows)
        assert name in {row[0] for row in rows}
    (brought,) = [registry.brought_by(plugin) for plugin in registry.plugins if plugin.name == "mine"]
    assert {hook: len(things) for hook, things in brought.items()} == {
        "register_selectors": 1,
        "register_metrics": 1,
        "register_columns": 1,
    }


def test_the_selectors_of_the_core_come_through_the_hook() -> None:
    found = {registered.name: registered for registered in load_plugins().selectors()}
    assert found["source-validation"].plugin.name == "builtin"
    assert [name for name, registered in found.items() if registered.thing.oracle] == ["oracle"]


def test_two_metrics_of_one_name_are_listed_and_a_run_asks_for_one(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution in ("alpha", "beta"):
        _install(site, distribution, OTHERS)
    registry = load_plugins()
    for listing, name in (("metrics", "wrong"), ("columns", "device")):
        assert [row[-1] for row in LISTINGS[listing]([], registry)[1] if row[0] == name] == ["alpha", "beta"]
    with pytest.raises(UsageError, match="alpha:wrong and beta:wrong; let NUBENCH_PLUGINS name"):
        registry.metrics()
    with pytest.raises(UsageError, match="column 'device' is brought by 2 plugins"):
        registry.columns()
    monkeypatch.setenv("NUBENCH_PLUGINS", "nubench,beta")
    assert [metric.plugin.distribution for metric in load_plugins().metrics() if metric.name == "wrong"] == ["beta"]


@pytest.mark.parametrize(("text", "reason"), [("name = 3", "breaks the schema"), (None, "named after its data set")])
def test_a_card_that_cannot_be_is_named_and_skipped(tmp_path: Path, text: str | None, reason: str) -> None:
    card = load_plugins().card("lartpc").thing.read_text()
    (tmp_path / "other.toml").write_text(text or card)
    plugin = "import nubench, pathlib\n@nubench.hookimpl\ndef register_datasets():\n"
    plugin += "    return [pathlib.Path(__file__).with_name('other.toml')]"
    registry = load_plugins([_write(tmp_path, plugin)])
    assert [failure.name for failure in registry.failures] == ["mine"]
    assert reason in registry.failures[0].reason
    assert {card.name for card in known_cards(registry, tmp_path)} == {"lartpc", "scintillator"}
