"""Checks of what a method declares, is handed and hands back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from nubench.authoring.comparing import ROUNDING, difference_of
from nubench.authoring.synthetic import CLASSES
from nubench.authoring.trial import Outputs, Trial, digest_of_arrays, digest_of_view
from nubench.authoring.verdicts import CheckFailedError
from nubench.errors import NubenchError
from nubench.methods import MethodConfig
from nubench.profiles import PROFILES


def check_config(trial: Trial) -> str:
    """The settings are a model of pydantic's that refuses what it does not know, for every profile."""
    from nubench.runs.request import make_config

    config = trial.method.Config
    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        raise CheckFailedError(f"Config is {config!r}, no subclass of nubench.methods.MethodConfig")
    try:
        config.model_validate({"no_setting_has_this_name": 1})
    except ValidationError as error:
        unknown = any(problem["type"] == "extra_forbidden" for problem in error.errors())
    else:
        unknown = False
    if not unknown:
        raise CheckFailedError("Config accepts settings that it does not have", "do not change model_config in Config")
    strangers = sorted(set(trial.method.profiles) - set(PROFILES))
    if strangers:
        raise CheckFailedError(f"profiles has settings for {strangers}; the profiles are {', '.join(PROFILES)}")
    for profile in PROFILES.values():
        try:
            make_config(trial.method, profile, {})
        except NubenchError as error:
            raise CheckFailedError(str(error)) from error
    if trial.method.target_access == "labelled" and trial.method.ranked:
        raise CheckFailedError("the method sees labels of the target and is ranked", "set ranked = False in the class")
    bare = [name for name, field in config.model_fields.items() if not field.description]
    without = f"; no description: {', '.join(bare)}" if bare else ""
    return f"{len(config.model_fields)} settings, valid for {len(PROFILES)} profiles{without}"


def check_fit(trial: Trial) -> str:
    """A training on a few events ends with a model."""
    from nubench.methods import Model

    fitted = trial.fitted
    if not isinstance(fitted.model, Model):
        raise CheckFailedError(
            f"fit returned {type(fitted.model).__name__}",
            "return a nubench.methods.Model, such as nubench.training.NetworkModel",
        )
    return f"{len(trial.train.labels)} events, {fitted.steps} steps reported"


def check_target_access(trial: Trial) -> str:
    """What is read of the target is what the class declares."""
    access = trial.method.target_access
    allowed = {"none": set(), "unlabelled": {"target"}, "labelled": {"target", "target_labels"}}[access]
    undeclared = sorted(trial.reads - allowed)
    if undeclared:
        needed = "labelled" if "target_labels" in undeclared else "unlabelled"
        raise CheckFailedError(
            f"fit reads {', '.join(f'data.{name}' for name in undeclared)} and declares target_access = {access!r}",
            f"set target_access = {needed!r} in the class" + (" and ranked = False" if needed == "labelled" else ""),
        )
    if access == "none":
        return "declares 'none' and reads nothing of the target"
    if "target" not in trial.reads and not trial.reads:
        return f"declares {access!r} but never reads data.target; with 'none' one training serves all points"
    return f"declares {access!r} and reads {', '.join(f'data.{name}' for name in sorted(trial.reads))}"


def check_inputs(trial: Trial) -> str:
    """Neither fit nor the model changes the arrays that it is handed."""
    untouched = digest_of_view(trial.view())
    if digest_of_view(trial.fitted.view) != untouched:
        raise CheckFailedError("fit changed the events or labels that it was handed")
    events = trial.test
    before = digest_of_arrays(events.offsets, events.coords, events.features)
    trial.apply(trial.fitted.model, events)
    if digest_of_arrays(events.offsets, events.coords, events.features) != before:
        raise CheckFailedError("the model changed the events that it was handed")
    return "all arrays are as they were"


def check_outputs(trial: Trial) -> str:
    """Read-outs have the declared shapes and hold finite float32 numbers; probabilities sum to one."""
    found = trial.outputs.named()
    needed = {"head": "log_probabilities", "probe": "embed"}[trial.method.ranked_by]
    if needed not in found:
        raise CheckFailedError(
            f"ranked_by is {trial.method.ranked_by!r} but the model's {needed} returns None",
            f"override {needed} in the model, or rank by the other read-out",
        )
    for name, rows in found.items():
        if not isinstance(rows, np.ndarray) or rows.ndim != 2:
            shape = getattr(rows, "shape", None)
            raise CheckFailedError(
                f"{name} returned {type(rows).__name__} of shape {shape}; expected a NumPy array (E, columns)"
            )
        if rows.dtype != np.float32:
            raise CheckFailedError(
                f"{name} returned {rows.dtype}; expected float32", f"end {name} with .astype(np.float32)"
            )
        wrong = np.unique((~np.isfinite(rows)).nonzero()[0])
        if len(wrong):
            raise CheckFailedError(
                f"{name} returned numbers that are not finite, first for event {wrong[0]} of {len(rows)}"
            )
    scores = found.get("log_probabilities")
    if scores is not None:
        if scores.shape[1] != len(CLASSES):
            raise CheckFailedError(
                f"log_probabilities has {scores.shape[1]} columns for {len(CLASSES)} classes",
                "take the number of classes from len(data.classes)",
            )
        sums = np.exp(scores.astype(np.float64)).sum(axis=1)
        if np.abs(sums - 1).max() > 0.01:
            raise CheckFailedError(
                f"the probabilities of an event sum to {sums[np.abs(sums - 1).argmax()]:.3g}",
                "return natural logarithms of normalised probabilities, such as those of log_softmax",
            )
    one_by_one = Outputs(trial.fitted.model.embed(trial.test), trial.fitted.model.log_probabilities(trial.test)).named()
    if set(one_by_one) != set(found) or any(difference_of(one_by_one[name], found[name]) > ROUNDING for name in found):
        raise CheckFailedError(
            "outputs gives other numbers than embed and log_probabilities", "remove or correct outputs"
        )
    return ", ".join(f"{name} {rows.shape}" for name, rows in found.items())


def check_events(trial: Trial) -> str:
    """There is one row for each event, also for one with a single voxel and for one with thousands."""
    sizes = trial.test.voxels_per_event
    for name, rows in trial.outputs.named().items():
        if len(rows) != len(sizes):
            raise CheckFailedError(
                f"{name} returned {len(rows)} rows for {len(sizes)} events of {sizes.min()} to {sizes.max()}"
            )
    return f"{len(sizes)} events of {sizes.min()} to {sizes.max():,} voxels, as many rows"


def check_record(trial: Trial) -> str:
    """What the model says of itself can be written into a result."""
    from nubench.results.schema import Progress, Training

    model = trial.fitted.model
    for name in ("number_of_parameters", "backbone_parameters"):
        value = getattr(model, name)
        if not isinstance(value, int) or value < 0:
            raise CheckFailedError(f"{name} is {value!r}; expected a whole number, 0 or above")
    record: Mapping[str, Any] = model.training_record
    if not record:
        return f"{model.number_of_parameters:,} parameters; no record of the training"
    try:
        history = tuple(Progress(step=views, values={"loss": loss}) for views, loss in record["history"])
        Training(steps=record["steps"], events_seen=record["events"], seconds=record["seconds"], history=history)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckFailedError(f"training_record cannot be stored: {type(error).__name__}: {error}") from error
    return f"{model.number_of_parameters:,} parameters, {record['steps']} steps"
