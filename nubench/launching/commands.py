"""What a job is given to do, as a command line: one cell of a grid, or the data that cells need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from nubench.shifts import NOMINAL

if TYPE_CHECKING:
    from nubench.runs.request import Request


class _Command(BaseModel):
    """What all commands have.

    Attributes:
        processes: of Geant4; None for as many as there are cores. The result does not depend on it, nor does the name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int | None = Field(None, ge=1)

    def _digest(self) -> str:
        content = self.model_dump(mode="json", exclude={"processes"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def _places(self, cache: Path, leaderboards: Path) -> list[str]:
        words = [] if self.processes is None else ["--processes", str(self.processes)]
        return [*words, "--cache", str(cache), "--leaderboards", str(leaderboards)]


class RunCommand(_Command):
    """One training and its scores: the options of one ``nubench run``.

    Attributes:
        method, shift, source, seed, profile, dataset, settings, backbone, engine, device, sealed: as the options of
            that name; None where the command's default is meant.
        devices: that share the training.
        plugins: files.
    """

    method: str
    shift: str
    source: str = NOMINAL
    seed: int = Field(0, ge=0)
    profile: str = "smoke"
    dataset: str | None = None
    settings: Mapping[str, str] = {}
    backbone: str | None = None
    engine: str = "native"
    device: str = "auto"
    sealed: bool = True
    devices: int = Field(1, ge=1)
    plugins: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls,
        request: Request,
        seed: int,
        plugins: Iterable[Path] = (),
        *,
        sealed: bool = True,
        devices: int = 1,
        processes: int | None = None,
    ) -> RunCommand:
        """The command that runs one seed of a request."""
        return cls(
            method=request.method,
            shift=request.shift,
            source=request.source,
            seed=seed,
            profile=request.profile,
            dataset=request.dataset,
            settings={name: str(value) for name, value in (request.settings or {}).items()},
            backbone=request.backbone,
            engine=request.engine,
            device=request.device,
            sealed=sealed,
            devices=devices,
            plugins=tuple(file.absolute() for file in plugins),
            processes=processes,
        )

    @property
    def name(self) -> str:
        """Readable, and different for different cells: the name of its folder."""
        words = (self.method, self.shift, self.source, self.profile)
        return f"{'-'.join(word.replace(':', '.') for word in words)}-seed{self.seed}-{self._digest()}"

    @property
    def place(self) -> tuple[object, ...]:
        """Which cell of a grid it is, on whatever device and with whatever plugins."""
        settings = tuple(sorted(self.settings.items()))
        return (self.method, self.dataset, self.shift, self.source, self.profile, self.backbone, settings, self.seed)

    def arguments(self, cache: Path, leaderboards: Path) -> list[str]:
        """What stands behind ``nubench`` to run it."""
        words = ["run", "--method", self.method, "--shift", self.shift, "--source", self.source]
        words += ["--profile", self.profile, "--seed", str(self.seed)]
        words += ["--engine", self.engine, "--device", self.device, "--sealed" if self.sealed else "--no-sealed"]
        words += ["--devices", str(self.devices)] if self.devices > 1 else []
        for option, value in (("--dataset", self.dataset), ("--backbone", self.backbone)):
            words += [option, value] if value is not None else []
        for name, setting in self.settings.items():
            words += ["--set", f"{name}={setting}"]
        words += [word for plugin in self.plugins for word in ("--plugin", str(plugin))]
        return [*words, *self._places(cache, leaderboards)]


class DataCommand(_Command):
    """The data that some cells need, made by one job before them: the options of one ``nubench run --only-data``."""

    dataset: str | None
    shift: str
    profile: str
    methods: tuple[str, ...]
    sources: tuple[str, ...]
    plugins: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"data-{self.shift.replace(':', '.')}-{self.profile}-{self._digest()}"

    def arguments(self, cache: Path, leaderboards: Path) -> list[str]:
        """What stands behind ``nubench`` to make them."""
        words = ["run", "--only-data", "--shift", self.shift, "--profile", self.profile, "--device", "cpu"]
        words += [word for method in self.methods for word in ("--method", method)]
        words += [word for source in self.sources for word in ("--source", source)]
        words += ["--dataset", self.dataset] if self.dataset is not None else []
        words += [word for plugin in self.plugins for word in ("--plugin", str(plugin))]
        return [*words, *self._places(cache, leaderboards)]


def data_for(cells: Iterable[RunCommand]) -> dict[DataCommand, list[RunCommand]]:
    """Group cells by the data that they share; what a group needs of the data set is made by one command."""
    groups: dict[tuple[Any, ...], list[RunCommand]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.shift, cell.profile, cell.plugins, cell.processes), []).append(cell)
    return {
        DataCommand(
            dataset=dataset,
            shift=shift,
            profile=profile,
            methods=tuple(dict.fromkeys(cell.method for cell in group)),
            sources=tuple(dict.fromkeys(cell.source for cell in group)),
            plugins=plugins,
            processes=processes,
        ): group
        for (dataset, shift, profile, plugins, processes), group in groups.items()
    }
