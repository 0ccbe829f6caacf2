"""Results that the tests of the leaderboards share: a small board, and text that means harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nubench.results.files import submission_path, write_result
from nubench.results.schema import Result
from result_factory import make_result, result_content, with_bits

HOSTILE = (
    "</script><script>alert(1)</script>|x| $\\frac{$ [a](b) `c`\n# d _e_ \x1b[31m \" ' <img src=x onerror=alert(2)>"
)
LEVELS = {"nominal": 0.0, "x1": 1.0, "x2": 2.5, "x3": 4.0}


def example_results() -> list[Result]:
    """Three ranked rows, one of them complete, and one that is not ranked."""
    results = [make_result(seed=seed) for seed in range(3)]
    results.append(make_result("classifier", {"nominal": 0.92, "throw1": 0.7, "throw2": 0.54}, readout="head"))
    results.append(make_result("target-oracle", ranked=False))
    results.append(make_result("summary-features", {"nominal": 0.7, "throw1": 0.5, "throw2": 0.5}, backbone=None))
    return results


def hostile_results() -> list[Result]:
    """Two variants of a method whose every free text means harm."""
    return [_hostile(HOSTILE), _hostile("$x")]


def _hostile(setting: str) -> Result:
    content = result_content("hostile", config={HOSTILE: 1, "a": setting}, shift="hostile")
    content["method"] |= {"title": HOSTILE * 3, "distribution": HOSTILE}
    content["environment"] |= {"packages": {HOSTILE: HOSTILE}, "device": HOSTILE}
    content["dataset"]["classes"] = [HOSTILE, "photon", "muon"]
    content["shift"]["strength_unit"] = HOSTILE
    for point in content["points"]:
        point["parameters"] |= {HOSTILE: HOSTILE, "gain": point["strength"]}
    content["training"]["history"] = [{"step": 1, "values": {HOSTILE: 1.0}}]
    return Result.model_validate(content)


def crosstalk_result(source: str, name: str = "supcon", seed: int = 0, **change: Any) -> Result:
    """A result of the scintillator, trained at one crosstalk level and best there."""
    points = sorted(LEVELS, key=lambda point: point != source)
    accuracies = {point: 0.9 - 0.04 * abs(LEVELS[point] - LEVELS[source]) for point in points}
    content = result_content(name, accuracies, seed, shift="crosstalk", **change)
    content["dataset"] |= {"detector": "scintillator", "name": "scintillator"}
    for point in content["points"]:
        point["strength"] = LEVELS[point["point"]]
        point["parameters"] = {"crosstalk": LEVELS[point["point"]]}
    return Result.model_validate(with_bits(content))


def submit(root: Path, *results: Result) -> None:
    """Write results to where they are submitted."""
    for result in results:
        write_result(result, submission_path(root, result))
