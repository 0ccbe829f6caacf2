"""Result files: names, writing, reading. Their content is described in :mod:`nubench.results.schema`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue, ValidationError

from nubench.errors import DataError
from nubench.problems import in_words, problems_of
from nubench.results.fields import ReadoutName, TargetAccess
from nubench.results.schema import (
    NOT_COMPARED,
    SCHEMA_VERSION,
    Backbone,
    Cost,
    Dataset,
    Environment,
    Method,
    PointResult,
    Profile,
    Progress,
    Result,
    Shift,
    Training,
    Validation,
)
from nubench.results.scores import Readouts, Scores
from nubench.shifts import NOMINAL
from nubench.storage.checked_json import with_checksum, without_checksum
from nubench.storage.files import write_atomically
from nubench.storage.foreign_text import parsed_json, read_text

__all__ = [
    "NOT_COMPARED",
    "SCHEMA_VERSION",
    "SUBMISSIONS",
    "Backbone",
    "Cost",
    "Dataset",
    "Environment",
    "Method",
    "PointResult",
    "Profile",
    "Progress",
    "ReadoutName",
    "Readouts",
    "Result",
    "Scores",
    "Shift",
    "TargetAccess",
    "Training",
    "Validation",
    "experiment",
    "fingerprint",
    "load_results",
    "read_result",
    "shift_folder",
    "submission_path",
    "write_result",
]


#: The folder of submitted results in that of the leaderboards.
SUBMISSIONS: Final = "submissions"

#: A million test events at 40 points by two read-outs take some 20 MB; a file beyond that is not parsed.
MOST_BYTES: Final = 20_000_000


def fingerprint(value: JsonValue) -> str:
    """Return 8 hexadecimal digits that differ for different settings, but not for 1 and 1.0 or another order of keys.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1.0})
        True
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:8]


def canonical(value: JsonValue) -> str:
    """Return the JSON text that equal settings share: keys sorted, whole floats written as integers."""
    return json.dumps(_whole_floats_as_integers(value), sort_keys=True, allow_nan=False)


def experiment(result: Result) -> dict[str, Any]:
    """Return what was asked for, the seed included: two results with the same are repetitions of one run.

    Of the detector parameters, those count that some point moves. What is the same everywhere is fixed by the recipe of
    the data set, and a parameter that a later version adds, switched off, must not part results that saw equal events.
    The version of the schema counts from 2 on: file names of version 1, which are made from this, stay what they are.
    """
    method = result.method
    later = {"schema": result.schema_version} if result.schema_version > 1 else {}
    return {
        **later,
        "method": [method.name, method.distribution, method.version, method.config, method.ranked_by],
        "dataset": result.dataset.model_dump(mode="json", exclude={"events", "checksums"}),
        "shift": [result.shift.name, _moved_parameters(result)],
        "backbone": result.backbone.preset if result.backbone else None,
        "profile": [result.profile.name, compared_settings(result.profile)],
        "seed": result.seed,
    }


def _moved_parameters(result: Result) -> list[list[Any]]:
    """Each point with the parameters that are not the same at all points."""
    every = [point.parameters for point in result.points]
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for parameters in every:
        for name, value in parameters.items():
            values[name][canonical(value)] += 1
    moved = {name for name, found in values.items() if max(found.values()) < len(every)}
    return [
        [point.point, {name: value for name, value in point.parameters.items() if name in moved}]
        for point in result.points
    ]


def compared_settings(profile: Profile) -> dict[str, JsonValue]:
    """Return the settings that must be equal for two results to share a table."""
    return {name: value for name, value in profile.settings.items() if name not in NOT_COMPARED}


def submission_path(root: Path, result: Result) -> Path:
    """Return where a result is kept below ``root``, the folder of the leaderboards.

    The name ends with the fingerprint of the experiment, so that a run with other settings never replaces
    another's file, and a repetition replaces its own:
    ``submissions/<detector>/<shift>/<profile>/<method>-seed<seed>-<fingerprint>.json``, where ``<shift>`` is
    :func:`shift_folder`.
    """
    folder = root / SUBMISSIONS / result.dataset.detector / shift_folder(result) / result.profile.name
    return folder / f"{result.method.name}-seed{result.seed}-{fingerprint(experiment(result))}.json"


def shift_folder(result: Result) -> str:
    """Return the name of the folder of a shift: with the source point, where that is not nominal."""
    shift = result.shift
    return shift.name if shift.source == NOMINAL else f"{shift.name}-from-{shift.source}"


def write_result(result: Result, path: Path) -> None:
    """Write a result as JSON, whole or not at all.

    Raises:
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    write_atomically(path, result_text(result).encode())


def result_text(result: Result) -> str:
    """A result as a file holds it: JSON with its checksum."""
    content = with_checksum(result.model_dump(mode="json"))
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read_result(path: Path) -> Result:
    """Read a result and check it.

    Raises:
        DataError: when the file is missing, larger than 20 MB, no JSON, of a newer schema, contradicts itself, or is
            not what its checksum says; the message names the file and the reason.
    """
    try:
        content = parsed_json(read_text(path, MOST_BYTES))
    except ValueError as error:
        raise DataError(f"{path}: not a result file, no valid JSON: {error}") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(f"{path}: not a result file, it has no schema_version")
    version = content["schema_version"]
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, the newest known here; upgrade nubench"
        )
    try:
        # Files of version 1, and those that other programs wrote, have no checksum.
        text = json.dumps(without_checksum(content, required=False))
        # Strict: a number in quotes, or 0.5 events, is a sign of a hand-made file.
        return Result.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(f"{path}: not a valid result file: {in_words(problems_of(error))}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged, or was changed by hand: {error}") from error


def load_results(directory: Path) -> list[Result]:
    """Read every ``*.json`` below a folder, in the order of the paths.

    Raises:
        DataError: when the folder is missing, a file cannot be read, or two files hold the same experiment.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder")
    known: dict[str, Path] = {}
    results = []
    for path in sorted(directory.rglob("*.json")):
        result = read_result(path)
        key = canonical(experiment(result))
        if key in known:
            raise DataError(f"{path}: the same method, settings and seed as {known[key]}; remove one of them")
        known[key] = path
        results.append(result)
    return results


def _whole_floats_as_integers(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _whole_floats_as_integers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_floats_as_integers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
