"""A study as a TOML file: figures, each a grid of methods and source points on one shift."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nubench.errors import DataError, NubenchError, UsageError, unknown_name
from nubench.problems import in_words, problems_of
from nubench.profiles import profile_called
from nubench.shifts import NOMINAL, Name
from nubench.storage.foreign_text import parsed_toml, read_text

#: A study of hundreds of figures is smaller.
MOST_BYTES: Final = 1_000_000

#: ``bars``: accuracy and its change at every point, a picture for each source. ``lines``: accuracy against the strength
#: of the shift, all sources in one picture.
Kind = Literal["bars", "lines"]
Setting = bool | int | float | str


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FigureSpec(_Model):
    """One figure of a study, and the runs behind it.

    Attributes:
        name: unique in the study; names its files.
        title: one line, above it.
        kind: how it is drawn.
        dataset, shift: their names.
        sources: points of the shift that methods are trained at.
        methods: their names, in the order of the table.
        settings: of a method, by its name: what differs from its defaults and the profile's.
    """

    name: Name
    title: str
    kind: Kind
    dataset: str
    shift: str
    sources: tuple[str, ...] = Field((NOMINAL,), min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    settings: Mapping[str, Mapping[str, Setting]] = {}

    @model_validator(mode="after")
    def _says_nothing_twice_or_in_vain(self) -> FigureSpec:
        for what, names in (("sources", self.sources), ("methods", self.methods)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} names one twice: {', '.join(names)}")
        if strangers := sorted(set(self.settings) - set(self.methods)):
            raise ValueError(f"settings of {', '.join(strangers)}, which is not among its methods")
        return self


class Study(_Model):
    """A study.

    Attributes:
        name: of its file.
        title, description: for people.
        profile: the budget of every run.
        backbone: None for the profile's.
        seeds: how many of each cell, from 0 on; None for as many as the profile asks for.
        settings: of every method that has a setting of that name; those of a figure go before them.
        figures: what it shows.
    """

    name: Name
    title: str
    description: str = ""
    profile: str
    backbone: str | None = None
    seeds: int | None = Field(None, ge=1)
    settings: Mapping[str, Setting] = {}
    figures: tuple[FigureSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Study:
        names = [figure.name for figure in self.figures]
        if len(set(names)) < len(names):
            raise ValueError(f"two figures have the same name: {', '.join(names)}")
        return self

    @property
    def all_seeds(self) -> range:
        """The seeds of every cell."""
        return range(self.seeds or profile_called(self.profile).seeds)

    def with_figures(self, names: Collection[str]) -> Study:
        """The same study with some of its figures.

        Raises:
            UsageError: when it has none of a name.
        """
        known = [figure.name for figure in self.figures]
        for name in names:
            if name not in known:
                raise unknown_name("figure", name, known)
        return self.model_copy(update={"figures": tuple(f for f in self.figures if f.name in names)})


def read_study(path: Path) -> Study:
    """Read and check a study; the names of methods, shifts and points are checked when it is opened.

    Raises:
        UsageError: when there is no such file, a key is unknown or the profile does not exist.
        DataError: when the file is no TOML, or a value is missing or cannot be accepted.
    """
    try:
        content = parsed_toml(read_text(path, MOST_BYTES))
    except NubenchError as error:
        raise UsageError(f"study {str(path)!r} cannot be read: {error}") from error
    except ValueError as error:
        raise DataError(f"study {path} is not valid TOML: {error}") from error
    _check_keys(path, content, set(Study.model_fields) - {"name"}, "key")
    figures = content.get("figures", [])
    for figure in figures if isinstance(figures, list) else ():
        if isinstance(figure, dict):
            _check_keys(path, figure, FigureSpec.model_fields, "figure key")
    try:
        study = Study.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        # A figure that is refused is missing afterwards, which pydantic says as well.
        every = problems_of(error)
        found = [problem for problem in every if problem.kind != "too_short"] or every
        raise DataError(f"study {path}: {in_words(found)}") from error
    profile_called(study.profile)
    return study


def _check_keys(path: Path, content: Mapping[str, object], known: Iterable[str], what: str) -> None:
    known = list(known)
    for key in content:
        if key not in known:
            raise UsageError(f"study {path}: {unknown_name(what, key, known)}")
