"""What pydantic refuses is said with field, value and what is accepted."""

from __future__ import annotations

from typing import Annotated, Any, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nubench.problems import in_words, problems_of


class Inner(BaseModel):
    views: Annotated[int, Field(gt=0)] = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inner: Inner = Inner()
    many: list[Annotated[str, Field(max_length=2)]] = []
    needed: int

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.needed % 2 == 0:
            raise ValueError("needed must be odd")
        return self


def refused(content: dict[str, Any]) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(content)
    return caught.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"needed": 1, "inner": {"views": -3}}, "inner.views = -3: Input should be greater than 0"),
        ({"needed": 1, "many": ["ab", "abc"]}, "many.1 = 'abc': String should have at most 2 characters"),
        ({"needed": None}, "needed = None: Input should be a valid integer"),
        ({"needed": 1, "more": True}, "more = True: Extra inputs are not permitted"),
        # Neither the table that lacks a key nor one that stands in the place of a number is repeated.
        ({"many": ["a"]}, "needed: Field required"),
        ({"needed": {"a": 1}}, "needed: Input should be a valid integer"),
        # A key may hold what a terminal obeys; values are shown as Python writes them.
        ({"needed": 1, "\x1b[2J": "\x1b[2J"}, " [2J = '\\x1b[2J': Extra inputs are not permitted"),
        # Of our own checks the sentence alone.
        ({"needed": 2}, "needed must be odd"),
    ],
)
def test_a_problem_names_field_value_and_what_is_accepted(content: dict[str, Any], words: str) -> None:
    assert [str(problem) for problem in problems_of(refused(content))] == [words]


def test_long_values_are_cut() -> None:
    problem = problems_of(refused({"needed": "x" * 100_000}))[0]
    assert problem.field == "needed"
    assert len(str(problem)) < 1000


def test_of_many_problems_the_first_are_said_and_the_others_counted() -> None:
    found = problems_of(refused({"needed": 1, "many": ["aaa"] * 5}))
    assert len(found) == 5
    assert in_words(found).count("at most 2 characters") == 3
    assert in_words(found).endswith("; and 2 more")
    assert "more" not in in_words(found[:3])
