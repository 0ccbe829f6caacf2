"""`nubench show` and `nubench data plot` as a user meets them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nubench.cli import app
from nubench.containers import LabelledEvents
from nubench.datasets.cards import read_card
from nubench.datasets.dataset import FIRST_EVENT_ID, Dataset
from nubench.detectors import LArTPC
from nubench.display.loading import load_view, view_from_file
from nubench.errors import UsageError
from nubench.evaluation.labels import load_labelled_file
from nubench.events.store import EventAttributes, write_events
from nubench.progress import SilentProgress
from nubench.simulation.geant4 import find_data


def test_the_command_line_loads_no_library_that_draws() -> None:
    code = (
        "import sys, nubench.cli; print(sorted({'plotly', 'matplotlib', 'seaborn', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show",), "Missing argument"),
        (("show", "twelve"), "valid integer"),
        (("show", "5000"), "event 5000 is not in data set 'lartpc' with profile 'smoke'; ids: train 0 to 11999"),
        (("show", "5", "--split", "tets"), "unknown split 'tets'; did you mean 'test'"),
        (("show", "5", "--dataset", "lartcp"), "did you mean 'lartpc'"),
        (("show", "5", "--profile", "smok"), "did you mean 'smoke'"),
        (("show", "5", "--shift", "throw"), "did you mean 'throws'"),
        (("show", "5", "--dataset", "lartpc", "--point", "throw9"), "unknown point 'throw9'; did you mean 'throw"),
        (("show", "5", "--split", "val", "--point", "throw2"), "events of val do not exist at --point 'throw2'"),
        (("show", "5", "--file", "a.h5", "--split", "test", "--point", "b"), "--split, --point cannot be given with"),
        (("data", "plot", "lartcp"), "unknown data set 'lartcp'"),
        (("data", "plot", "lartpc", "--shift", "throw"), "unknown shift 'throw'; did you mean 'throws'"),
        (("data", "plot", "lartpc"), "run `nubench data build lartpc --profile smoke`"),
    ],
)
def test_a_mistake_ends_with_one_message(
    arguments: tuple[str, ...], message: str, shared_cache: Path, tmp_path: Path
) -> None:
    with chdir(tmp_path):
        done = CliRunner().invoke(app, arguments, env={"NUBENCH_CACHE": str(shared_cache)})
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "5", "--file", str(tmp_path / "absent.h5")])
    assert done.exit_code == 2
    assert "absent.h5 does not exist" in done.output


def _attributes(**provenance: str) -> EventAttributes:
    return EventAttributes("lartpc", ("a", "b", "c"), 0.38, "throws", "throw3", {}, dict(provenance))


def test_an_event_of_a_file_is_found_by_id_and_by_number(
    synthetic_events: Callable[..., LabelledEvents], tmp_path: Path
) -> None:
    events = synthetic_events(5, 1)
    file = tmp_path / "some.h5"
    write_events(file, [events], _attributes())
    view = view_from_file(file, 1003, _attributes(), LArTPC())
    assert list(view.hits) == ["throw3"]
    assert len(view.hits["throw3"]) == events.events.voxels_per_event[3]
    assert view.particle.event_id == 1003
    with pytest.raises(UsageError, match=r"event 3 is not in .*some.h5, which holds 5 events with ids 1000 to 1004"):
        view_from_file(file, 3, _attributes(), LArTPC())

    events.truth.event_id[:] += FIRST_EVENT_ID["val"] - 1000
    write_events(file, [events], _attributes(split="val"))
    for number in (3, FIRST_EVENT_ID["val"] + 3):
        assert view_from_file(file, number, _attributes(split="val"), LArTPC()).particle.event_id == 1_000_000_003


@pytest.mark.slow
def test_an_event_and_a_data_set_are_drawn(tiny_plugin: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    common = ("--plugin", str(tiny_plugin), "--cache", str(cache))
    with chdir(tmp_path):
        shown = CliRunner().invoke(app, ["show", "3", "--dataset", "tiny", "--point", "throw2", *common])
        assert shown.exit_code == 0, shown.output
        built = sorted(cache.rglob("*.h5"))
        plotted = CliRunner().invoke(app, ["data", "plot", "tiny", "--shift", "throws", "--out", "plots", *common])
    assert plotted.exit_code == 0, plotted.output

    stem = "event-tiny-throws-throw2-3000000003"
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"{stem}.html", f"{stem}.png"}
    assert re.search(r"event 3000000003: [\d,]+ hits at nominal, [\d,]+ hits at throw2", shown.output)
    assert "event 3000000003</title>" in (tmp_path / "pictures" / f"{stem}.html").read_text()
    with Image.open(tmp_path / "pictures" / f"{stem}.png") as picture:
        picture.verify()

    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plots == {"data-tiny-smoke-throws.png", "data-tiny-smoke-throws.svg"}
    (nominal,) = (cache / "data").glob("*/test/nominal.h5")
    for point, file in (("nominal", nominal), ("throw2", nominal.parent / "throws" / "throw2.h5")):
        events = load_labelled_file(file)
        (row,) = (line.split() for line in plotted.output.splitlines() if line.startswith(f"{point} "))
        assert row[2] == str(len(events))
        assert float(row[4]) == pytest.approx(float(events.events.features.astype(np.float64).mean()), abs=0.06)
        assert float(row[5]) == pytest.approx(np.median(events.events.voxels_per_event), abs=0.51)

    # What show did not need, plot does not build.
    missing = "lacks throw1, throw3, throw4, throw5, throw6; `nubench data build tiny --shift throws --profile smoke`"
    assert missing in plotted.output
    assert sorted(cache.rglob("*.h5")) == built


@pytest.mark.slow
def test_an_event_with_too_few_hits_at_a_point_is_drawn_where_it_is(tiny_plugin: Path, tmp_path: Path) -> None:
    card = read_card(tiny_plugin.with_name("tiny.toml"))
    throws = card.shift("throws")
    # No charge of one of these events reaches a threshold that high.
    deaf = throws.points[0].model_copy(
        update={"name": "deaf", "parameters": {"discriminator_threshold": 1e7}, "physics_list": "QGSP_BIC"}
    )
    shift = throws.model_copy(update={"points": (deaf,)})
    card = card.model_copy(update={"shifts": (shift,)})
    dataset = Dataset(card, "smoke", LArTPC(), tmp_path, find_data(tmp_path), 1)
    point = next(point for point in shift.all_points(card.nominal) if point.name == "deaf")
    view = load_view(dataset, "test", FIRST_EVENT_ID["test"], shift, point, SilentProgress())
    assert list(view.hits) == ["nominal"]
    assert view.notes == (
        "deaf: another truth of the same primary (QGSP_BIC)",
        "not at deaf: fewer than 4 hits there",
    )

    hopeless = card.model_copy(update={"nominal": {**card.nominal, "discriminator_threshold": 1e7}, "version": 2})
    dataset = Dataset(hopeless, "smoke", LArTPC(), tmp_path, find_data(tmp_path), 1)
    with pytest.raises(UsageError, match=r"event 3000000000 is not among the test events of 'tiny' at nominal: it has"):
        load_view(dataset, "test", FIRST_EVENT_ID["test"], None, None, SilentProgress())
