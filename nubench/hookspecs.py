"""Every extension point of nubench, one screen.

A plugin is a module (found through the entry-point group ``nubench``, or given as ``--plugin FILE.py``) that
defines some of these functions with the marker ``nubench.hookimpl``. What nubench brings itself comes through the same
hooks. Each is called once, when plugins are loaded. `docs/plugins.md` has an example of every one.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import Detector
    from nubench.evaluation.metrics import Metric
    from nubench.evaluation.selectors import Selector
    from nubench.leaderboard.columns import Column
    from nubench.methods import Method
    from nubench.shifts import ShiftAddition

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
    """Return the data-set cards (TOML files) that this plugin brings, see :mod:`nubench.datasets.cards`."""


@hookspec
def register_backbones() -> Iterable[BackboneDesign]:  # type: ignore[empty-body]
    """Return the networks that this plugin brings, see :class:`nubench.backbone_designs.BackboneDesign`."""


@hookspec
def register_shifts() -> Iterable[ShiftAddition]:  # type: ignore[empty-body]
    """Return the shifts that this plugin adds to data sets, see :class:`nubench.shifts.ShiftAddition`."""


@hookspec
def register_selectors() -> Iterable[Selector]:  # type: ignore[empty-body]
    """Return the selectors that this plugin brings, see :class:`nubench.evaluation.selectors.Selector`."""


@hookspec
def register_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Return the metrics that this plugin adds to results, see :class:`nubench.evaluation.metrics.Metric`."""


@hookspec
def register_columns() -> Iterable[Column]:  # type: ignore[empty-body]
    """Return the columns that this plugin adds to leaderboards, see :class:`nubench.leaderboard.columns.Column`."""
