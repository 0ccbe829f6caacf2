"""What `nubench list` shows: columns and rows of each listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nubench.cards import read_card
from nubench.plugins import PluginRegistry
from nubench.profiles import PROFILES

Listing = tuple[list[str], list[list[str]]]


def _methods(registry: PluginRegistry) -> Listing:
    rows = [
        [r.name, r.thing.title, r.thing.target_access, r.thing.ranked_by, f"{r.plugin.distribution} {r.plugin.version}"]
        for r in registry.methods()
    ]
    return ["method", "what it does", "sees of the target", "ranked by", "from"], rows


def _shifts(registry: PluginRegistry) -> Listing:
    cards = [read_card(registered.thing) for registered in registry.cards()]
    rows = []
    for card in cards:
        for shift in card.shifts:
            first = [shift.name, card.name, shift.title]
            for point in shift.points:
                rows.append([*first, point.name, f"{point.strength:.2f} {shift.strength_unit if first[0] else ''}"])
                first = ["", "", ""]
    return ["shift", "data set", "what it moves", "point", "strength"], rows


def _detectors(registry: PluginRegistry) -> Listing:
    rows = [[r.name, r.thing.title, r.thing.feature, r.plugin.distribution] for r in registry.detectors()]
    return ["detector", "what it is", "feature of a voxel", "from"], rows


def _datasets(registry: PluginRegistry) -> Listing:
    cards = [read_card(registered.thing) for registered in registry.cards()]
    rows = [
        [
            card.name,
            str(card.version),
            card.detector,
            ", ".join(card.class_names),
            ", ".join(s.name for s in card.shifts),
        ]
        for card in cards
    ]
    return ["data set", "version", "detector", "classes", "shifts"], rows


def _profiles(registry: PluginRegistry) -> Listing:
    rows = [[p.name, p.title, p.backbone, str(p.seeds), f"{p.views:,}", str(p.batch_size)] for p in PROFILES.values()]
    return ["profile", "for", "backbone", "seeds", "views", "batch"], rows


LISTINGS: Mapping[str, Callable[[PluginRegistry], Listing]] = MappingProxyType(
    {
        "methods": _methods,
        "shifts": _shifts,
        "detectors": _detectors,
        "datasets": _datasets,
        "profiles": _profiles,
    }
)
