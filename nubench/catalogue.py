"""Which data sets there are: the cards that plugins bring, and the imported data sets in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nubench.cards import Card, read_card
from nubench.dataset_files import CARD_FILE, IMPORTED_FOLDER
from nubench.errors import UsageError, unknown_name
from nubench.plugins import PluginRegistry
from nubench.profiles import profile_called

if TYPE_CHECKING:
    from nubench.datasets import Dataset


def imported_cards(cache: Path) -> list[Card]:
    """The cards of the imported data sets in a cache, in the order of their names.

    Raises:
        DataError: when a card is damaged.
    """
    return [read_card(file) for file in sorted((cache / IMPORTED_FOLDER).glob(f"*/{CARD_FILE}"))]


def known_cards(registry: PluginRegistry, cache: Path) -> list[Card]:
    """Every card, those of plugins first.

    Raises:
        DataError: when a card is damaged.
    """
    return [*(read_card(registered.thing) for registered in registry.cards()), *imported_cards(cache)]


def card_called(registry: PluginRegistry, cache: Path, name: str) -> Card:
    """Find a card.

    Raises:
        UsageError: when there is none of this name.
    """
    imported = {card.name: card for card in imported_cards(cache)}
    names = [registered.name for registered in registry.cards()]
    if name in imported and name not in names:
        return imported[name]
    if name not in names and imported:
        raise unknown_name("data set", name, [*names, *imported])
    return read_card(registry.card(name).thing)


def find_card(registry: PluginRegistry, cache: Path, dataset: str | None, shift: str) -> Card:
    """The card called ``dataset``, or the one card of a plugin that has the shift.

    Raises:
        UsageError: when there is none, or more than one has the shift.
    """
    if dataset is not None:
        return card_called(registry, cache, dataset)
    cards = [read_card(registered.thing) for registered in registry.cards()]
    having = [card for card in cards if shift in {s.name for s in card.shifts}]
    if len(having) == 1:
        return having[0]
    if not having:
        raise unknown_name("shift", shift, {s.name for card in cards for s in card.shifts})
    raise UsageError(
        f"shift {shift!r} is in several data sets; choose with --dataset: {', '.join(c.name for c in having)}"
    )


def open_dataset(
    registry: PluginRegistry, cache: Path, card: Card, profile: str, processes: int | None = None
) -> Dataset:
    """The data set of a card in a cache, whether it is built or not.

    Raises:
        UsageError: when the profile or the detector does not exist.
    """
    # Listings need no simulation, and are quick without it.
    from nubench.datasets import Dataset
    from nubench.simulation.geant4 import find_data

    card.sizes_of(profile_called(profile).name)
    return Dataset(card, profile, registry.detector(card.detector).thing, cache, find_data(cache), processes)
