"""The generated particles in a file: group ``truth``, the same in event files and truth files."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from nubench.containers import Primaries
from nubench.events.hdf5 import Layout

_GROUP: Final = "truth/"

PRIMARIES: Final[Layout] = {
    f"{_GROUP}event_id": (np.int64, 0),
    f"{_GROUP}pdg": (np.int64, 0),
    f"{_GROUP}kinetic_energy": (np.float32, 0),
    f"{_GROUP}vertex": (np.float32, 3),
    f"{_GROUP}direction": (np.float32, 3),
}


def to_columns(primaries: Primaries) -> dict[str, Any]:
    """The columns of :data:`PRIMARIES`."""
    return {name: getattr(primaries, name.removeprefix(_GROUP)) for name in PRIMARIES}


def from_columns(columns: dict[str, Any]) -> Primaries:
    """The primaries among the columns of a file."""
    return Primaries(**{name.removeprefix(_GROUP): columns[name] for name in PRIMARIES})
