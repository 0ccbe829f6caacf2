"""The checks of a method, in the order in which they are made.

Each is a function from a trial to what was found. One that fails raises
:class:`~nubench.authoring.verdicts.CheckFailedError`, with what to change where the advice here does not fit; one that
cannot be made raises :class:`~nubench.authoring.verdicts.CheckSkippedError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nubench.authoring.contract_checks import (
    check_config,
    check_events,
    check_fit,
    check_inputs,
    check_outputs,
    check_record,
    check_target_access,
)
from nubench.authoring.repetition_checks import (
    check_batches,
    check_cost,
    check_determinism,
    check_device,
    check_resume,
)
from nubench.authoring.trial import Trial


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: for the listing.
        proves: what holds when it passes, one line.
        advice: what to change when it fails.
        run: the check; returns what it found.
        fits: trainings that it needs beside the first one, pieces of one counted as one; None where it needs not even
            that.
    """

    name: str
    proves: str
    advice: str
    run: Callable[[Trial], str]
    fits: int | None = 0


CHECKS: Final = (
    Check(
        "settings",
        "unknown settings are refused, every profile's are valid",
        "derive Config from nubench.methods.MethodConfig or TrainingConfig, and correct the class attribute profiles",
        check_config,
        None,
    ),
    Check(
        "fit",
        "a training on a few events ends with a model",
        "correct fit; the message says what went wrong and where",
        check_fit,
    ),
    Check(
        "target access",
        "of the target it reads what it declares",
        "set the class attribute target_access to what fit reads",
        check_target_access,
        None,
    ),
    Check(
        "inputs",
        "arrays that it is handed stay as they are",
        "copy an array before you change it: data.train.features.copy()",
        check_inputs,
    ),
    Check(
        "outputs",
        "read-outs have the right shape and type, and are finite; probabilities sum to one",
        "correct embed or log_probabilities of the model",
        check_outputs,
    ),
    Check(
        "events",
        "no event is dropped, however small or large",
        "return a row for every event in the order given, also for one with a single voxel",
        check_events,
    ),
    Check(
        "batch independence",
        "a row does not depend on the events beside it",
        "treat each event by itself: put networks in eval mode, and take means over events in fit, never in the model",
        check_batches,
    ),
    Check(
        "determinism",
        "the same seed gives the same model",
        "draw from step.generator, or from generators seeded with context.seed; never from the time or a global one",
        check_determinism,
        2,
    ),
    Check(
        "resume",
        "a killed training goes on to the same model",
        "build modules the same way each time and let nubench.training.train change them, or keep what must survive in "
        "context.directory",
        check_resume,
        2,
    ),
    Check(
        "device",
        "everything follows context.device",
        "move what you build with .to(context.device), and never call .cuda()",
        check_device,
        1,
    ),
    Check(
        "record",
        "what it says of itself can be stored",
        "return a whole number from number_of_parameters, and from training_record what nubench.training.train returns",
        check_record,
    ),
    Check("cost", "time and memory, for comparison", "", check_cost),
)
