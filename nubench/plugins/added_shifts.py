"""Shifts that plugins add to the cards of data sets, through the hook ``register_shifts``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pydantic import ValidationError

from nubench.datasets.cards import Card, read_card
from nubench.errors import PluginError
from nubench.problems import in_words, problems_of
from nubench.shifts import Shift

if TYPE_CHECKING:
    from nubench.plugins.registry import PluginRegistry, Registered
    from nubench.shifts import ShiftAddition


def check_added_shifts(registry: PluginRegistry) -> None:
    """Skip every plugin that adds a shift which the card of another plugin, or its own, cannot have."""
    if not registry.shifts():
        return
    for registered in registry.cards():
        accepted_additions(registry, read_card(registered.thing))


def accepted_additions(registry: PluginRegistry, card: Card) -> list[Registered[ShiftAddition]]:
    """The additions to a card, in the order of their names; a plugin whose addition does not fit is skipped."""
    accepted = []
    for registered in registry.shifts(card.name):
        try:
            _check(card, registered.thing.shift)
        except PluginError as error:
            registry.skip(registered.plugin, error)
        else:
            accepted.append(registered)
    return accepted


def with_added_shifts(registry: PluginRegistry, card: Card, distribution: str = "") -> Card:
    """The card with the shifts that plugins add to it behind its own.

    Of shifts that have the same name it gets the one that ``distribution`` adds, and none where that is not said.
    """
    additions = accepted_additions(registry, card)
    counts = Counter(r.name for r in additions)
    chosen = [r for r in additions if counts[r.name] == 1 or r.plugin.distribution == distribution]
    return card.model_copy(update={"shifts": (*card.shifts, *(r.thing.shift for r in chosen))})


def _check(card: Card, shift: Shift) -> None:
    if shift.name in {own.name for own in card.shifts}:
        raise PluginError(f"register_shifts: data set {card.name!r} has a shift {shift.name!r} already; rename yours")
    try:
        Card.model_validate({**dict(card), "shifts": (*card.shifts, shift)})
    except ValidationError as error:
        reason = in_words(problems_of(error))
        raise PluginError(f"register_shifts: data set {card.name!r} cannot have the shift: {reason}") from error
