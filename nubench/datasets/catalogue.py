"""Which data sets there are: the cards that plugins bring, with their shifts, and the imported ones in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nubench.datasets.cards import Card, read_card
from nubench.datasets.files import CARD_FILE, IMPORTED_FOLDER
from nubench.errors import UsageError, unknown_name
from nubench.plugins.added_shifts import accepted_additions, with_added_shifts
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called

if TYPE_CHECKING:
    from nubench.datasets.dataset import Dataset


def imported_cards(cache: Path) -> list[Card]:
    """The cards of the imported data sets in a cache, in the order of their names.

    Raises:
        DataError: when a card is damaged.
    """
    return [read_card(file) for file in sorted((cache / IMPORTED_FOLDER).glob(f"*/{CARD_FILE}"))]


def known_cards(registry: PluginRegistry, cache: Path) -> list[Card]:
    """Every card with the shifts that plugins add to it, those of plugins first.

    Raises:
        DataError: when a card is damaged.
    """
    cards = [*(read_card(registered.thing) for registered in registry.cards()), *imported_cards(cache)]
    return [with_added_shifts(registry, card) for card in cards]


def card_called(registry: PluginRegistry, cache: Path, name: str) -> Card:
    """Find a card, with the shifts that plugins add to it.

    Raises:
        UsageError: when there is none of this name.
    """
    return with_added_shifts(registry, _bare_card(registry, cache, name))


def find_card(registry: PluginRegistry, cache: Path, dataset: str | None, shift: str) -> Card:
    """The card called ``dataset``, or the one card of a plugin that has the shift.

    Args:
        registry: the plugins.
        cache: folder of the imported data sets.
        dataset: name of the card, or None for the one that has the shift.
        shift: its name, or ``distribution:name`` where plugins add several of that name; the card then has that one
            of them.

    Raises:
        UsageError: when there is none, or more than one has the shift.
    """
    distribution, _, name = shift.rpartition(":")
    if dataset is not None:
        bare = _bare_card(registry, cache, dataset)
        # Whether its own have this name is left to the card: some callers have none in mind.
        if not _has_shift(registry, bare, distribution, name) and distribution:
            added = {f"{r.plugin.distribution}:{r.thing.shift.name}" for r in accepted_additions(registry, bare)}
            raise unknown_name("plugin's shift", shift, added)
        return with_added_shifts(registry, bare, distribution)
    cards = [read_card(registered.thing) for registered in registry.cards()]
    having = [card for card in cards if _has_shift(registry, card, distribution, name)]
    if len(having) == 1:
        return with_added_shifts(registry, having[0], distribution)
    if not having:
        own = {s.name for card in cards for s in card.shifts}
        raise unknown_name("shift", shift, own | {r.thing.shift.name for r in registry.shifts()})
    raise UsageError(
        f"shift {shift!r} is in several data sets; choose with --dataset: {', '.join(c.name for c in having)}"
    )


def _has_shift(registry: PluginRegistry, card: Card, distribution: str, name: str) -> bool:
    """Whether a card has a shift or a plugin adds it; raises UsageError when it is not clear which plugin's."""
    adding = [r.plugin.distribution for r in accepted_additions(registry, card) if r.thing.shift.name == name]
    if distribution:
        return distribution in adding
    if len(adding) > 1:
        choices = ", ".join(f"{one}:{name}" for one in adding)
        raise UsageError(
            f"shift {name!r} of data set {card.name!r} is brought by {len(adding)} plugins; say which one: {choices}"
        )
    return bool(adding) or name in {s.name for s in card.shifts}


def _bare_card(registry: PluginRegistry, cache: Path, name: str) -> Card:
    imported = {card.name: card for card in imported_cards(cache)}
    names = [registered.name for registered in registry.cards()]
    if name in imported and name not in names:
        return imported[name]
    if name not in names and imported:
        raise unknown_name("data set", name, [*names, *imported])
    return read_card(registry.card(name).thing)


def open_dataset(
    registry: PluginRegistry, cache: Path, card: Card, profile: str, processes: int | None = None
) -> Dataset:
    """The data set of a card in a cache, whether it is built or not.

    Raises:
        UsageError: when the profile or the detector does not exist.
    """
    # Listings need no simulation, and are quick without it.
    from nubench.datasets.dataset import Dataset
    from nubench.simulation.geant4 import find_data

    card.sizes_of(profile_called(profile).name)
    return Dataset(card, profile, registry.detector(card.detector).thing, cache, find_data(cache), processes)
