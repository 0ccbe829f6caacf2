"""A method that tries everything, in a whole run: it finds no label, and opens and changes no file of the cache."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from memory_search import KINDS, found_in_memory, images
from sealed_plugins import HOSTILE

from nubench.containers import LabelledEvents
from nubench.evaluation.confinement import can_confine
from nubench.evaluation.handout import keyed_order
from nubench.evaluation.labels import load_labels
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from small_dataset import build

Make = Callable[..., LabelledEvents]
MOMENTS = ("at-fit", "at-test")
KEY = b"k" * 16
#: Of the cache, beside the data set: another's work of every kind, and data that were built.
OF_OTHERS = (
    "data/other/labels/test/nominal.h5",
    "trainings/other/weights.safetensors",
    "results/other.json",
    "predictions/other.safetensors",
    "failures/other.json",
    "embeddings/other.safetensors",
    "handouts/other/target.safetensors",
)
#: Of the data set of the run itself.
LABELLED = ("labels/test", "labels/adapt", "test", "adapt", "train")
CLOSED = {"imported", *(Path(name).parts[0] for name in OF_OTHERS)}


def _run(
    folder: Path, synthetic_events: Make, access: str, planted: bool
) -> tuple[Runner, dict[str, Any], dict[str, set[str]]]:
    """Run the hostile method; returns what it found, and what was found in its memory, at each moment."""
    plugin = folder / "plugins" / "mine.py"
    plugin.parent.mkdir()
    plugin.write_text(HOSTILE)
    registry = load_plugins([])
    dataset = build(registry, folder / "cache", synthetic_events)
    points = dataset.card.shift("gains").all_points(dataset.card.nominal)
    for number, point in enumerate(points):
        dataset.add_events("adapt", "gains", point, [synthetic_events(50, 30 + number)], 50, {})
    labels = {point.name: load_labels(dataset, "test", "gains", point).labels for point in points}
    handed = {name: found[keyed_order(KEY, name, len(found))] for name, found in labels.items()}
    secrets = {
        # The other points have nominal's events but the first one or two: what they have in common is looked for.
        "test, as in the file": labels["nominal"][2:],
        **{f"test, as handed over at {name}": order for name, order in handed.items()},
        # In the order in which the events are handed over: this is what a method would want.
        **{f"adapt at {point.name}": load_labels(dataset, "adapt", "gains", point).labels for point in points},
    }
    known = {
        "access": access,
        "calls": 2 if access == "unlabelled" else 1 + len(points),
        "target_events": 50,
        "secrets": {name: description(values) for name, values in secrets.items()},
        # For the control alone: other numbers, from which the labels follow.
        "digits": [(values + 7).tolist() for values in secrets.values()] if planted else [],
        "kinds": KINDS,
    }
    for name in OF_OTHERS:
        path = folder / "cache" / name
        path.parent.mkdir(parents=True)
        path.write_text("0 1 2")

    def write(directory: str) -> None:
        (plugin.parent / "known.json").write_text(json.dumps({**known, "directory": directory}))

    write("not known yet")
    request = Request("mine", "gains", dataset="drawn", device="cpu")
    runner = Runner(request, load_plugins([plugin]), folder / "cache", SilentProgress(), processes=1)
    directory = runner.job(0, points[0] if access == "unlabelled" else None).directory
    write(directory.name)
    patterns = {f"{kind} {name}": image for name, values in secrets.items() for kind, image in images(values).items()}
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        searching = pool.submit(_search_memory, directory, patterns, over)
        try:
            result = runner.run(0)
        finally:
            over.set()
        memory = searching.result()
    assert result.environment.confined is can_confine()
    return runner, {moment: json.loads((directory / f"{moment}.json").read_text()) for moment in MOMENTS}, memory


def description(labels: npt.NDArray[np.integer]) -> dict[str, Any]:
    """What an array of labels is recognised by, without having it."""
    digest = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
    return {
        "length": len(labels),
        "total": int(labels.sum()),
        "squares": int((labels**2).sum()),
        "digest": digest,
    }


def _search_memory(directory: Path, patterns: Mapping[str, bytes], over: threading.Event) -> dict[str, set[str]]:
    """Search whenever the method waits for it; it does so before the run is over."""
    found = {}
    for moment in MOMENTS:
        while not (directory / f"{moment}.waits").exists() and not over.wait(0.02):
            pass
        found[moment] = found_in_memory(int((directory / f"{moment}.waits").read_text()), patterns)
        (directory / f"{moment}.searched").touch()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("access", "planted"), [("none", False), ("unlabelled", False), ("unlabelled", True)])
def test_a_method_that_tries_everything_finds_no_label(
    synthetic_events: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: str, planted: bool
) -> None:
    """It walks objects, frames, closures and open files, and tries every file of the cache.

    Its memory is searched byte by byte from outside, by somebody who knows the labels.
    """
    monkeypatch.setenv("NUBENCH_PLUGINS", "")
    monkeypatch.setenv("NUBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nubench.runs.runner.secrets", SimpleNamespace(token_bytes=lambda size: KEY))
    runner, told, memory = _run(tmp_path, synthetic_events, access, planted)
    for moment in MOMENTS:
        found = told[moment]
        assert found["looked_at"] > 10_000
        assert found["environment"] == []
        assert "nubench.evaluation.trainee" in found["modules"]
        assert "nubench.evaluation.labels" not in found["modules"]
        assert not [path for path in found["open"] if str(runner.dataset.directory) in path]
        files = found["touched"]
        assert {*OF_OTHERS, *(f"imported/drawn/{name}/nominal.h5" for name in LABELLED)} <= files.keys()
        if can_confine():
            # Others than these may be read, such as the tables of Geant4, and none is changed.
            closed = {path: ways for path, ways in files.items() if Path(path).parts[0] in CLOSED}
            assert {path: ways for path, ways in closed.items() if ways} == {}
            assert [path for path, ways in files.items() if set(ways) - {"read"}] == []
        if planted:
            # Both searches work: they find what is there, as every kind of number.
            names = {f"test, as handed over at {point.name}" for point in runner.points}
            names |= {"test, as in the file", *(f"adapt at {point.name}" for point in runner.points)}
            assert set(found["objects"]) == names
            assert memory[moment] == {f"{kind} {name}" for kind in KINDS for name in names}
        else:
            assert found["objects"] == []
            assert memory[moment] == set()
    if can_confine():
        assert {(tmp_path / "cache" / name).read_text() for name in OF_OTHERS} == {"0 1 2"}
