"""One event as it is drawn: its hits at one or two shift points, the particle that made it, and its axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from nubench.containers import Bool, Float32, Float64, Int32, LabelledEvents

#: The axis along which charge drifts, by the name of the detector; the others have none.
_DRIFT_AXIS: Final = {"lartpc": 0}
#: Colours end at these percentiles of the charge: a few Landau tails must not leave all else in one colour.
_COLOUR_PERCENTILES: Final = (1, 98)
#: No axis is shorter than this part of the longest one, or its tick labels would stand in each other.
_SHORTEST_AXIS: Final = 0.4
_MARGIN: Final = 0.04


@dataclass(frozen=True, slots=True)
class Hits:
    """The voxels of one event at one shift point.

    Attributes:
        coords: (N, 3) int32 voxel indices, each once.
        charge: (N,) float32, the raw feature.
        from_track: (N,) bool, False for pure crosstalk; None where the detector does not tell them apart.
    """

    coords: Int32
    charge: Float32
    from_track: Bool | None = None

    def __len__(self) -> int:
        return len(self.coords)

    def select(self, which: Bool) -> Hits:
        """Return the hits where ``which`` (N,) is True."""
        return Hits(self.coords[which], self.charge[which], None if self.from_track is None else self.from_track[which])

    def groups(self) -> tuple[tuple[str, Hits], ...]:
        """The hits of the track and those of crosstalk alone, by name; all together where nobody can tell."""
        if self.from_track is None:
            return (("hits", self),)
        both = (("track", self.select(self.from_track)), ("crosstalk", self.select(~self.from_track)))
        return tuple((name, hits) for name, hits in both if len(hits))


@dataclass(frozen=True, slots=True)
class Particle:
    """The true primary of an event.

    Attributes:
        event_id: as in the files.
        name: its class.
        pdg: Particle Data Group code.
        kinetic_energy: MeV.
        vertex: (3,) cm.
        direction: (3,) unit vector.
    """

    event_id: int
    name: str
    pdg: int
    kinetic_energy: float
    vertex: Float64
    direction: Float64

    @property
    def title(self) -> str:
        """Class, energy and id in one line."""
        energy = f"{self.kinetic_energy:.0f}" if self.kinetic_energy >= 10 else f"{self.kinetic_energy:.2g}"
        return f"{self.name} (PDG {self.pdg}), kinetic energy {energy} MeV, event {self.event_id}"


@dataclass(frozen=True, slots=True)
class Readout:
    """What the numbers of a detector are.

    Attributes:
        feature: the charge of a voxel with its unit, as :class:`nubench.detectors.Detector` names it.
        voxel_size_cm: edge of a voxel.
        axes: labels of x, y and z.
    """

    feature: str
    voxel_size_cm: float
    axes: tuple[str, str, str]

    @staticmethod
    def of(detector: str, feature: str, voxel_size_cm: float) -> Readout:
        """Label the axes of a detector, in cm; the drift axis of the LArTPC says so."""
        drift = _DRIFT_AXIS.get(detector)
        x, y, z = (f"{name} (drift), cm" if axis == drift else f"{name}, cm" for axis, name in enumerate("xyz"))
        return Readout(feature, voxel_size_cm, (x, y, z))

    def centres(self, coords: Int32) -> Float64:
        """Centres (N, 3) of voxels, cm."""
        return (coords.astype(np.float64) + 0.5) * self.voxel_size_cm


@dataclass(frozen=True)
class EventView:
    """All that a picture of one event shows.

    Attributes:
        origin: where the event comes from, for the title (``"lartpc, test"``).
        particle: its true primary.
        readout: units and axes.
        hits: its hits at one or two points, by the name of the point, nominal first.
        notes: what a reader must know besides (``"not at throw2: fewer than 4 hits there"``).
    """

    origin: str
    particle: Particle
    readout: Readout
    hits: Mapping[str, Hits]
    notes: tuple[str, ...] = ()

    def arrow(self) -> tuple[Float64, Float64]:
        """Start and end (3,), cm, of the arrow that shows the true direction: it ends at the vertex.

        Behind the vertex it hides none of the hits, which lie before it. It is a sixth of the event's longest side.
        """
        low, high = self._box()
        length = max(float((high - low).max()), 10 * self.readout.voxel_size_cm) / 6
        return self.particle.vertex - length * self.particle.direction, self.particle.vertex

    def limits(self) -> Float64:
        """Limits (3, 2) of the axes, cm: they hold the arrow and every hit at every point.

        No axis is shorter than a fixed part of the longest, so that equal scales stay readable.
        """
        low, high = self._box()
        start, _ = self.arrow()
        low, high = np.minimum(low, start), np.maximum(high, start)
        longest = float((high - low).max())
        half = np.maximum(high - low, _SHORTEST_AXIS * longest) / 2 + _MARGIN * longest
        return np.stack([(low + high) / 2 - half, (low + high) / 2 + half], axis=1)

    def charge_range(self) -> tuple[float, float]:
        """Charge at the two ends of the colours, the same for every point."""
        low, high = np.percentile(np.concatenate([hits.charge for hits in self.hits.values()]), _COLOUR_PERCENTILES)
        return float(low), float(max(high, low + 1))

    def _box(self) -> tuple[Float64, Float64]:
        points = [self.readout.centres(hits.coords) for hits in self.hits.values()]
        every: Float64 = np.concatenate([*points, self.particle.vertex[None, :]])
        return every.min(axis=0), every.max(axis=0)


def find_hits(events: LabelledEvents, event_id: int) -> Hits | None:
    """The hits of the event of this id, None where it is not among the events."""
    index = _position(events, event_id)
    if index is None:
        return None
    rows = slice(int(events.events.offsets[index]), int(events.events.offsets[index + 1]))
    from_track = None if events.from_track is None else events.from_track[rows]
    return Hits(events.events.coords[rows], events.events.features[rows, 0], from_track)


def find_particle(events: LabelledEvents, event_id: int, classes: tuple[str, ...]) -> Particle | None:
    """The true primary of the event of this id, None where it is not among the events."""
    index = _position(events, event_id)
    if index is None:
        return None
    truth = events.truth
    return Particle(
        event_id=event_id,
        name=classes[int(events.labels[index])],
        pdg=int(truth.pdg[index]),
        kinetic_energy=float(truth.kinetic_energy[index]),
        vertex=truth.vertex[index].astype(np.float64),
        direction=truth.direction[index].astype(np.float64),
    )


def _position(events: LabelledEvents, event_id: int) -> int | None:
    found = np.flatnonzero(events.truth.event_id == event_id)
    return int(found[0]) if len(found) else None
