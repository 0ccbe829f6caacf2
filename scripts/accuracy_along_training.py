"""Follow a method along its training: accuracy at nominal and at every point, with and without aligned charge.

A network that has not learnt to use the charge looks robust. So a method's accuracy at the targets is compared with
its accuracy at nominal at the same moment. Run as

    python scripts/accuracy_along_training.py supcon --profile laptop --out docs/figures/along-training-supcon.json

It trains once (or takes the snapshots of a training that is there), reads every snapshot on a sample of the test
events at every point, and writes one JSON file. "aligned" is the same network on events whose charge was
brought to mean and spread of the source, from unlabelled target events, as ``moment-alignment`` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nubench.cache import cache_folder
from nubench.containers import Events, Int64, LabelledEvents
from nubench.environment import git_revision
from nubench.evaluation.handout import Outputs
from nubench.evaluation.labels import load_labelled
from nubench.evaluation.probe import fit_probe
from nubench.plugins.discovery import load_plugins
from nubench.progress import ConsoleProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.storage.files import write_atomically
from nubench.training.checkpoints import snapshot_folders
from nubench_plugins.alignment import moment_map

PROBE_EVENTS, MOMENT_EVENTS, TEST_EVENTS = 8000, 5000, 1500


def main(
    method: Annotated[str, typer.Argument(help="a method that sees no target")],
    out: Annotated[Path, typer.Option(help="JSON file to write")],
    profile: str = "laptop",
    shift: str = "throws",
    seed: int = 0,
    snapshots: Annotated[int, typer.Option(help="moments of the training that are read")] = 24,
    folder: Annotated[Path | None, typer.Option(help="training whose snapshots are read; none is made then")] = None,
    cache: Annotated[Path | None, typer.Option(help="as of `nubench run`")] = None,
) -> None:
    """Train, read every snapshot at every point, and write what was found."""
    from rich.console import Console

    progress = ConsoleProgress(Console())
    request = Request(method, shift, profile)
    runner = Runner(request, load_plugins(), cache_folder(cache), progress, processes=None, sealed=False)
    runner.prepare()
    runner.dataset.build(("adapt",), shift, runner.points, progress)
    job = runner.job(seed, None)
    if folder is not None:
        job = job.model_copy(update={"directory": folder.resolve()})
    else:
        with runner.session(job.model_copy(update={"snapshots": snapshots}), None) as session:
            session.fit()
    sample = _Sample(runner)
    rows = []
    for snapshot in snapshot_folders(job.directory):
        with runner.session(job.model_copy(update={"snapshot": snapshot}), None) as session:
            session.fit()
            row = sample.read(int(snapshot.name), session.outputs)
        rows.append(row)
        targets = [value for point, value in row["accuracy"].items() if point != runner.points[0].name]
        progress.say(
            f"{row['views']:,} views: source {row['accuracy'][runner.points[0].name]:.3f}, "
            f"mean of the targets {np.mean(targets):.3f}"
        )
    content = {
        "method": method,
        "shift": shift,
        "profile": profile,
        "seed": seed,
        "recipe": runner.dataset.recipe_digest,
        "git_revision": git_revision(),
        "events": {"probe": PROBE_EVENTS, "moments": MOMENT_EVENTS, "test": TEST_EVENTS},
        "snapshots": rows,
    }
    write_atomically(out, (json.dumps(content, indent=1) + "\n").encode())


class _Sample:
    """The events that every snapshot is read on: the same for all methods."""

    def __init__(self, runner: Runner) -> None:
        random = np.random.default_rng(0)
        dataset, shift = runner.dataset, runner.shift.name
        train, self._val = (dataset.load(split, shift, runner.points[0]) for split in ("train", "val"))
        self._train = train.select(random.choice(len(train), min(len(train), PROBE_EVENTS), replace=False))
        reference = train.events.select(random.choice(len(train), min(len(train), MOMENT_EVENTS), replace=False))
        self._ranked_by = runner.registered.thing.ranked_by
        self._tests: dict[str, tuple[Events, Events, Int64]] = {}
        chosen = None
        for point in runner.points:
            test: LabelledEvents = load_labelled(dataset, "test", shift, point)
            if chosen is None:
                ids = test.truth.event_id
                chosen = random.choice(ids, min(TEST_EVENTS, len(ids)), replace=False)
            test = test.select(np.isin(test.truth.event_id, chosen).nonzero()[0])
            align = moment_map(dataset.events("adapt", shift, point), reference)
            self._tests[point.name] = (test.events, align(test.events), test.labels)

    def read(self, views: int, outputs: Any) -> dict[str, Any]:
        """The accuracies of one snapshot, as fractions."""
        uses_head = self._ranked_by == "head"
        probe = None if uses_head else fit_probe(outputs(self._train.events).embeddings, self._train.labels)

        def accuracy(events: Events, labels: Int64) -> float:
            made: Outputs = outputs(events)
            scores = made.log_probabilities if probe is None else probe.log_probabilities(_given(made.embeddings))
            return round(float(np.mean(_given(scores).argmax(axis=1) == labels)), 4)

        return {
            "views": views,
            "validation": accuracy(self._val.events, self._val.labels),
            "accuracy": {point: accuracy(events, labels) for point, (events, _, labels) in self._tests.items()},
            "aligned": {point: accuracy(events, labels) for point, (_, events, labels) in self._tests.items()},
        }


def _given(array: Any) -> Any:
    if array is None:
        raise typer.BadParameter("the method gives neither embeddings nor class scores as its ranking asks for")
    return array


if __name__ == "__main__":
    typer.run(main)
