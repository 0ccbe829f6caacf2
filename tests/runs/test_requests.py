"""Settings of a method: who is told when one is not accepted, and with what words."""

from __future__ import annotations

from typing import Any, Self

import pytest
from pydantic import Field, model_validator

from nubench.errors import NubenchError, PluginError, UsageError
from nubench.methods import Method, MethodConfig
from nubench.profiles import PROFILES
from nubench.runs.request import make_config


class Settings(MethodConfig):
    low: int = Field(1, ge=0, description="the lower end")
    high: int = 3
    widths: list[int] = Field([8, 16], description="channels of each layer")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Sample(Method):
    name = "sample"
    title = "a method for this test"
    Config = Settings
    # Those for `paper` are a mistake of the author.
    profiles = {"paper": {"low": 7}}


@pytest.mark.parametrize(
    ("profile", "settings", "kind", "words"),
    [
        (
            "smoke",
            {"low": "-1"},
            UsageError,
            "--set low='-1' is not accepted: Input should be .* equal to 0 .*lower end",
        ),
        (
            "smoke",
            {"widths": ["8", "x"]},
            UsageError,
            r"--set widths=\['8', 'x'\] is not .* valid integer.*channels of",
        ),
        ("smoke", {"low": "2", "high": "1"}, UsageError, "--set low=2, high=1 is not accepted: low must be below high"),
        ("paper", {}, PluginError, "'sample' has settings for the profile 'paper' .* low must be below high"),
        (
            "paper",
            {"widths": [4]},
            PluginError,
            "'sample' has settings for the profile 'paper' .* low must be below high",
        ),
        ("smoke", {"hihg": "1"}, UsageError, "unknown sample setting 'hihg'; did you mean 'high'"),
    ],
)
def test_a_setting_that_is_not_accepted_is_named(
    profile: str, settings: dict[str, Any], kind: type[NubenchError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make_config(Sample, PROFILES[profile], settings)
