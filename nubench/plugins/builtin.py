"""nubench's own plugin: what the core brings itself, through the hooks that anybody uses."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from nubench.hookspecs import hookimpl

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import Detector
    from nubench.evaluation.selectors import Selector


@hookimpl
def register_detectors() -> Iterable[Detector]:
    """The liquid-argon time projection chamber and the scintillator of cubes."""
    from nubench.detectors import LArTPC, ScintillatorCubes

    return [LArTPC(), ScintillatorCubes()]


@hookimpl
def register_datasets() -> Iterable[Traversable]:
    """The cards in ``datasets/``."""
    return [card for card in files("nubench_datasets").iterdir() if card.name.endswith(".toml")]


@hookimpl
def register_backbones() -> Iterable[BackboneDesign]:
    """The presets of the sparse ConvNeXt V2."""
    from nubench.backbone_designs import preset_designs

    return preset_designs()


@hookimpl
def register_selectors() -> Iterable[Selector]:
    """The selectors of the core, the oracle among them."""
    from nubench.evaluation.selectors import SELECTORS

    return SELECTORS
