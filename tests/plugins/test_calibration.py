from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nubench.containers import Events
from nubench.datasets.cards import Normalisation
from nubench.errors import UsageError
from nubench.feature_maps import MappedModel
from nubench.methods import Context, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench.simulation.lartpc import LArTPCParameters, draw_parameters, simulate, simulate_draws
from nubench.simulation.lartpc.fitting import FittedDetector, FittedParameter
from nubench.simulation.lartpc.scale import Scale, scale_of
from nubench.simulation.resimulation import Resimulator
from nubench.storage.checked_json import read_checked, write_checked
from nubench.training import loop as training
from nubench_plugins import calibration
from nubench_plugins.calibration import (
    FIT_FILE,
    MOST_BYTES,
    NOMINAL,
    Calibration,
    SourceTruth,
    report,
    to_nominal_scale,
)
from short_tracks import Sample, short_tracks

TRUTH = LArTPCParameters(gain=4.2, v_pedestal=700.0, discriminator_threshold=6800.0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source() -> Sample:
    return short_tracks(160, 1)


@pytest.fixture(scope="module")
def view(source: Sample) -> TrainingView:
    """Two classes: tracks whose energy deposit is below the median, and above."""
    deposits, ids = source
    energy = np.add.reduceat(deposits.energy, deposits.offsets[:-1])
    labels = (energy > np.median(energy)).astype(np.int64)
    events = simulate(deposits, ids, NOMINAL, 9)
    assert events.voxels_per_event.min() > 0
    return TrainingView(
        classes=("little", "much"),
        train=events,
        train_labels=labels,
        val=events,
        val_labels=labels,
        normalisation=Normalisation(offset=73.9, scale=20, unit="ADC counts", how="test"),
        voxel_size_cm=0.38,
        _method="calibration",
        _target=simulate(*short_tracks(160, 2), TRUTH, 9),
        _resimulator=lambda: Resimulator(deposits, ids, simulate_draws, draw_parameters),
    )


def _context(directory: Path) -> Context:
    directory.mkdir(exist_ok=True)
    return Context(3, torch.device("cpu"), "smoke", "tiny", "native", directory, SilentProgress())


def _fit(view: TrainingView, directory: Path) -> MappedModel:
    settings = {"views": 960, "batch_size": 32, "learning_rate": 5e-3, "events": 50}
    return Calibration(make_config(Calibration, PROFILES["smoke"], settings)).fit(view, _context(directory))


@pytest.fixture(scope="module")
def fitted_once(
    view: TrainingView, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> tuple[MappedModel, Path]:
    directory = tmp_path_factory.mktemp("calibration") / "one"
    return _fit(view, directory), directory


def test_the_detector_is_fitted_and_the_classifier_works_at_the_target(
    fitted_once: tuple[MappedModel, Path], source: Sample, view: TrainingView
) -> None:
    model, directory = fitted_once
    point = FittedDetector.model_validate(read_checked(directory / FIT_FILE, MOST_BYTES)).detector(NOMINAL)
    assert scale_of(point).offset == pytest.approx(scale_of(TRUTH).offset, abs=3)
    scores = model.log_probabilities(simulate(*source, TRUTH, 9))
    assert scores is not None
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert np.mean(scores.argmax(1) == view.train_labels) > 0.65
    # The map holds for the target alone: a probe fitted on source events behind it would be misled.
    assert model.embed(view.train) is None
    assert model.training_record["views"] == 960
    assert model.number_of_parameters == model.backbone_parameters + 2 * (128 + 1)


def test_a_finished_training_simulates_nothing(fitted_once: tuple[MappedModel, Path], view: TrainingView) -> None:
    model, directory = fitted_once
    without = replace(view, _resimulator=None)
    assert np.array_equal(_fit(without, directory).log_probabilities(view.target), model.log_probabilities(view.target))


def test_a_killed_run_goes_on_to_the_same_result(
    fitted_once: tuple[MappedModel, Path], view: TrainingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, directory = fitted_once
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    steps = 0

    def killed(*arguments: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 11:
            raise KeyboardInterrupt
        return augmented(*arguments)

    augmented = calibration.augmented
    monkeypatch.setattr(calibration, "augmented", killed)
    with pytest.raises(KeyboardInterrupt):
        _fit(view, tmp_path / "two")
    assert (tmp_path / "two" / FIT_FILE).read_bytes() == (directory / FIT_FILE).read_bytes()
    # The fit is not made again, and the steps that were done are not either.
    monkeypatch.setattr(calibration, "fit_detector", None)
    again = _fit(view, tmp_path / "two")
    assert steps == 11 + 20
    assert np.array_equal(again.log_probabilities(view.target), model.log_probabilities(view.target))


@pytest.mark.parametrize("damage", ["a digit", "the end", "other content"])
def test_a_damaged_fit_is_made_again(
    damage: str,
    fitted_once: tuple[MappedModel, Path],
    view: TrainingView,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, directory = fitted_once
    shutil.copytree(directory, tmp_path / "copy")
    file = tmp_path / "copy" / FIT_FILE
    whole = file.read_bytes()
    fit = FittedDetector.model_validate(read_checked(file, MOST_BYTES))
    if damage == "a digit":
        place = whole.index(b'"value": ') + len(b'"value": ')
        digit = b"8" if whole[place : place + 1] != b"8" else b"7"
        file.write_bytes(whole[:place] + digit + whole[place + 1 :])
    elif damage == "the end":
        file.write_bytes(whole[:-40])
    else:
        write_checked(file, {"parameters": []})
    calls = []
    monkeypatch.setattr(calibration, "fit_detector", lambda *_, **__: calls.append(1) or fit)
    again = _fit(view, tmp_path / "copy")
    assert calls == [1]
    assert file.read_bytes() == whole
    # The training was finished, and with the same fit it is the same.
    assert np.array_equal(again.log_probabilities(view.target), model.log_probabilities(view.target))


def test_without_true_deposits_the_reason_is_named(view: TrainingView, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="imported without deposits"):
        _fit(replace(view, _resimulator=None), tmp_path)


def test_counts_are_brought_to_the_nominal_scale(source: Sample) -> None:
    # Only the scale differs: the same hits, read by another digitiser.
    point = LArTPCParameters(gain=4.3, v_ref=1250.0, v_pedestal=650.0)
    seen, at_nominal = (simulate(*source, one, 9) for one in (point, NOMINAL))
    assert np.array_equal(seen.coords, at_nominal.coords)
    difference = to_nominal_scale(seen, point).features - at_nominal.features
    # Half a count of each rounding.
    assert np.abs(difference[seen.features < 255]).max() < 0.5 * (1 + scale_of(NOMINAL).slope / scale_of(point).slope)
    assert np.abs(seen.features - at_nominal.features).max() > 10


def test_the_source_is_seen_by_the_detector_and_never_empty(source: Sample, view: TrainingView, tmp_path: Path) -> None:
    events = SourceTruth(view, _context(tmp_path)).seen_by(TRUTH)
    assert len(events) == len(view.train)
    assert not np.array_equal(events.voxels_per_event, view.train.voxels_per_event)
    deaf = SourceTruth(view, _context(tmp_path)).seen_by(LArTPCParameters(discriminator_threshold=60_000.0))
    empty = np.flatnonzero(
        simulate(*source, LArTPCParameters(discriminator_threshold=60_000.0), 9).voxels_per_event == 0
    )
    assert len(empty) > 20
    for event in empty[:20]:
        assert _same(deaf.select(np.array([event])), view.train.select(np.array([event])))


def _same(first: Events, second: Events) -> bool:
    return np.array_equal(first.coords, second.coords) and np.array_equal(first.features, second.features)


def test_a_report_by_hand() -> None:
    fitted = FittedDetector(
        parameters=(
            FittedParameter(name="gain", nominal=4.0, width=0.13, value=4.2, error=0.02),
            FittedParameter(name="reset_noise", nominal=900.0, width=90.0, value=890.0, error=80.0),
        ),
        closed_form=Scale(1.1e-3, 80.0),
        closed_form_errors=Scale(2e-5, 0.5),
        chi_squared=20.0,
        moments=19,
        simulations=22,
        converged=True,
    )
    # Twice the range of the digitiser at the same gain is half the gain at the nominal range.
    truth = LArTPCParameters(gain=8.28, v_ref=288.0 + 2 * 1012, reset_noise=930.0)
    assert report(fitted, truth).splitlines()[2:] == [
        "| slope, closed form | 1.0119 | 1.1 ± 0.02 | 1.0473 | +2.6 | target |",
        "| offset, closed form | 73.866 | 80 ± 0.5 | 36.933 | +86.1 | target |",
        "| `gain` | 4 | 4.2 ± 0.02 | 4.14 | +3.0 | target |",
        "| `reset_noise` | 900 | 890 ± 80 | 930 | -0.5 | prior |",
    ]
