"""What `nubench list` shows: columns and rows of each listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from nubench.datasets.cards import Card
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import PROFILES
from nubench.shifts import NOMINAL

Listing = tuple[list[str], list[list[str]]]


def _methods(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = [
        [r.name, r.thing.title, r.thing.target_access, r.thing.ranked_by, f"{r.plugin.distribution} {r.plugin.version}"]
        for r in registry.methods()
    ]
    return ["method", "what it does", "sees of the target", "ranked by", "from"], rows


def _shifts(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = []
    for card in cards:
        for shift in card.shifts:
            strengths = ", ".join(f"{point.name} ({point.strength:.3g})" for point in shift.points)
            unit = f"{shift.strength_unit}; nominal {shift.nominal_strength:g}"
            sources = ", ".join((NOMINAL, *shift.sources))
            rows.append([shift.name, card.name, shift.title, strengths, unit, sources])
        # A name that several plugins add is not the card's: it must be asked for with its distribution.
        mine = {shift.name for shift in card.shifts}
        rows += [
            [f"{r.plugin.distribution}:{r.thing.shift.name}", card.name, r.thing.shift.title, "", "", ""]
            for r in registry.shifts(card.name)
            if r.thing.shift.name not in mine
        ]
    return ["shift", "data set", "what it moves", "points and their strength", "unit", "trained at"], rows


def _detectors(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = [[r.name, r.thing.title, r.thing.feature, r.plugin.distribution] for r in registry.detectors()]
    return ["detector", "what it is", "feature of a voxel", "from"], rows


def _datasets(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
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


def _profiles(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = [[p.name, p.title, p.backbone, str(p.seeds), f"{p.views:,}", str(p.batch_size)] for p in PROFILES.values()]
    return ["profile", "for", "backbone", "seeds", "views", "batch"], rows


def _backbones(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    # torch takes a second to import, which the other listings need not wait for.
    from nubench.backbone_designs import backbone_rows

    registered = registry.backbones()
    rows = backbone_rows(r.thing for r in registered)
    columns = ["backbone", "what it is", "parameters", "operations an event, forward", "from"]
    return columns, [[*row, r.plugin.distribution] for row, r in zip(rows, registered, strict=True)]


def _selectors(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = []
    for r in registry.selectors():
        sees = "labels of the target" if r.thing.oracle else "target events" if r.thing.needs_target else "the source"
        rows.append([r.name, r.thing.title, sees, r.plugin.distribution])
    return ["selector", "what it is", "sees", "from"], rows


def _metrics(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = [
        [r.name, r.thing.title, "higher" if r.thing.higher_is_better else "lower", r.plugin.distribution]
        for r in registry.registered("register_metrics")
    ]
    return ["metric", "what it is", "better is", "from"], rows


def _columns(cards: Sequence[Card], registry: PluginRegistry) -> Listing:
    rows = [[r.name, r.thing.title, r.plugin.distribution] for r in registry.registered("register_columns")]
    return ["column", "title", "from"], rows


LISTINGS: Mapping[str, Callable[[Sequence[Card], PluginRegistry], Listing]] = MappingProxyType(
    {
        "methods": _methods,
        "shifts": _shifts,
        "detectors": _detectors,
        "datasets": _datasets,
        "profiles": _profiles,
        "backbones": _backbones,
        "selectors": _selectors,
        "metrics": _metrics,
        "columns": _columns,
    }
)
