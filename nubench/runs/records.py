"""What a result says of a run beside its scores, and the names by which finished work is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from nubench.containers import Deposits, Int64
from nubench.datasets.cards import Card, Split
from nubench.datasets.dataset import Dataset
from nubench.datasets.files import FileRecord
from nubench.errors import PluginError
from nubench.evaluation.trainee import Report
from nubench.methods import Method
from nubench.plugins.registry import Registered
from nubench.problems import problems_of
from nubench.profiles import Profile, recorded_settings
from nubench.progress import Progress
from nubench.results.schema import Cost
from nubench.results.schema import Dataset as DatasetRecord
from nubench.results.schema import Method as MethodRecord
from nubench.results.schema import Profile as ProfileRecord
from nubench.shifts import ShiftPoint


@dataclass(frozen=True)
class RunData:
    """The files of a data set that a run uses.

    Attributes:
        dataset: where they are.
        splits: which splits.
        shift: name of the axis.
        points: its points, the source first.
    """

    dataset: Dataset
    splits: tuple[Split, ...]
    shift: str
    points: Sequence[ShiftPoint]

    @property
    def source(self) -> ShiftPoint:
        """The point that is trained on."""
        return self.points[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """The points at which there are training events."""
        return (self.source.name,)

    @property
    def is_built(self) -> bool:
        """Whether all files are there."""
        return self.dataset.is_built(self.splits, self.shift, self.points, self.sources)

    def finished(self) -> dict[str, FileRecord]:
        """The files that are there."""
        return self.dataset.records(self.splits, self.shift, self.points, self.sources)

    def deposits(self, event_id: Int64, progress: Progress) -> tuple[Deposits, float]:
        """The true deposits of training events, in the order of their ids given, and the seconds that building took.

        Args:
            event_id: (E,) of the events; those with too few hits at the source are not trained on.
            progress: is told of the building, where the deposits were removed.

        Raises:
            NubenchError: when they cannot be built.
        """
        seconds = self.dataset.build_truth("train", progress)
        parts, found = [], []
        for chunk in self.dataset.truth("train"):
            kept = np.isin(chunk.primaries.event_id, event_id).nonzero()[0]
            parts.append(chunk.deposits.select(kept))
            found.append(chunk.primaries.event_id[kept])
        ids = np.concatenate(found)
        order = np.argsort(ids)
        return Deposits.concatenate(parts).select(order[np.searchsorted(ids, event_id, sorter=order)]), seconds

    @property
    def has_deposits(self) -> bool:
        """Whether there are deposits of the training events, or a way to make them."""
        dataset = self.dataset
        return dataset.card.truth is not None or (dataset.directory / "truth" / "train.h5").is_file()

    def record(self) -> DatasetRecord:
        """What a result says of them.

        Raises:
            KeyError: when one is not built.
        """
        card, records = self.dataset.card, self.finished()
        counts: dict[str, int] = {
            split: records[self.dataset.file_of(split, self.shift, self.source.name)].events for split in self.splits
        }
        return DatasetRecord(
            name=card.name,
            version=str(card.version),
            detector=card.detector,
            classes=card.class_names,
            recipe=self.dataset.recipe_digest,
            checksums={file: record.content for file, record in records.items()},
            events=counts,
        )


def method_record(registered: Registered[type[Method]], config: Any) -> MethodRecord:
    """What a result says of a method with its settings.

    Raises:
        PluginError: when something of it cannot be recorded.
    """
    method, plugin = registered.thing, registered.plugin
    try:
        return MethodRecord(
            name=method.name,
            version=method.version,
            distribution=plugin.distribution,
            title=method.title,
            target_access=method.target_access,
            config=config.model_dump(mode="json"),
            ranked_by=method.ranked_by,
            ranked=method.ranked,
        )
    except ValidationError as error:
        raise PluginError(f"method {method.name!r} of {plugin.distribution}: {problems_of(error)[0]}") from error


def profile_record(profile: Profile, card: Card) -> ProfileRecord:
    """What a result says of the budget."""
    return ProfileRecord(name=profile.name, settings=recorded_settings(profile, card.sizes_of(profile.name)))


def cost_record(reports: Sequence[Report], *, wall_seconds: float, cpu_seconds: float, building_seconds: float) -> Cost:
    """What a result says of the cost of a run; see :class:`nubench.results.schema.Cost`.

    Args:
        reports: of its trainings, one or more. Of several, size and operations are those of the last.
        wall_seconds, cpu_seconds: of the whole run.
        building_seconds: that building data took.
    """
    on_device = [report.device_seconds for report in reports if report.device_seconds is not None]
    return Cost(
        wall_seconds=round(wall_seconds, 3),
        cpu_seconds=round(cpu_seconds, 3),
        device_seconds=round(sum(on_device), 3) if on_device else None,
        peak_memory_mb=max(report.peak_memory_mb for report in reports),
        parameters=reports[-1].parameters,
        simulation_seconds=round(building_seconds + sum(report.simulation_seconds for report in reports), 3),
        flops_per_event=reports[-1].flops_per_event,
    )


def work_key(
    method: MethodRecord,
    data: RunData,
    seed: int,
    role: str,
    *,
    source_only: bool,
    circumstances: Mapping[str, Any],
) -> str:
    """Name a piece of work after all that decides its outcome.

    Args:
        method: with every setting.
        data: what it works on.
        seed: of the training.
        role: what kind of work it is.
        source_only: whether it depends on the events of the source alone, or on those of all points.
        circumstances: what else decides it.
    """
    checksums = {file: record.content for file, record in data.finished().items()}
    card = data.dataset.card
    content = {
        "role": role,
        "method": method.model_dump(mode="json"),
        "data": {f: digest for f, digest in checksums.items() if f.startswith(("train", "val"))}
        if source_only
        else checksums,
        "normalisation": card.normalisation.model_dump(),
        "seed": seed,
        **circumstances,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return f"{method.name}-seed{seed}-{digest}"
