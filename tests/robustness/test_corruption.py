"""Files damaged at random: every damage is found before a number is made of it, named, and mended."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import KINDS, damage, damaged
from pydantic import ValidationError
from quick_world import DATASET, SHIFT, command, open_world
from torch import nn
from typer.testing import CliRunner

from nubench.cli import app
from nubench.datasets.cards import SPLITS, read_card
from nubench.datasets.dataset import HIDDEN_SPLITS
from nubench.datasets.files import CARD_FILE, IMPORTED_FOLDER, labels_of, truth_of
from nubench.datasets.repair import Repair, repair
from nubench.errors import DataError
from nubench.evaluation.embeddings import EMBEDDINGS_FOLDER, read_embeddings
from nubench.evaluation.handout import Handout
from nubench.evaluation.labels import load_labels
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.files import read_result
from nubench.results.submissions import verify
from nubench.runs.failures import RememberingProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.simulation.lartpc.fitting import FittedDetector, FittedParameter, Scale
from nubench.storage.checked_json import read_checked, write_checked
from nubench.storage.files import sha256_of
from nubench.training.checkpoints import TrainingState, read_finished
from nubench_plugins.calibration import FIT_FILE, MOST_BYTES

DAMAGES = 1_000
FITTED = FittedDetector(
    parameters=(FittedParameter(name="gain", nominal=4.0, width=0.04, value=4.1, error=0.01),),
    closed_form=Scale(4.1, 500.0),
    closed_form_errors=Scale(0.02, 1.0),
    chi_squared=12.5,
    moments=14,
    simulations=40,
    converged=True,
)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class World:
    """Two finished runs, submitted, and the checkpoints of two trainings that were killed."""

    folder: Path
    runner: Runner

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def boards(self) -> Path:
        return self.folder / "boards"

    def checkpoint(self, number: int) -> Path:
        return self.cache / "trainings" / f"killed-{number}" / "checkpoint.pt"

    @property
    def fit(self) -> Path:
        """Where the method ``calibration`` keeps what it found."""
        return self.cache / "trainings" / "killed-0" / FIT_FILE

    @property
    def handed(self) -> Path:
        """What a sealed training was handed."""
        return self.cache / "handouts" / "killed-0"

    @property
    def card(self) -> Path:
        """The card of a data set that was imported."""
        return self.cache / IMPORTED_FOLDER / "other" / CARD_FILE


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    made = nn.Linear(8, 3)
    return made, torch.optim.AdamW(made.parameters())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("corruption")
    with pytest.MonkeyPatch.context() as patch:
        open_world(folder, patch)
        run = command(folder / "cache", folder / "boards", "--no-sealed", "--seeds", "2")
        for arguments in (run, ["submit", "--all", "--unsealed", *run[run.index("--cache") : -3]]):
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, done.output
        request = Request(method="classifier", shift=SHIFT, dataset=DATASET, device="cpu")
        made = World(folder, Runner(request, load_plugins(), folder / "cache", SilentProgress(), 1, sealed=False))
        for number in range(2):
            torch.manual_seed(number)
            TrainingState(step=number).save(made.checkpoint(number).parent, *network())
        write_checked(made.fit, FITTED.model_dump(mode="json"))
        write_checked(made.card, made.runner.card.model_dump(mode="json", exclude_none=True))
        dataset, points = made.runner.dataset, made.runner.points
        train, val = (dataset.load(split, SHIFT, points[0]) for split in ("train", "val"))
        target = dataset.events("test", SHIFT, points[1])
        Handout(train.events, train.labels, val.events, val.labels, target).save(made.handed)
        yield made


def told(value: Any) -> str:
    """A digest of all numbers of what was read; as text, long arrays are cut."""
    digest = hashlib.sha256()
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, np.ndarray):
            digest.update(np.ascontiguousarray(inner).tobytes())
        elif is_dataclass(inner):
            waiting.extend(getattr(inner, field.name) for field in fields(inner))
        elif isinstance(inner, dict | list | tuple):
            waiting.extend(inner.values() if isinstance(inner, dict) else inner)
        else:
            digest.update(repr(inner).encode())
    return digest.hexdigest()


def data_readers(runner: Runner) -> dict[Path, Callable[[], Any]]:
    """For every file of the data set, what reads its numbers."""
    dataset, found = runner.dataset, {}
    for split in SPLITS:
        found[truth_of(split)] = lambda split=split: told(list(dataset.truth(split)))
        for point in runner.points:
            file = dataset.file_of(split, SHIFT, point.name)
            where = (split, SHIFT, point)
            load = dataset.events if split in HIDDEN_SPLITS else dataset.load
            found[file] = lambda load=load, where=where: told(load(*where))
            found[labels_of(file)] = lambda where=where: told(load_labels(dataset, *where))
    built = dataset.manifest().files
    assert set(built) <= set(found)
    return {dataset.directory / file: found[file] for file in built}


def readers(world: World) -> dict[Path, Callable[[], Any]]:
    """For every file, what reads it: the result is what a run would make of it."""
    dataset, found = world.runner.dataset, data_readers(world.runner)
    found[dataset.directory / "manifest.json"] = lambda: dataset.manifest()
    for number in range(2):
        path = world.checkpoint(number)
        found[path] = lambda path=path: TrainingState.resume(path.parent, *network())
        result = world.runner._result_file(number)
        for file in (result, world.runner._predictions_file(number)):
            found[file] = lambda number=number: world.runner.finished(number)
        training = world.runner.job(number, None).directory
        for name in ("training.json", "weights.safetensors"):
            found[training / name] = lambda training=training: str(read_finished(training))
    found[world.fit] = lambda: fit_of_calibration(world.fit)
    found[world.card] = lambda: read_card(world.card)
    for path in world.handed.iterdir():
        found[path] = lambda: told(Handout.load(world.handed))
    for path in (world.cache / EMBEDDINGS_FOLDER).iterdir():
        found[path] = lambda path=path: told(read_embeddings(path))
    for path in (world.boards / "submissions").rglob("*.json"):
        found[path] = lambda path=path: submission(world, path)
    return found


def fit_of_calibration(path: Path) -> FittedDetector:
    """What the method reads; it fits again for each of the two errors."""
    try:
        return FittedDetector.model_validate(read_checked(path, MOST_BYTES))
    except ValidationError as error:
        raise DataError(f"{path}: {error}") from error


def submission(world: World, path: Path) -> Any:
    """The submission as the boards show it, when `nubench verify` has nothing against it."""
    (verdict,) = (one for one in verify(world.boards, [], None) if one.path == path)  # type: ignore[arg-type]
    if verdict.state == "invalid":
        raise DataError(f"{path}: {verdict.reason}")
    return read_result(path)


def problem_of(read: Callable[[], Any], expected: Any) -> str | None:
    """Why a file is refused; None when it says what it said before, such as one without its last line end."""
    try:
        assert str(read()) == str(expected), "a damage was not found"
    except DataError as error:
        return str(error)
    return None


def test_every_one_of_a_thousand_damages_is_found_and_named(world: World) -> None:
    draw, reads = random.Random(20), readers(world)
    files = sorted(reads)
    whole = {path: (path.read_bytes(), reads[path]()) for path in files}
    # They do not say whose they are, so that another whole one of their kind is not told from them.
    alike = {*world.handed.iterdir(), *(world.cache / EMBEDDINGS_FOLDER).iterdir()}
    assert len(alike) == 5
    seen: Counter[Path] = Counter()
    found: Counter[str] = Counter()
    for _ in range(DAMAGES):
        path, kind = draw.choice(files), draw.choice(KINDS)
        content, expected = whole[path]
        others = [
            other.read_bytes()
            for other in files
            if other.suffix == path.suffix and other != path and not {path, other} <= alike
        ]
        path.write_bytes(damaged(kind, content, others, draw))
        problem = problem_of(reads[path], expected)
        path.write_bytes(content)
        if problem is None:
            found["harmless"] += 1
        else:
            assert path.name in problem or path.parent.name in problem, f"{problem} does not name {path}"
            found[kind] += 1
            seen[path] += 1
    assert min(seen[path] for path in files) > 10, seen
    assert sum(found.values()) == DAMAGES
    assert found["harmless"] < DAMAGES / 20, found
    assert all(found[kind] > 100 for kind in KINDS), found


def test_a_damaged_data_set_is_repaired_to_the_same_events(world: World) -> None:
    dataset, draw = world.runner.dataset, random.Random(21)
    before = dataset.manifest()
    for kind in KINDS:
        broken = draw.sample(sorted(before.files), 3)
        for file in broken:
            damage(dataset.directory / file, kind, draw, [dataset.directory / other for other in before.files])
        (dataset.directory / "test" / ".left.h5.1-2.partial").write_bytes(b"half")
        done = list(repair(dataset, SilentProgress()))
        assert Repair("test/.left.h5.1-2.partial", "removed", "unfinished") in done
        assert {one.file: one.outcome for one in done if one.file in broken} == dict.fromkeys(broken, "rebuilt")
        assert all(dataset.directory.as_posix() in one.problem for one in done if one.outcome == "rebuilt")  # type: ignore[operator]
        assert {one.file for one in done if one.outcome == "ok"} == set(before.files) - set(broken)
        after = dataset.manifest()
        assert {file: record.content for file, record in after.files.items()} == {
            file: record.content for file, record in before.files.items()
        }
        assert [problem for _, problem in dataset.verify() if problem] == []


def test_a_data_set_whose_book_is_damaged_is_built_anew(world: World) -> None:
    dataset = world.runner.dataset
    before = dataset.manifest()
    damage(dataset.directory / "manifest.json", "flip", random.Random(22))
    done = list(repair(dataset, SilentProgress()))
    assert {one.file for one in done if one.outcome == "rebuilt"} == {"manifest.json", *before.files}
    assert {file: record.content for file, record in dataset.manifest().files.items()} == {
        file: record.content for file, record in before.files.items()
    }
    assert [one.outcome for one in repair(dataset, SilentProgress())] == ["ok"] * len(before.files)


@pytest.mark.parametrize("kind", ["flip", "cut", "swap"])
def test_a_run_makes_damaged_files_of_its_own_again(world: World, kind: Any) -> None:
    runner, draw = world.runner, random.Random(23)
    before, digest = runner.finished(0), sha256_of(runner._predictions_file(0))
    assert before is not None
    training = runner.job(0, None).directory
    of_results = [runner._result_file(0), runner._predictions_file(0)]
    of_training = [training / "training.json", training / "weights.safetensors"]
    for file, others in (
        (of_results[0], [runner._result_file(1)]),
        (of_results[1], [runner._predictions_file(1)]),
        (of_training[0], [runner.job(1, None).directory / "training.json"]),
        (of_training[1], [runner.job(1, None).directory / "weights.safetensors"]),
    ):
        damage(file, kind, draw, others)
        if file in of_training:
            of_results[0].unlink()
        lines = RememberingProgress(SilentProgress())
        runner._progress = lines
        after = runner.run(0)
        assert any(str(file) in line and "again" in line for line in lines.lines), lines.lines
        assert after.points == before.points
        assert sha256_of(runner._predictions_file(0)) == digest
        assert runner.finished(0) == after
