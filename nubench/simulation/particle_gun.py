"""Primary particles: which species, with which energies, from where, and the random stream of each event.

Every event owns a counter-based random stream, keyed by the seed of the data set and counted by the event's id. An
event therefore stays the same whichever process makes it, in whatever order, and beside whichever other events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nubench.containers import Float64, Int64, Primaries
from nubench.errors import UsageError

UInt64 = npt.NDArray[np.uint64]

MASSES: Mapping[int, float] = {
    11: 0.51099895,
    13: 105.6583755,
    22: 0.0,
    111: 134.9768,
    211: 139.57039,
    321: 493.677,
    2112: 939.5654205,
    2212: 938.2720882,
}
"""MeV, by the absolute value of the PDG code (Review of Particle Physics 2024): the species that can be fired."""

SHUFFLE_STREAM, EVENT_STREAM = 0, 1
"""Keep the random numbers of the class order and of the events apart."""


@dataclass(frozen=True, slots=True)
class Species:
    """The particles of one class.

    Attributes:
        label: index of the class.
        pdg: Particle Data Group codes, each equally likely (``(13, -13)`` for muons of both charges).
        range_mev: lowest and highest value of the spectrum, MeV or MeV/c.
        uniform_in: the flat quantity, ``"kinetic energy"`` or ``"momentum"``.

    Raises:
        UsageError: when a value cannot be simulated.
    """

    label: int
    pdg: tuple[int, ...]
    range_mev: tuple[float, float]
    uniform_in: str = "kinetic energy"

    def __post_init__(self) -> None:
        unknown = [code for code in self.pdg if abs(code) not in MASSES]
        if unknown or not self.pdg:
            raise UsageError(
                f"pdg {self.pdg} of class {self.label} is not accepted; known: {sorted(MASSES)} and opposites"
            )
        if not 0 < self.range_mev[0] <= self.range_mev[1]:
            raise UsageError(f"range_mev of class {self.label} must be 0 < low <= high; got {self.range_mev}")
        if self.uniform_in not in ("kinetic energy", "momentum"):
            raise UsageError(f"uniform_in must be 'kinetic energy' or 'momentum'; got {self.uniform_in!r}")

    def kinetic_energy(self, uniform: Float64, pdg: Int64) -> Float64:
        """Map numbers in [0, 1) to the spectrum.

        Args:
            uniform: (K,) uniform numbers.
            pdg: (K,) codes of the particles, whose masses turn momenta into energies.

        Returns:
            (K,) kinetic energies, MeV.
        """
        low, high = self.range_mev
        value: Float64 = low + uniform * (high - low)
        if self.uniform_in == "kinetic energy":
            return value
        mass = np.array([MASSES[abs(code)] for code in pdg.tolist()])
        energy: Float64 = np.hypot(value, mass) - mass
        return energy


@dataclass(frozen=True, slots=True)
class ParticleGun:
    """One particle an event, isotropic, from anywhere in a box.

    Attributes:
        species: one for each class; the labels are 0, 1, 2, ... in any order.
        vertex_min_cm, vertex_max_cm: opposite corners of the vertex box.

    Raises:
        UsageError: when labels are not 0 to the number of classes, or the box is inside out.
    """

    species: tuple[Species, ...]
    vertex_min_cm: tuple[float, float, float]
    vertex_max_cm: tuple[float, float, float]

    def __post_init__(self) -> None:
        labels = sorted(s.label for s in self.species)
        if not labels or labels != list(range(len(labels))):
            raise UsageError(f"species must have the labels 0, 1, 2, ..., once each; got {labels}")
        if len(self.vertex_min_cm) != 3 or len(self.vertex_max_cm) != 3:
            raise UsageError(
                f"vertex_min_cm and vertex_max_cm need 3 values; got {self.vertex_min_cm} and {self.vertex_max_cm}"
            )
        if np.any(np.asarray(self.vertex_min_cm) > np.asarray(self.vertex_max_cm)):
            raise UsageError(f"vertex_min_cm {self.vertex_min_cm} must not exceed vertex_max_cm {self.vertex_max_cm}")

    def shuffled_labels(self, events_per_class: int | Sequence[int], seed: int, first_event_id: int) -> Int64:
        """Draw the order of the classes in a data set, so that no position tells the class.

        Args:
            events_per_class: number of events of each class, one for all or (C,) by label.
            seed: of the data set.
            first_event_id: of the first event; other blocks of the same seed get another order.

        Returns:
            (sum of ``events_per_class``,) int64 labels.

        Raises:
            UsageError: when ``events_per_class`` does not fit the species.
        """
        classes = len(self.species)
        counts = list(events_per_class) if isinstance(events_per_class, Sequence) else [events_per_class] * classes
        if len(counts) != classes or min(counts) < 0:
            raise UsageError(
                f"events_per_class must be a number, or {classes} numbers, not negative; got {events_per_class}"
            )
        labels = np.repeat(np.arange(classes, dtype=np.int64), counts)
        sequence = np.random.SeedSequence(seed, spawn_key=(SHUFFLE_STREAM, first_event_id))
        return np.random.default_rng(sequence).permutation(labels)

    def fire(self, labels: Int64, event_ids: Int64, seed: int) -> tuple[Primaries, UInt64]:
        """Draw the primaries of some events, each from its own stream.

        The stream of an event is Philox with a key from the seed and the event's id in the highest word of the counter.

        Args:
            labels: (E,) class of each event.
            event_ids: (E,) id of each event.
            seed: of the data set.

        Returns:
            The primaries, and (E, 2) where in its random sequence the simulation of each event shall begin: high and
            low word of a 128-bit position.
        """
        key = np.random.SeedSequence(seed, spawn_key=(EVENT_STREAM,)).generate_state(2, np.uint64)
        uniform = np.empty((len(event_ids), 7))
        position = np.empty((len(event_ids), 2), dtype=np.uint64)
        for row, event_id in enumerate(event_ids.tolist()):
            stream = np.random.Philox(key=key, counter=[0, 0, 0, event_id])
            position[row] = stream.random_raw(2)
            uniform[row] = np.random.Generator(stream).random(7)

        pdg = np.zeros(len(labels), dtype=np.int64)
        energy = np.zeros(len(labels))
        for species in self.species:
            chosen = labels == species.label
            codes = np.asarray(species.pdg, dtype=np.int64)
            pdg[chosen] = codes[(uniform[chosen, 0] * len(codes)).astype(np.int64)]
            energy[chosen] = species.kinetic_energy(uniform[chosen, 1], pdg[chosen])
        low, high = np.asarray(self.vertex_min_cm), np.asarray(self.vertex_max_cm)
        cosine, azimuth = 2 * uniform[:, 5] - 1, 2 * np.pi * uniform[:, 6]
        sine = np.sqrt(1 - cosine**2)
        primaries = Primaries(
            event_id=event_ids.astype(np.int64),
            pdg=pdg,
            kinetic_energy=energy.astype(np.float32),
            vertex=(low + uniform[:, 2:5] * (high - low)).astype(np.float32),
            direction=np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1).astype(np.float32),
        )
        return primaries, position
