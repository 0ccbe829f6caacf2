"""Estimates: the median of runs like it, or else the measured rate; data that are there are not counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from nubench.backbone_designs import preset_designs
from nubench.cli.planning import Outlook
from nubench.containers import LabelledEvents
from nubench.datasets.catalogue import card_called
from nubench.errors import NubenchError
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.files import write_result
from nubench.results.schema import Result
from nubench.runs.estimates import (
    EVENTS_A_SECOND,
    DataToBuild,
    Estimate,
    Estimator,
    Work,
    data_to_build,
    is_like,
    operations_of,
    work_of,
)
from nubench.runs.footprint import Footprint
from nubench.runs.grid import Cell, Planned, states_to_run
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from result_factory import make_result, result_content
from small_dataset import build

WORK = Work("supcon", "smoke", "lartpc-singles", "tiny", "native", "cpu", 1, 80_000, 1, 3, 75_000)
DESIGNS = {design.name: design for design in preset_designs()}


def finished(cache: Path, seed: int, seconds: float, **changes: object) -> Result:
    content = result_content(seed=seed, config={"views": 80_000})
    content["cost"]["wall_seconds"] = content["training"]["seconds"] = seconds
    content |= changes
    result = Result.model_validate(content)
    write_result(result, cache / "results" / f"supcon-seed{seed}-0.json")
    return result


def test_runs_like_it_come_first(tmp_path: Path) -> None:
    for seed, seconds in enumerate((100.0, 130.0, 900.0)):
        assert is_like(finished(tmp_path, seed, seconds), WORK)
    (tmp_path / "results" / "supcon-seed9-0.json").write_text("{")
    estimate = Estimator(tmp_path).run(WORK, DESIGNS["tiny"])
    assert (estimate.seconds, estimate.basis) == (130.0, "runs")


def test_a_run_that_found_its_training_made_does_not_count(tmp_path: Path) -> None:
    loaded = finished(tmp_path, 0, 130.0)
    quick = loaded.model_copy(update={"cost": loaded.cost.model_copy(update={"wall_seconds": 9.0})})
    assert is_like(loaded, WORK)
    assert not is_like(quick, WORK)


def changed(section: str, value: Any) -> Result:
    content = result_content(config={"views": 80_000})
    content[section] = {**content[section], **value} if isinstance(value, dict) else value
    return Result.model_validate(content)


@pytest.mark.parametrize(
    "other",
    [
        make_result(config={"views": 80_000}, backbone="small"),
        make_result(config={"views": 80_000}, profile="laptop"),
        make_result(config={"views": 640}),
        make_result("simclr", config={"views": 80_000}),
        make_result(config={"views": 80_000}, accuracies={"nominal": 0.9, "throw1": 0.8}),
        changed("engine", "minkowski"),
        changed("dataset", {"name": "scintillator"}),
        changed("environment", {"devices": 2}),
        changed("environment", {"device": "cuda"}),
    ],
)
def test_other_runs_do_not_count(other: Result) -> None:
    assert is_like(make_result(config={"views": 80_000}), WORK)
    assert not is_like(other, WORK)


def test_the_rate_gives_the_time_that_it_was_measured_on(tmp_path: Path) -> None:
    """A training of ``smoke`` took 110 to 120 s on the machine of the rate; so the rate is read from the documents."""
    estimate = Estimator(tmp_path).run(replace(WORK, points=7, events_read=0), DESIGNS["tiny"])
    assert estimate.basis == "rate"
    assert estimate.seconds == pytest.approx(115, abs=5)
    page = (Path(__file__).parents[2] / "docs" / "submitting.md").read_text()
    assert "0.97 ms for each view and 0.0247 ms more for each million operations" in page
    assert "about 300 events a second" in page


def test_a_larger_backbone_and_more_trainings_take_longer(tmp_path: Path) -> None:
    estimator = Estimator(tmp_path)
    seconds = [estimator.run(WORK, DESIGNS[name]).seconds for name in ("tiny", "small", "paper")]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(seconds))
    assert operations_of(DESIGNS["small"]) > 5 * operations_of(DESIGNS["tiny"])
    thrice = replace(WORK, trainings=3)
    longer = estimator.run(thrice, DESIGNS["tiny"]).seconds
    assert longer is not None
    assert seconds[0] is not None
    assert longer > 2 * seconds[0]


def test_what_was_never_measured_is_unknown(tmp_path: Path) -> None:
    estimator = Estimator(tmp_path)
    on_gpu = replace(WORK, device="cuda", events_read=0)
    assert estimator.run(replace(WORK, engine="minkowski"), DESIGNS["tiny"]).basis == "unknown"
    without = replace(WORK, method="summary-features", backbone=None, engine=None, views=None, events_read=0)
    assert estimator.run(on_gpu, DESIGNS["tiny"]).basis == "unknown"
    assert estimator.run(without, None).seconds is None


def test_data_that_are_there_are_not_counted(synthetic_events: Callable[..., LabelledEvents], tmp_path: Path) -> None:
    registry = load_plugins()
    whole, empty = tmp_path / "whole", tmp_path / "empty"
    build(registry, whole, synthetic_events)
    request = Request("summary-features", "gains", dataset="drawn")
    runner = Runner(request, registry, whole, SilentProgress(), None)
    assert data_to_build([runner]) == DataToBuild(0, 0)
    assert card_called(registry, whole, "drawn").sizes_of("smoke").train == 20
    assert work_of(runner) == Work(
        method="summary-features",
        profile="smoke",
        dataset="drawn",
        backbone=None,
        engine=None,
        device="cpu",
        devices=1,
        views=None,
        trainings=1,
        points=3,
        events_read=3 * (20 + 5 + 3 * 20),
    )

    lartpc = Request("summary-features", "throws")
    runners = [Runner(lartpc, registry, empty, SilentProgress(), None) for _ in range(2)]
    sizes = runners[0].card.sizes_of("smoke")
    found = data_to_build(runners)
    assert found.events == 5 * (sizes.train + sizes.val + 7 * sizes.test)
    assert found.deposits == 5 * (sizes.train + sizes.val + sizes.test)
    assert found.seconds == (found.events + found.deposits) / EVENTS_A_SECOND


def test_a_disk_that_is_too_small_is_found_before_anything_runs() -> None:
    cell = Cell(Request("supcon", "throws", dataset="lartpc"), 0, cast("Any", None))
    data = DataToBuild(deposits=10_000, events=30_000)
    takes = Footprint(training=7e8, evaluation=6e8, kept=2e7, meanwhile=3e8)
    outlook = Outlook([Planned(cell)], states_to_run(), [Estimate(60.0, "rate")], data, [takes], 10**8, 2 * 10**9)
    assert outlook.size == data.size + takes.kept + takes.meanwhile
    with pytest.raises(NubenchError, match=r"the disk of the cache there has 100 MB free; about 581 MB are needed"):
        outlook.check_space(Path("there"))
    replace(outlook, free=10**9).check_space(Path("there"))
    assert "memory: about 1.3 GB, 2.0 GB are free" in outlook.summary()
    assert "not be enough" not in outlook.summary()
    assert "this may not be enough" in replace(outlook, free_memory=10**9).summary()
    replace(outlook, states=states_to_run(retry_failed=True)).check_space(Path("there"))
    assert "about 1.0 min for those whose like is known" in outlook.summary()
    assert "30,000 events and the deposits of 10,000" in outlook.summary()
