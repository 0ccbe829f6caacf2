"""Events to draw, made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nubench.display.views import EventView, Hits, Particle, Readout


@pytest.fixture
def view() -> EventView:
    """A straight event of 20 hits at nominal; at throw2, 18 of them 5 counts higher, and 3 new ones."""
    line = np.stack([np.arange(20), 2 * np.arange(20), np.full(20, 1600)], axis=1).astype(np.int32)
    charge = np.linspace(80, 120, 20, dtype=np.float32)
    new = np.array([[50, 0, 1600], [51, 0, 1600], [52, 0, 1600]], np.int32)
    particle = Particle(
        event_id=3_000_000_007,
        name="muon",
        pdg=-13,
        kinetic_energy=412.3,
        vertex=np.array([0.1, 0.2, 608.0]),
        direction=np.array([0.6, 0.8, 0.0]),
    )
    after = Hits(np.concatenate([line[2:], new]), np.concatenate([charge[2:] + 5, np.full(3, 79, np.float32)]))
    hits = {"nominal": Hits(line, charge), "throw2": after}
    return EventView("lartpc, test, shift throws", particle, Readout.of("lartpc", "ADC counts", 0.38), hits)
