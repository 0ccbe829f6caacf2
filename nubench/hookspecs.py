"""Every extension point of nubench, one screen.

A plugin is a module (found through the entry-point group ``nubench``, or given as ``--plugin FILE.py``) that
defines some of these functions with the marker ``nubench.hookimpl``. nubench's own methods, detectors and
data sets come through the same hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import Detector
    from nubench.methods import Method

PROJECT = "nubench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_methods() -> Iterable[type[Method]]:  # type: ignore[empty-body]
    """Return the training methods that this plugin brings, as subclasses of :class:`nubench.methods.Method`."""


@hookspec
def register_detectors() -> Iterable[Detector]:  # type: ignore[empty-body]
    """Return the detector responses that this plugin brings, see :class:`nubench.detectors.Detector`."""


@hookspec
def register_datasets() -> Iterable[Traversable]:  # type: ignore[empty-body]
    """Return the data-set cards (TOML files) that this plugin brings, see :mod:`nubench.cards`."""


@hookspec
def register_backbones() -> Iterable[BackboneDesign]:  # type: ignore[empty-body]
    """Return the networks that this plugin brings, see :class:`nubench.backbone_designs.BackboneDesign`."""
