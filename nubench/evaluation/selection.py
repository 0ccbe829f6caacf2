"""Selectors applied after the fact: to the snapshots that a training kept along the way.

The snapshots of a training differ in how long it had run. Each selector says which one it would have stopped at, from
what the evaluation has without labels of the target; the oracle says what that choice was worth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from nubench.containers import Events, Float32, Int64
from nubench.errors import NubenchError, PluginError, UsageError
from nubench.evaluation.handout import Outputs
from nubench.evaluation.labels import load_labels
from nubench.evaluation.scoring import FittedReadouts
from nubench.evaluation.selectors import Selector, SelectorInput
from nubench.evaluation.trainee import Job
from nubench.progress import Progress
from nubench.runs.runner import Runner
from nubench.shifts import ShiftPoint
from nubench.storage.files import make_folder
from nubench.training.checkpoints import snapshot_folders


@dataclass(frozen=True)
class SnapshotScores:
    """What the selectors say of one snapshot.

    Attributes:
        views: shown up to it.
        scores: by the name of the selector; higher is better.
    """

    views: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Selection:
    """What the selectors say of a training.

    Attributes:
        selectors: those that were asked, in their order.
        snapshots: in the order of the training.
    """

    selectors: Sequence[Selector]
    snapshots: Sequence[SnapshotScores]

    def chosen(self, selector: str) -> SnapshotScores:
        """The snapshot that a selector scores highest; the earliest of equals."""
        return max(self.snapshots, key=lambda snapshot: snapshot.scores[selector])


@dataclass(frozen=True)
class SnapshotOutputs:
    """What one snapshot makes of events.

    Attributes:
        views: shown up to it.
        train: of the source's training events.
        val: of the source's validation events.
        target: of target events, or None without a target.
        target_events: how many there are.
    """

    views: int
    train: Outputs
    val: Outputs
    target: Outputs | None
    target_events: int


def select_snapshots(
    runner: Runner,
    seed: int,
    selectors: Sequence[Selector],
    snapshots: int,
    progress: Progress,
    target: ShiftPoint | None = None,
) -> Selection:
    """Score every snapshot of a training, which is made first where it left none.

    What the snapshots make of the events is kept beside them, so that other selectors are quick.

    Args:
        runner: of the run.
        seed: of the training.
        selectors: to be asked.
        snapshots: how many the training keeps, at equal numbers of steps.
        progress: for log lines.
        target: the point that a snapshot is chosen for, by the unlabelled events of its split ``adapt``. None for
            selectors that need no target, and a method that sees none.

    Raises:
        UsageError: when a target is needed and there is none, or the method keeps no snapshots.
        NubenchError: when data or training cannot be made.
    """
    _check_target(runner, selectors, target)
    runner.prepare()
    shift, dataset, point = runner.shift.name, runner.dataset, runner.points[0]
    if target is not None:
        dataset.build(("adapt",), shift, (target,), progress, (point.name,))
    train, val = dataset.load("train", shift, point), dataset.load("val", shift, point)
    events = dataset.events("adapt", shift, target) if target else None
    made = list(_outputs(runner, seed, snapshots, {"train": train.events, "val": val.events}, events, target))
    # Read when no method runs any more.
    shown = target is not None and any(selector.oracle for selector in selectors)
    labels = load_labels(dataset, "adapt", shift, target).labels if target and shown else None
    scores = []
    for outputs in made:
        seen = selector_input(runner, outputs, train.labels, val.labels, labels)
        scores.append(SnapshotScores(outputs.views, {selector.name: _scored(selector, seen) for selector in selectors}))
    return Selection(tuple(selectors), tuple(scores))


def selector_input(
    runner: Runner, outputs: SnapshotOutputs, train_labels: Int64, val_labels: Int64, target_labels: Int64 | None
) -> SelectorInput:
    """What a selector sees of a snapshot: its embeddings, and the predictions of the read-out that ranks the method.

    A model without embeddings is seen by its class scores in their place.

    Args:
        runner: of the run.
        outputs: of the snapshot.
        train_labels, val_labels: (E,) of the source events.
        target_labels: (E,) for the oracle, or None.

    Raises:
        PluginError: when the outputs are none of a model of the method.
    """
    name, ranked_by = runner.registered.name, runner.registered.thing.ranked_by
    readouts = FittedReadouts.fit(name, len(runner.card.classes), outputs.train, train_labels)

    def seen(made: Outputs, events: int) -> tuple[Float32, Float32]:
        rows = readouts.rows(made, events)
        if ranked_by not in rows:
            raise PluginError(f"method {name!r} is ranked by its {ranked_by}, which its model does not have")
        return rows[ranked_by] if made.embeddings is None else made.embeddings, rows[ranked_by]

    train_embeddings, _ = seen(outputs.train, len(train_labels))
    val_embeddings, val_scores = seen(outputs.val, len(val_labels))
    source = SelectorInput(train_embeddings, train_labels, val_embeddings, val_scores, val_labels)
    if outputs.target is None:
        return source
    embeddings, scores = seen(outputs.target, outputs.target_events)
    return replace(source, target_embeddings=embeddings, target_log_probabilities=scores, target_labels=target_labels)


def _scored(selector: Selector, seen: SelectorInput) -> float:
    try:
        return selector(seen)
    except ValueError as error:
        raise NubenchError(f"selector {selector.name!r}: {error}") from error


def _check_target(runner: Runner, selectors: Sequence[Selector], target: ShiftPoint | None) -> None:
    if target is not None:
        return
    needing = [f"selector {selector.name!r}" for selector in selectors if selector.needs_target]
    if runner.registered.thing.target_access != "none":
        needing.insert(0, f"method {runner.registered.name!r}")
    if needing:
        raise UsageError(f"{needing[0]} needs a target; the points are {', '.join(p.name for p in runner.points)}")


def _outputs(
    runner: Runner,
    seed: int,
    snapshots: int,
    source: Mapping[Literal["train", "val"], Events],
    target_events: Events | None,
    target: ShiftPoint | None,
) -> Iterator[SnapshotOutputs]:
    """Train if need be; then ask every snapshot, or read what it said before."""
    own = target if runner.registered.thing.target_access != "none" else None
    job = runner.job(seed, own)
    with runner.session(job.model_copy(update={"snapshots": snapshots}), own) as session:
        session.fit()
    folders = _folders(job)
    if not folders:
        raise UsageError(
            f"method {runner.registered.name!r} keeps no snapshots: it is not trained by nubench.training.train"
        )
    events = [source["train"], source["val"], *([] if target_events is None else [target_events])]
    for folder in folders:
        files = [folder / "outputs" / f"{_digest(some)}.safetensors" for some in events]
        if not all(file.exists() for file in files):
            make_folder(folder / "outputs")
            with runner.session(job.model_copy(update={"snapshot": folder}), own) as session:
                session.fit()
                for file, some in zip(files, events, strict=True):
                    session.outputs(some).save(file)
        train, val, *rest = map(Outputs.load, files)
        yield SnapshotOutputs(
            int(folder.name), train, val, rest[0] if rest else None, 0 if target_events is None else len(target_events)
        )


def _folders(job: Job) -> list[Path]:
    """The snapshots of the last training of a method: for the target, where it has one, else on the source alone."""
    stages = sorted(path.parent for path in job.directory.glob("*/snapshots"))
    for directory in (job.directory, *stages[::-1], job.source_directory):
        if folders := snapshot_folders(directory):
            return folders
    return []


def _digest(events: Events) -> str:
    """A name for what a model makes of these events."""
    digest = hashlib.sha256()
    for array in (events.offsets, events.coords, events.features):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
