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
)
CLOSED = {"imported", *(Path(name).parts[0] for name in OF_OTHERS)}


def _run(folder: Path, synthetic_events: Make, planted: bool) -> tuple[Runner, dict[str, Any], dict[str, set[str]]]:
    """Run the hostile method; returns what it found, and what was found in its memory, at each moment."""
    plugin = folder / "plugins" / "mine.py"
    plugin.parent.mkdir()
    plugin.write_text(HOSTILE)
    registry = load_plugins([])
    dataset = build(registry, folder / "cache", synthetic_events)
    points = dataset.card.shift("gains").all_points(dataset.card.nominal)
    labels = {point.name: load_labels(dataset, "test", "gains", point).labels for point in points}
    handed = {name: found[keyed_order(KEY, name, len(found))] for name, found in labels.items()}
    # The other points have nominal's events but the first one or two: what they have in common is looked for.
    orders = {"as in the file": labels["nominal"][2:], **{f"as handed over at {name}": handed[name] for name in handed}}
    secret = orders["as in the file"]
    known = {
        "points": len(points),
        "digests": {hashlib.sha256(secret.astype(np.uint8).tobytes()).hexdigest(): "as in the file"},
        "length": len(secret),
        "sum": int(secret.sum()),
        "squares": int((secret**2).sum()),
        # For the control alone: other numbers, from which the labels follow.
        "digits": (secret + 7).tolist() if planted else [],
        "kinds": KINDS,
    }
    (plugin.parent / "known.json").write_text(json.dumps(known))
    for name in OF_OTHERS:
        path = folder / "cache" / name
        path.parent.mkdir(parents=True)
        path.write_text("0 1 2")

    request = Request("mine", "gains", dataset="drawn", device="cpu")
    runner = Runner(request, load_plugins([plugin]), folder / "cache", SilentProgress(), processes=1)
    directory = runner.job(0, None).directory
    patterns = {f"{kind} {order}": image for order, values in orders.items() for kind, image in images(values).items()}
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
@pytest.mark.parametrize("planted", [False, True])
def test_a_method_that_tries_everything_finds_no_label(
    synthetic_events: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """It walks objects, frames, closures and open files, and tries every file of the cache.

    Its memory is searched byte by byte from outside, by somebody who knows the labels.
    """
    monkeypatch.setenv("NUBENCH_PLUGINS", "")
    monkeypatch.setenv("NUBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nubench.runs.runner.secrets", SimpleNamespace(token_bytes=lambda size: KEY))
    runner, told, memory = _run(tmp_path, synthetic_events, planted)
    for moment in MOMENTS:
        found = told[moment]
        assert found["looked_at"] > 10_000
        assert found["environment"] == []
        assert "nubench.evaluation.trainee" in found["modules"]
        assert "nubench.evaluation.labels" not in found["modules"]
        assert not [path for path in found["open"] if str(runner.dataset.directory) in path]
        files = found["touched"]
        assert {*OF_OTHERS, "imported/drawn/labels/test/nominal.h5", "imported/drawn/test/nominal.h5"} <= files.keys()
        if can_confine():
            # Others than these may be read, such as the tables of Geant4, and none is changed.
            closed = {path: ways for path, ways in files.items() if Path(path).parts[0] in CLOSED}
            assert {path: ways for path, ways in closed.items() if ways} == {}
            assert [path for path, ways in files.items() if set(ways) - {"read"}] == []
        if planted:
            # Both searches work: they find what is there, as every kind of number.
            assert "as in the file" in found["objects"]
            assert memory[moment] == {f"{kind} as in the file" for kind in KINDS}
        else:
            assert found["objects"] == []
            assert memory[moment] == set()
    if can_confine():
        assert {(tmp_path / "cache" / name).read_text() for name in OF_OTHERS} == {"0 1 2"}
