"""Memory and disk of a run: against the peaks that runs recorded, and bounded where the events stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nubench.backbone_designs import preset_designs
from nubench.cli.planning import Outlook
from nubench.containers import LabelledEvents
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.files import SUBMISSIONS, load_results
from nubench.runs.estimates import DataToBuild, operations_of
from nubench.runs.footprint import Volume, disk_of, footprint, largest, volume_of
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.storage.large_arrays import LARGE
from small_dataset import CLASSES, EVENTS, build

DESIGNS = {design.name: design for design in preset_designs()}
#: By how much a recorded peak may differ from the estimate, either way.
FACTOR = 1.5
#: Methods whose trainings hold what is counted, and nothing else.
COUNTED = {"classifier", "classifier-augmented", "minimum-subtraction", "moment-alignment", "simclr", "supcon"}
SMOKE = Volume(
    source_events=13_000,
    target_events=0,
    test_events=1_500,
    points=7,
    trainings=1,
    classes=5,
    batch=128,
    operations=19e6,
    embedding_size=128,
    parameters=10**6,
)


def test_the_estimate_is_near_the_peaks_that_runs_recorded() -> None:
    """The committed results state the largest resident memory of each training.

    Those that simulate their events again, or fit something else beside the network, hold more than is counted.
    """
    registry = load_plugins()
    compared = set()
    for result in load_results(Path(__file__).parents[2] / "leaderboards" / SUBMISSIONS):
        if result.method.name not in COUNTED or result.environment.device != "cpu" or result.dataset.name != "lartpc":
            continue
        assert result.backbone is not None
        design = DESIGNS[result.backbone.preset]
        method = registry.method(result.method.name).thing
        volume = replace(
            SMOKE,
            source_events={"smoke": 13_000, "laptop": 42_000}[result.profile.name],
            target_events=0
            if method.target_access == "none"
            else {"smoke": 1_500, "laptop": 5_000}[result.profile.name],
            batch=result.method.config["batch_size"],
            operations=operations_of(design),
            embedding_size=result.backbone.embedding_size,
        )
        expected = footprint(volume).training / 2**20
        assert expected / FACTOR < result.cost.peak_memory_mb < expected * FACTOR, (result.method.name, expected)
        compared.add((result.profile.name, result.method.name))
    assert len(compared) >= 3


def test_memory_does_not_grow_with_voxels_that_lie_on_disk() -> None:
    many = replace(SMOKE, source_events=1_000_000, test_events=200_000)
    more = replace(many, voxels=4 * many.voxels, operations=0.0)
    assert footprint(more).memory < footprint(many).memory
    voxels = 1_000_000 * many.voxels * 16
    tables = footprint(many).training - footprint(replace(many, source_events=0)).training
    assert tables < 2 * LARGE + 1_000_000 * (100 + 8 * 128) + 1 < voxels / 4
    # What is on the disk instead.
    assert footprint(many).meanwhile > 2 * voxels


def test_a_larger_batch_and_network_take_more_and_no_network_takes_less() -> None:
    larger = replace(SMOKE, batch=256)
    assert footprint(larger).training - footprint(SMOKE).training == pytest.approx(128 * 2.5 * 2**20, rel=0.02)
    small = replace(SMOKE, operations=operations_of(DESIGNS["small"]))
    assert footprint(small).training > footprint(SMOKE).training + 300 * 2**20
    without = replace(SMOKE, operations=0.0, embedding_size=0, parameters=0)
    assert footprint(without).memory < footprint(SMOKE).memory
    assert footprint(without).kept < footprint(SMOKE).kept


@pytest.mark.parametrize(("views", "peak"), [(8, 1_126), (24, 1_373)])
def test_the_network_of_the_paper_takes_what_its_steps_took(views: int, peak: float) -> None:
    """Peaks in MiB of a process that did nothing else; there were no events but those of the step."""
    alone = Volume(0, 0, 0, 1, 1, 5, batch=views, operations=2.264e9, embedding_size=768, parameters=31_362_048)
    assert peak < footprint(alone).training / 2**20 < 1.2 * peak


def test_embeddings_are_held_until_all_trainings_are_done_and_a_checkpoint_goes_with_its_training() -> None:
    once = replace(SMOKE, source_events=400_000, embedding_size=768, parameters=31_000_000)
    for_each = replace(once, trainings=once.points)
    rows = (once.points - 1) * 400_000 * 768 * 4
    assert footprint(for_each).evaluation - footprint(once).evaluation == rows
    kept = footprint(for_each).kept - footprint(once).kept
    assert kept == rows + (once.points - 1) * (400_000 * 8 + 31_000_000 * 4)
    assert footprint(for_each).meanwhile == footprint(once).meanwhile
    assert footprint(once).meanwhile - footprint(replace(once, parameters=0)).meanwhile == 31_000_000 * 24


def test_runs_follow_one_another_and_leave_what_they_keep() -> None:
    one, other = footprint(SMOKE), footprint(replace(SMOKE, batch=256, test_events=3_000))
    assert largest([one, other]) == other.memory
    assert disk_of([one, other]) == one.kept + other.kept + other.meanwhile
    assert (largest([]), disk_of([])) == (0.0, 0.0)


def test_runs_beside_each_other_hold_what_each_holds() -> None:
    one, other = footprint(SMOKE), footprint(replace(SMOKE, batch=256, test_events=3_000))
    assert largest([one, other, one], 2) == other.memory + one.memory
    assert disk_of([one, other, one], 2) == 2 * one.kept + other.kept + other.meanwhile + one.meanwhile
    outlook = Outlook((), frozenset(), (), DataToBuild(0, 0), [one] * 8, 10**12, 10**12, 8)
    assert outlook.memory == pytest.approx(8 * one.memory)
    assert outlook.size == pytest.approx(8 * (one.kept + one.meanwhile))
    # No more than there are.
    assert replace(outlook, footprints=[one, one]).memory == pytest.approx(2 * one.memory)


def test_the_volume_of_a_run_is_that_of_its_card_and_its_files(
    synthetic_events: Callable[..., LabelledEvents], tmp_path: Path
) -> None:
    registry = load_plugins()
    built = build(registry, tmp_path, synthetic_events)
    runner = Runner(
        Request("classifier", "gains", dataset="drawn", device="cpu"), registry, tmp_path, SilentProgress(), 1
    )
    found = volume_of(runner)
    train = built.load("train", "gains", runner.points[0]).events
    assert len(train) == EVENTS
    assert found.voxels == len(train.coords) / EVENTS
    assert (found.points, found.trainings, found.classes, found.batch) == (3, 1, len(CLASSES), 128)
    assert (found.source_events, found.test_events, found.target_events) == (3 * 25, 3 * 20, 0)
    assert found.embedding_size == 128
    seeing = Runner(Request("dann", "gains", dataset="drawn", device="cpu"), registry, tmp_path, SilentProgress(), 1)
    assert (volume_of(seeing).trainings, volume_of(seeing).target_events) == (3, 15)
    assert (volume_of(seeing).devices, volume_of(seeing, devices=4).devices) == (1, 4)
    nothing = Runner(Request("summary-features", "throws"), registry, tmp_path / "empty", SilentProgress(), 1)
    assert volume_of(nothing, devices=4).devices == 1
    assert volume_of(nothing).voxels == 516
    assert volume_of(nothing).parameters == 0
