"""How the files of a data set come to be: Geant4's deposits from the card, events from the deposits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nubench.containers import LabelledEvents
from nubench.datasets.cards import Card
from nubench.detectors import Detector
from nubench.errors import DataError
from nubench.events.store import TruthChunk, read_truth
from nubench.progress import Task
from nubench.shifts import ShiftPoint
from nubench.simulation.geant4 import Geant4Data, generate
from nubench.simulation.particle_gun import ParticleGun, Species

EVENTS_A_CHUNK: Final = 512


def particle_gun(card: Card) -> ParticleGun:
    """What the card asks Geant4 to fire.

    Raises:
        DataError: when the card's events are imported.
    """
    if card.truth is None:
        raise DataError(f"data set {card.name!r} is imported: its card does not say what to fire")
    species = []
    for label, particle in enumerate(card.classes):
        if particle.momentum_mev is not None:
            species.append(Species(label, particle.pdg, particle.momentum_mev, "momentum"))
        elif particle.kinetic_energy_mev is not None:
            species.append(Species(label, particle.pdg, particle.kinetic_energy_mev))
    return ParticleGun(tuple(species), card.truth.vertex_min_cm, card.truth.vertex_max_cm)


def generated_truth(
    card: Card,
    events: int,
    first_event_id: int,
    physics_list: str,
    data: Geant4Data,
    processes: int | None,
    task: Task,
) -> Iterator[TruthChunk]:
    """Simulate deposits with Geant4, chunk by chunk.

    Args:
        card: what is fired into what.
        events: their number, a multiple of the number of classes.
        first_event_id: of the first; the others follow.
        physics_list: of Geant4.
        data: Geant4's data.
        processes: number of processes, None for one a core.
        task: is told of finished events.

    Raises:
        DataError: when the card's events are imported.
        NubenchError: when the simulation fails.
    """
    gun, truth = particle_gun(card), card.truth
    assert truth is not None, "the gun has checked it"
    for primaries, labels, deposits in generate(
        gun,
        truth.material,
        events // len(card.classes),
        seed=truth.seed,
        first_event_id=first_event_id,
        data=data,
        processes=processes,
        physics_list=physics_list,
        production_cut_cm=truth.production_cut_cm,
    ):
        yield TruthChunk(primaries, labels, deposits)
        task.advance(len(primaries))


def responses(
    truth_file: Path, detector: Detector, point: ShiftPoint, noise_seed: int, task: Task
) -> Iterator[LabelledEvents]:
    """Simulate the response to the deposits in a file, chunk by chunk.

    Files are read and written while the next chunk is simulated: neither waits for the other.

    Args:
        truth_file: the deposits.
        detector: whose response.
        point: its parameters.
        noise_seed: of the electronics noise.
        task: is told of finished events.
    """

    def respond(chunk: TruthChunk) -> LabelledEvents:
        response = detector.respond(chunk.deposits, chunk.primaries.event_id, point.parameters, noise_seed)
        return LabelledEvents(response.events, chunk.labels, chunk.primaries, response.from_track)

    def finish() -> LabelledEvents:
        events = ahead.popleft().result()
        task.advance(len(events))
        return events

    with ThreadPoolExecutor(max_workers=1) as simulation:
        ahead: deque[Future[LabelledEvents]] = deque()
        for chunk in read_truth(truth_file, EVENTS_A_CHUNK):
            ahead.append(simulation.submit(respond, chunk))
            if len(ahead) > 2:
                yield finish()
        while ahead:
            yield finish()
