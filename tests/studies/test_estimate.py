"""The estimate of a study: what is measured is plausible, and what is added up follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nubench.cli.planning import Outlook
from nubench.datasets.catalogue import card_called
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.runs.grid import Planned, open_grid, states_to_run
from nubench.runs.request import Request
from nubench.studies import estimate
from nubench.studies.calibration import DataRates, NetworkRates, measure_data, measure_network
from nubench.studies.collected import CellResult

DATA = DataRates(deposit_seconds=0.01, response_seconds=0.002, deposit_bytes=20_000, event_bytes=2_000)
NETWORK = NetworkRates(view_seconds=0.001, read_seconds=0.0005, parameters=1_000, device_bytes=None, batch=32)
# Of the card `lartpc` at the profile `smoke`: events of five classes.
TRAIN, VAL, ADAPT, TEST, POINTS = 12_000, 1_000, 1_500, 1_500, 7


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured; the rates are given."""
    monkeypatch.setattr(estimate, "measure_data", lambda *arguments: (DATA, None))
    monkeypatch.setattr(estimate, "measure_network", lambda *arguments: NETWORK)
    monkeypatch.setattr(estimate, "seconds_to_start", lambda: 7.0)


def _cell(method: str, seed: int = 0) -> CellResult:
    return CellResult(Request(method, "throws", "smoke", "lartpc", "nominal", {}, device="cpu"), seed, None)


@pytest.mark.usefixtures("measured")
def test_hours_and_disk_are_sums_over_cells(tmp_path: Path) -> None:
    cells = [_cell("supcon"), _cell("supcon", 1), _cell("dann"), _cell("summary-features")]
    found = estimate.estimate_study(cells, load_plugins(), tmp_path, SilentProgress())
    supcon, dann, summary = found.groups
    reading = (TRAIN + VAL + POINTS * TEST) * 0.0005
    assert supcon.seconds == pytest.approx(2 * (80_000 * 0.001 + 7 + reading))
    reading = (POINTS * (TRAIN + VAL) + POINTS * TEST) * 0.0005
    assert dann.seconds == pytest.approx(7 * (80_000 * 0.001 + 7) + reading)
    assert (dann.trainings, summary.seconds) == (7, None)
    assert found.hours == pytest.approx((supcon.seconds + dann.seconds) / 3600)
    deposits = TRAIN + VAL + ADAPT + TEST
    events = TRAIN + VAL + POINTS * (ADAPT + TEST)
    assert found.data_seconds == pytest.approx(deposits * 0.01 + events * 0.002)
    assert found.disk_bytes > deposits * 20_000 + events * 2_000
    assert "1 cells without an estimate" in found.summary()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("method", "shift", "dataset", "profile"),
    [
        ("supcon", "throws", "lartpc", "smoke"),
        ("supcon", "throws", "lartpc", "paper"),
        ("dann", "crosstalk", "scintillator", "paper"),
        ("summary-features", "throws", "lartpc", "paper"),
    ],
)
def test_memory_and_disk_are_those_that_a_run_prints_before_it_starts(
    method: str, shift: str, dataset: str, profile: str, tmp_path: Path
) -> None:
    registry = load_plugins()
    request = Request(method, shift, profile, dataset, "nominal", {}, device="cpu")
    cells = [CellResult(request, seed, None) for seed in range(3)]
    planned = [Planned(cell) for cell in open_grid([request], range(3), registry, tmp_path, SilentProgress())]
    printed = Outlook.of(planned, states_to_run(), tmp_path)
    found = estimate.estimate_study(cells, registry, tmp_path, SilentProgress())
    assert found.memory_bytes == printed.memory
    data = printed.data.deposits * DATA.deposit_bytes + printed.data.events * DATA.event_bytes
    assert found.disk_bytes - data == pytest.approx(printed.size - printed.data.size)


@pytest.mark.usefixtures("measured")
def test_a_study_that_is_done_needs_nothing(tmp_path: Path) -> None:
    found = estimate.estimate_study([], load_plugins(), tmp_path, SilentProgress())
    assert (found.hours, found.data_seconds, found.disk_bytes, found.memory_bytes) == (0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_machine_is_measured_in_seconds(shared_cache: Path) -> None:
    registry = load_plugins()
    card = card_called(registry, shared_cache, "scintillator")
    rates, events = measure_data(card, "smoke", registry, shared_cache, 1)
    assert len(events) > 400
    # Some ten hits an event at least, and files that are not larger than the arrays in them by much.
    assert 50 < rates.event_bytes < 100_000
    assert 100 < rates.deposit_bytes < 1_000_000
    network = measure_network(registry.backbone("tiny").thing, events, card, "cpu", "native", 128, 0.1)
    assert network.parameters == 403_488
    assert network.read_seconds > 0
    assert network.view_seconds > 0
    assert (network.device_bytes, network.batch) == (None, 32)
