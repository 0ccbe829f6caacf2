"""Which event, and beside which shift point: what the arguments of a display mean on a card."""

from __future__ import annotations

from nubench.datasets.cards import SPLITS, Card, Split
from nubench.datasets.dataset import FIRST_EVENT_ID
from nubench.errors import UsageError, unknown_name
from nubench.shifts import NOMINAL, Shift, ShiftPoint


def choose_event(card: Card, profile: str, number: int, split: str | None) -> tuple[Split, int]:
    """Find the split and the id of an event.

    Args:
        card: of the data set.
        profile: which sizes the data set has.
        number: the id of the event, or its number in the split, counted from 0: ids of ``test`` start at
            3,000,000,000, so that 12 stands for 3,000,000,012.
        split: its name; None: the one that the id belongs to, ``test`` for a number.

    Raises:
        UsageError: when there is no such split, or no such event in it; whether an imported event exists is not known
            here.

    Example:
        >>> from importlib.resources import files
        >>> from nubench.datasets.cards import read_card
        >>> card = read_card(files("nubench_datasets") / "lartpc.toml")
        >>> choose_event(card, "smoke", 12, None), choose_event(card, "smoke", 2_000_000_007, None)
        (('test', 3000000012), ('adapt', 2000000007))
    """
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    named: Split | None = next((known for known in SPLITS if known == split), None)
    by_id: list[Split] = [known for known in SPLITS if 0 < FIRST_EVENT_ID[known] <= number]
    chosen = named or (by_id[-1] if by_id else "test")
    first = FIRST_EVENT_ID[chosen]
    event_id = number if number >= first else first + number
    # How many events were imported, their files alone know.
    if card.imported is not None or event_id < first + _events_in(card, profile, chosen):
        return chosen, event_id
    ranges = ", ".join(
        f"{known} {FIRST_EVENT_ID[known]} to {FIRST_EVENT_ID[known] + _events_in(card, profile, known) - 1}"
        for known in SPLITS
        if named in (None, known)
    )
    raise UsageError(
        f"event {number} is not in data set {card.name!r} with profile {profile!r}; ids: {ranges}; "
        f"or a number in {chosen}, 0 to {_events_in(card, profile, chosen) - 1}"
    )


def choose_point(
    card: Card, split: Split, shift: str | None, point: str | None
) -> tuple[Shift | None, ShiftPoint | None]:
    """Find the point to draw beside nominal, its parameters written out.

    Args:
        card: of the data set.
        split: of the event; ``train`` and ``val`` exist at nominal and at the sources of a shift alone.
        shift: name; None: the first of the card, or the first that has the point.
        point: name; None: the one farthest from nominal in strength; ``nominal``: no other point.

    Returns:
        The shift and the point; no point where the event exists at nominal alone or nominal is asked for, and no shift
        where the card has none.

    Raises:
        UsageError: when the card has no such shift or point, or the split does not exist there.
    """
    shifts = card.shifts if shift is None else (card.shift(shift),)
    if not shifts and point in (None, NOMINAL):
        return None, None
    if point is None or point == NOMINAL:
        axis = shifts[0]
    else:
        having = [axis for axis in shifts if point in {known.name for known in axis.points}]
        if not having:
            raise unknown_name("point", point, {NOMINAL} | {known.name for axis in shifts for known in axis.points})
        axis = having[0]
    points = [known for known in axis.all_points(card.nominal) if known.name != NOMINAL]
    if split in ("train", "val"):
        points = [known for known in points if known.name in axis.sources]
    if point == NOMINAL or (point is None and not points):
        return axis, None
    if point is None:
        return axis, max(points, key=lambda known: abs(known.strength - axis.nominal_strength))
    for known in points:
        if known.name == point:
            return axis, known
    exists = ", ".join([NOMINAL, *axis.sources])
    raise UsageError(f"events of {split} do not exist at --point {point!r}, only at {exists}; choose --split test")


def _events_in(card: Card, profile: str, split: Split) -> int:
    return int(getattr(card.sizes_of(profile), split)) * len(card.classes)
