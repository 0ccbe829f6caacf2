"""How long runs will take, before they are started: from runs like them, or from a measured rate.

The rates were measured on 2026-11-22 on an idle virtual machine with two x86-64 cores and AVX-512. A training of the
profile ``smoke`` (backbone ``tiny``, 80,000 views) took 110 to 120 s, 1.44 ms a view. A bare step of ``small`` took
3.09 ms an event more than one of ``tiny``, for 125 million more operations forwards (`docs/performance.md`). That is a
line through two points: for another processor it is off by a factor, and nothing was measured on an accelerator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

from nubench.errors import DataError
from nubench.results.files import read_result
from nubench.results.schema import Result

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.runs.runner import Runner

#: Seconds of a training on two cores for each view, and for each operation of the backbone in it, forwards.
SECONDS_A_VIEW: Final = 0.97e-3
SECONDS_AN_OPERATION: Final = 2.47e-11
#: Device, number of devices and engine that they were measured with.
_MEASURED: Final = ("cpu", 1, "native")
#: Events that Geant4 makes, and that the detector's response makes of them, in a second on two cores.
EVENTS_A_SECOND: Final = 300
#: On disk, measured on the 12,000 training events of the profile ``smoke`` of the LArTPC.
BYTES_AN_EVENT: Final = 2_300
BYTES_OF_DEPOSITS: Final = 19_200


@dataclass(frozen=True)
class Work:
    """What one run does.

    Attributes:
        method, profile, dataset: names.
        backbone, engine: preset and engine, None for a method without a network.
        device, devices: where it runs, and on how many of them.
        views: event views of one training, None for a method that does not count them.
        trainings: number of trainings: one, or one for each point.
        points: number of shift points.
        events_read: events that the trained network reads once: training events for the probe, and test events.
    """

    method: str
    profile: str
    dataset: str
    backbone: str | None
    engine: str | None
    device: str
    devices: int
    views: int | None
    trainings: int
    points: int
    events_read: int


@dataclass(frozen=True)
class Estimate:
    """Seconds of a run, without building data; None when nothing is known of its like.

    ``basis`` says where they are from: the median of runs like it, or the measured rate.
    """

    seconds: float | None
    basis: Literal["runs", "rate", "unknown"]


@dataclass(frozen=True)
class DataToBuild:
    """Files of a data set that are not there: number of events in them, of deposits and of the detector's response."""

    deposits: int
    events: int

    @property
    def seconds(self) -> float:
        """Time to build them."""
        return (self.deposits + self.events) / EVENTS_A_SECOND

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.deposits * BYTES_OF_DEPOSITS + self.events * BYTES_AN_EVENT


class Estimator:
    """Estimates runs from those in a cache.

    Args:
        cache: folder whose results are looked at.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "results"
        self._known: dict[str, list[Result]] = {}

    def run(self, work: Work, design: BackboneDesign | None) -> Estimate:
        """Estimate one run.

        Args:
            work: what it does.
            design: of its backbone, None for a method without one.
        """
        like = [result.cost.wall_seconds for result in self._finished(work.method) if is_like(result, work)]
        if like:
            return Estimate(median(like), "runs")
        if design is None or work.views is None or (work.device, work.devices, work.engine) != _MEASURED:
            return Estimate(None, "unknown")
        try:
            operations = operations_of(design)
        except Exception:  # A plugin's network that cannot be built fails when it is run, and says so then.
            return Estimate(None, "unknown")
        view = SECONDS_A_VIEW + SECONDS_AN_OPERATION * operations
        # A step is three forward passes.
        return Estimate(view * (work.trainings * work.views + work.events_read / 3), "rate")

    def _finished(self, method: str) -> list[Result]:
        name = method.rpartition(":")[2]
        if name not in self._known:
            self._known[name] = [
                result for path in sorted(self._folder.glob(f"{name}-seed*.json")) if (result := _readable(path))
            ]
        return self._known[name]


def work_of(runner: Runner) -> Work:
    """What one seed of a runner does."""
    method, points = runner.registered.thing, len(runner.points)
    sizes, classes = runner.card.sizes_of(runner.profile.name), len(runner.card.classes)
    trainings = 1 if method.target_access == "none" else points
    return Work(
        method=method.name,
        profile=runner.profile.name,
        dataset=runner.card.name,
        backbone=runner.backbone.name if method.uses_backbone else None,
        engine=runner.engine if method.uses_backbone else None,
        device=runner.device,
        devices=runner.devices,
        views=views_of(runner.config.model_dump()),
        trainings=trainings,
        points=points,
        events_read=classes * (trainings * (sizes.train + sizes.val) + points * sizes.test),
    )


def data_to_build(runners: Iterable[Runner]) -> DataToBuild:
    """What runners need and is not built, each file counted once."""
    files, truths = {}, {}
    for runner in runners:
        dataset, sizes = runner.dataset, runner.card.sizes_of(runner.profile.name)
        for split in runner.splits:
            events = getattr(sizes, split) * len(runner.card.classes)
            for point in runner.points[:1] if split in ("train", "val") else runner.points:
                if dataset.is_built((split,), runner.shift.name, (point,), (runner.points[0].name,)):
                    continue
                files[dataset.directory, dataset.file_of(split, runner.shift.name, point.name)] = events
                name = f"{split}-{point.physics_list}" if point.physics_list else split
                truth = dataset.directory / "truth" / f"{name}.h5"
                if runner.card.truth is not None and not truth.is_file():
                    truths[truth] = events
    return DataToBuild(deposits=sum(truths.values()), events=sum(files.values()))


def is_like(result: Result, work: Work) -> bool:
    """Whether a finished run took about as long as this one will."""
    return (
        result.method.name == work.method.rpartition(":")[2]
        and result.profile.name == work.profile
        and result.dataset.name == work.dataset
        and (result.backbone.preset if result.backbone else None) == work.backbone
        and result.engine == work.engine
        and result.environment.device == work.device
        and result.environment.devices == work.devices
        and result.method.config.get("views") == work.views
        and len(result.points) == work.points
        # A training that another shift, or a killed call, had made is in its record and not in the time of the call.
        and result.cost.wall_seconds >= result.training.seconds
    )


@cache
def operations_of(design: BackboneDesign) -> float:
    """Operations of a backbone for a mean event, forwards, a multiply-add being two."""
    import torch

    from nubench.backbone_designs import reference_events
    from nubench.sparse.batch import SparseBatch

    batch = SparseBatch.from_events(reference_events(32))
    with torch.device("meta"):
        network = design.build(in_channels=1, engine="native")
    return design.forward_flops(network, batch) / batch.size


def views_of(config: Mapping[str, Any]) -> int | None:
    """The budget in a method's settings, where it has one."""
    views = config.get("views")
    return views if isinstance(views, int) else None


def _readable(path: Path) -> Result | None:
    # An estimate is no place to complain about a file.
    try:
        return read_result(path)
    except DataError:
        return None
