"""Documents as tests: what they show runs, what they name exists, and what they tabulate is what the code says."""

from __future__ import annotations

import inspect
import json
import math
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from contextlib import chdir
from dataclasses import fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml

from nubench import hookspecs
from nubench.backbone import BACKBONE_PRESETS, build_backbone, number_of_parameters
from nubench.cli import app
from nubench.containers import LabelledEvents
from nubench.datasets.cards import SPLITS, Card, read_card
from nubench.evaluation.scoring import Evaluator
from nubench.events.store import EventAttributes, write_events
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.plugins.discovery import load_plugins
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench.simulation.lartpc import TABLE_I, LArTPCParameters, draw_throw
from nubench.simulation.scintillator import ScintillatorParameters
from pages import FENCE, OTHER_COMMANDS, PAGES, ROOT, blocks, commands, load_script, names_of_commands, runnable
from training_views import training_view

UNITS = {
    "gain": "uV/e",
    "buffer_risetime": "us",
    "v_cm": "mV",
    "v_ref": "mV",
    "v_pedestal": "mV",
    "reset_noise": "e",
    "uncorrelated_noise": "e",
    "discriminator_noise": "e",
    "discriminator_threshold": "e",
}
Make = Callable[..., LabelledEvents]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)

#: Every kind of block that a page may hold, and what tests do with it. A kind that is not here fails.
KINDS = {
    "sh": "parsed here; run by test_documented_commands.py",
    "bash": "a script: its syntax is checked here; its nubench commands run in test_documented_commands.py",
    "python": "run by test_documented_commands.py, or by test_tutorial.py where it is the tutorial's",
    "python runnable=smoothed.py": "run by test_the_example_methods_run",
    "python runnable=aligned_charge.py": "run by test_the_example_methods_run",
    "python runnable=h5py": "run by test_the_reading_example_runs",
    "toml": "parsed here",
    "json": "parsed here",
    "yaml": "parsed here",
    "text": "output, layouts and formulas: nothing that a reader types",
}
READERS: dict[str, Callable[[str], Any]] = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}


def _anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them: lower case, punctuation dropped, spaces to hyphens."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_block_is_of_a_kind_that_some_test_checks() -> None:
    assert {(block.page, block.info) for block in blocks() if block.info not in KINDS} == set()


def test_nothing_that_a_reader_would_type_stands_in_a_block_of_text() -> None:
    typed = re.compile(r"^\$? ?(nubench|make|python|pip|git) ", re.MULTILINE)
    found = [(block.page, block.first_line) for block in blocks("text") if typed.search(block.text)]
    assert [page for page in found if page[0] != "docs/cli.md"] == []


def test_blocks_of_data_can_be_read() -> None:
    for block in blocks(*READERS):
        READERS[block.info](block.text)


def test_scripts_are_valid() -> None:
    for block in blocks("bash"):
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.page}: {done.stderr}"


def _parse(command: Any, name: str, arguments: list[str], parent: Any = None) -> None:
    """Let typer parse a command line down to its last command, without running it."""
    context = command.make_context(name, list(arguments), parent=parent)
    if hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        sub_name, sub_command, remaining = command.resolve_command(context, rest)
        _parse(sub_command, sub_name, remaining, context)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "nubench":
        _parse(typer.main.get_command(app), "nubench", words[1:])
    elif words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    else:
        assert line in OTHER_COMMANDS, f"{page}: {line!r} is not in OTHER_COMMANDS of tests/pages.py"


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for arguments in (["frobnicate"], ["run", "--method", "a", "--shift", "b", "--frobnicate"], ["run"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            _parse(typer.main.get_command(app), "nubench", arguments)


def test_every_command_and_option_of_run_is_documented() -> None:
    page = (ROOT / "docs" / "getting-started.md").read_text()
    group: Any = typer.main.get_command(app)
    options = {name for parameter in group.commands["run"].params for name in parameter.opts}
    assert [option for option in sorted(options) if not re.search(rf"\| `{option}[ `]", page)] == []


def test_every_command_is_shown_beside_its_reference() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES if page.name != "cli.md"]
    assert [name for name in names_of_commands() if name and not any(f"nubench {name}" in page for page in pages)] == []


def test_links_and_anchors_resolve() -> None:
    broken = []
    for page in PAGES:
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    # A page may be written beside the index before the index names it; none of those named may be absent.
    assert all(page.exists() for page in linked)
    assert {page for page in PAGES if page.parent.name == "datasets"} <= linked


def test_paths_of_the_code_that_pages_name_exist() -> None:
    missing = set()
    for page in PAGES:
        for path in re.findall(r"`((?:nubench|plugins|datasets|tests|docs)/[\w./-]*)`", page.read_text()):
            if not (ROOT / path).exists():
                missing.add(f"{page.relative_to(ROOT)}: {path}")
    assert missing == set()


def test_every_hook_is_documented_with_its_signature() -> None:
    page = (ROOT / "docs" / "write-a-method.md").read_text()
    for name, hook in inspect.getmembers(hookspecs, inspect.isfunction):
        if hasattr(hook, f"{hookspecs.PROJECT}_spec"):
            assert f"| `{name}({', '.join(inspect.signature(hook).parameters)})` |" in page


def test_every_training_setting_and_attribute_of_a_method_is_documented() -> None:
    page = (ROOT / "docs" / "write-a-method.md").read_text()
    for name, field in TrainingConfig.model_fields.items():
        default = "the profile's" if name in ("views", "batch_size") else str(field.default)
        assert re.search(rf"^\| `{name}` \| `?{re.escape(default)}`? \|", page, re.MULTILINE), name
    for name in inspect.get_annotations(Method):
        assert f"| `{name}` |" in page
    for name in ("embed", "log_probabilities"):
        assert f"| `{name}(events)` |" in page


@pytest.fixture(scope="module")
def lartpc() -> Card:
    """The card of the LArTPC."""
    return read_card(load_plugins().card("lartpc").thing)


def test_every_data_set_has_a_page(lartpc: Card) -> None:
    names = {registered.name for registered in load_plugins().cards()}
    assert {name for name in names if not (ROOT / "docs" / "datasets" / f"{name}.md").exists()} == set()


def throws_table(card: Card) -> str:
    """The Markdown table of the throws, from the card alone."""
    points = card.shift("throws").points
    lines = [
        f"| parameter | unit | nominal | 1 sigma | {' | '.join(point.name for point in points)} |",
        f"|{'---|' * (4 + len(points))}",
    ]
    for name, width in TABLE_I.items():
        nominal = float(card.nominal[name])
        cells = []
        for point in points:
            value = float(point.parameters[name])
            cells.append(f"{value:.6g} ({(value / nominal - 1) / width:+.2f})")
        lines.append(f"| `{name}` | {UNITS[name]} | {nominal:g} | {nominal * width:g} | {' | '.join(cells)} |")
    lines.append(f"| strength | sigma | 0 | | {' | '.join(f'{point.strength:.3f}' for point in points)} |")
    return "\n".join(lines)


def sizes_table(card: Card) -> str:
    """The Markdown table of the number of generated events, from the card alone."""
    lines = [f"| profile | {' | '.join(SPLITS)} |", f"|{'---|' * (1 + len(SPLITS))}"]
    for profile in PROFILES:
        sizes = [getattr(card.sizes_of(profile), split) * len(card.classes) for split in SPLITS]
        lines.append(f"| `{profile}` | {' | '.join(f'{size:,}' for size in sizes)} |")
    return "\n".join(lines)


def classes_table(card: Card) -> str:
    """The Markdown table of the classes, from the card alone."""
    lines = ["| label | class | PDG codes | kinetic energy, MeV |", "|---|---|---|---|"]
    for label, particle in enumerate(card.classes):
        low, high = particle.kinetic_energy_mev
        lines.append(f"| {label} | {particle.name} | {', '.join(map(str, particle.pdg))} | {low:g} to {high:g} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [throws_table, sizes_table, classes_table])
def test_tables_of_the_data_set_are_fresh(lartpc: Card, table: Callable[[Card], str]) -> None:
    assert table(lartpc) in (ROOT / "docs" / "datasets" / "lartpc.md").read_text()


def test_the_weak_points_of_the_card_stand_on_its_page(lartpc: Card) -> None:
    page = " ".join((ROOT / "docs" / "datasets" / "lartpc.md").read_text().split())
    assert [point for point in lartpc.weak_points if point not in page] == []
    assert f"version {lartpc.version}" in page
    assert f"({lartpc.normalisation.offset:g}, {lartpc.normalisation.scale:g})" in page


def test_the_throws_are_those_that_their_seed_draws(lartpc: Card) -> None:
    shift = lartpc.shift("throws")
    assert shift.seed is not None
    for index, point in enumerate(shift.points, start=1):
        drawn = draw_throw(shift.seed, index)
        assert point.parameters == {name: float(f"{value:.6g}") for name, value in drawn.items()}
        deviations = [(drawn[name] / float(lartpc.nominal[name]) - 1) / width for name, width in TABLE_I.items()]
        assert point.strength == pytest.approx(np.sqrt(np.mean(np.square(deviations))), abs=6e-4)


def test_the_table_of_parameters_is_fresh() -> None:
    page = (ROOT / "docs" / "physics.md").read_text()
    nominal = LArTPCParameters()
    for field in fields(LArTPCParameters):
        value = getattr(nominal, field.name)
        cell = value if isinstance(value, str) else f"{value:g}"
        width = f"{TABLE_I[field.name]:.0%}" if field.name in TABLE_I else "not thrown"
        pattern = rf"^\| `{field.name}` \| {re.escape(cell)} \| [^|]*\| {width} \|"
        assert re.search(pattern, page, re.MULTILINE), field.name


@pytest.fixture(scope="module")
def scintillator() -> Card:
    """The card of the scintillator."""
    return read_card(load_plugins().card("scintillator").thing)


def momentum_table(card: Card) -> str:
    """The Markdown table of classes whose spectra are flat in momentum, from the card alone."""
    lines = ["| label | class | PDG codes | momentum, MeV/c |", "|---|---|---|---|"]
    for label, particle in enumerate(card.classes):
        assert particle.momentum_mev is not None
        low, high = particle.momentum_mev
        lines.append(f"| {label} | {particle.name} | {', '.join(map(str, particle.pdg))} | {low:g} to {high:g} |")
    return "\n".join(lines)


def points_table(card: Card, name: str) -> str:
    """The Markdown table of a shift whose points move one parameter, from the card alone."""
    shift = card.shift(name)
    lines = [f"| point | `{name}` | strength | one may train here |", "|---|---|---|---|"]
    for point in shift.points:
        assert set(point.settings) == {name}
        source = "yes" if point.name in shift.sources else ""
        lines.append(f"| `{point.name}` | {point.settings[name]} | {point.strength:g} | {source} |")
    return "\n".join(lines)


def test_tables_of_the_scintillator_are_fresh(scintillator: Card) -> None:
    page = (ROOT / "docs" / "datasets" / "scintillator.md").read_text()
    assert sizes_table(scintillator) in page
    assert momentum_table(scintillator) in page
    assert points_table(scintillator, "crosstalk") in page
    assert points_table(scintillator, "leakage") in page


def test_the_weak_points_of_the_scintillator_stand_on_its_page(scintillator: Card) -> None:
    page = " ".join((ROOT / "docs" / "datasets" / "scintillator.md").read_text().split())
    assert [point for point in (*scintillator.weak_points, *scintillator.sources) if point not in page] == []
    assert f"version {scintillator.version}" in page
    assert f"({scintillator.normalisation.offset:g}, {scintillator.normalisation.scale:g})" in page


def test_the_table_of_scintillator_parameters_is_fresh() -> None:
    page = (ROOT / "docs" / "physics-scintillator.md").read_text()
    for name, value in ScintillatorParameters().to_mapping().items():
        assert re.search(rf"^\| `{name}` \| {re.escape(f'{value:g}')} \|", page, re.MULTILINE), name


def test_the_tables_of_profiles_and_backbones_are_fresh() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    for profile in PROFILES.values():
        row = (
            f"| `{profile.name}` | `{profile.backbone}` | {profile.seeds} | {profile.views:,} | {profile.batch_size} |"
        )
        assert row in page
    for name, config in BACKBONE_PRESETS.items():
        with torch.device("meta"):
            parameters = number_of_parameters(build_backbone(name))
        dims, depths = (", ".join(map(str, values)) for values in (config.dims, config.depths))
        assert f"| `{name}` | {dims} | {depths} | {parameters:,} |" in page


def test_the_reading_example_runs(synthetic_events: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attributes = EventAttributes(
        detector="lartpc",
        classes=("electron", "muon", "proton"),
        voxel_size_cm=0.38,
        shift="nominal",
        point="nominal",
        parameters=LArTPCParameters().to_mapping(),
        provenance={},
    )
    events = synthetic_events(5, 1)
    write_events(tmp_path / "events.h5", [events], attributes)
    with chdir(tmp_path):
        exec(compile(runnable("h5py"), "docs/data-format.md", "exec"), {})
    name = attributes.classes[events.labels[3]]
    expected = f"{name} of {events.truth.kinetic_energy[3]:.0f} MeV: {events.events.voxels_per_event[3]} voxels"
    assert capsys.readouterr().out.startswith(expected)


def test_the_layout_of_event_files_is_documented(synthetic_events: Make, tmp_path: Path) -> None:
    import h5py

    page = (ROOT / "docs" / "data-format.md").read_text()
    attributes = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "nominal", "nominal", {}, {})
    write_events(tmp_path / "events.h5", [synthetic_events(5, 1)], attributes)
    with h5py.File(tmp_path / "events.h5") as file:
        tables: dict[str, Any] = {}
        file.visititems(lambda name, item: tables.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        for name, table in tables.items():
            columns = table.shape[1] if table.ndim == 2 else ""
            pattern = rf"^\| `{name}` \| {table.dtype} \| \([EN](?: \+ 1)?, ?{columns}\) \|"
            assert re.search(pattern, page, re.MULTILINE), name
        assert [name for name in file.attrs if f"| `{name}` |" not in page] == []


def _view(synthetic_events: Make, method: str, target: bool) -> TrainingView:
    source, val = synthetic_events(96, 1), synthetic_events(48, 2)
    return training_view(source, val, synthetic_events(64, 3).events if target else None, method)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("example", "method", "settings"),
    [
        ("smoothed.py", "smoothed", {"views": 640, "batch_size": 32, "learning_rate": 3e-3, "smoothing": "0.05"}),
        ("aligned_charge.py", "aligned-charge", {"penalty": "0.5"}),
    ],
)
def test_the_example_methods_run(
    example: str, method: str, settings: dict[str, Any], synthetic_events: Make, tmp_path: Path
) -> None:
    file = tmp_path / example
    file.write_text(runnable(example))
    registry = load_plugins([file])
    assert registry.failures == []
    thing = registry.method(method).thing
    config = make_config(thing, PROFILES["smoke"], settings)
    view = _view(synthetic_events, method, target=thing.target_access == "unlabelled")
    context = Context(3, torch.device("cpu"), "smoke", "tiny", "native", tmp_path, SilentProgress())

    model = thing(config).fit(view, context)
    evaluator = Evaluator.of(method, model, view)
    test = synthetic_events(60, 4)
    scores = evaluator.score(test, 3).get(thing.ranked_by)

    assert scores is not None
    assert scores.nll < math.log(3)  # what guessing gives
    again = thing(config).fit(view, replace(context))
    assert np.array_equal(again.log_probabilities(test.events), model.log_probabilities(test.events))


def test_the_entry_point_group_of_the_packaging_example_is_the_one_that_is_read() -> None:
    page = (ROOT / "docs" / "write-a-method.md").read_text()
    assert "[project.entry-points.nubench]" in page
    assert "supcon" in {entry_point.name for entry_point in entry_points(group="nubench")}


def test_the_reference_of_the_command_line_is_fresh() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == load_script("write_cli_reference").reference(), "run: python scripts/write_cli_reference.py"


def test_the_reference_holds_every_command_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = []
    for name, options in names_of_commands().items():
        if not name or any(other.startswith(f"{name} ") for other in names_of_commands()):
            continue  # a group
        section = page.partition(f"## nubench {name}\n")[2].partition("\n## ")[0]
        wanted = {option for option in options if option.startswith("--")} - {"--help"}
        missing += [f"{name} {option}" for option in sorted(wanted) if f"`{option}" not in section]
    assert missing == []
