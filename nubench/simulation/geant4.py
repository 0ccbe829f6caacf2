"""Truth level: single particles through a homogeneous medium with Geant4, packed by calzone.

Geant4 runs in worker processes alone. The process that asks for events never loads it: a fatal error of Geant4 ends a
worker, not the program, and each worker reads its data directory, which Geant4 fixes when it starts, from scratch.

The medium is one large box with the particle born in its middle; positions are moved to the hall afterwards. Events
are independent of each other: each has its own random numbers, for the primary and for Geant4 (see
:mod:`nubench.simulation.particle_gun`).
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nubench.containers import Deposits, Float32, Float64, Int64, Primaries
from nubench.cores import available_cores
from nubench.errors import DataError, NubenchError, UsageError
from nubench.simulation.compaction import Steps, compact
from nubench.simulation.particle_gun import ParticleGun, UInt64
from nubench.simulation.standin_data import DATA_FOLDERS, ELEMENTS, STANDIN_VERSION, read_version, write_standin_data

CALZONE_VERSION = "1.2.2"
GEANT4_VERSION = "11.4.0"
DATA_VARIABLE = "GEANT4_DATA_DIR"
EVENTS_PER_CHUNK = 50
BOX_SIDE_CM = 1000.0  # the longest track, a 1 GeV pion or muon, ends within 480 cm of the centre
MICROSECONDS_PER_SECOND = 1e6  # calzone gives times in seconds
RANDOM_SEED = 0x6E7562656E6368A5F0E1D2C3B4968779
"""Selects Geant4's one long random sequence, in which each event begins at a place of its own."""

PHYSICS_LISTS = ("QGSP_BERT", "QGSP_BIC")
"""Hadronic physics that any data can serve: the Bertini or the binary cascade below some GeV.

FTFP_BERT is left out on purpose: it differs from QGSP_BERT above 3 GeV alone, and gives the same events here.
"""

EVALUATED_NEUTRON_LISTS = ("QGSP_BERT_HP", "QGSP_BIC_HP")
"""The same with evaluated neutron cross sections, which official data alone hold."""


@dataclass(frozen=True, slots=True)
class Geant4Data:
    """Where Geant4 reads its cross sections.

    Attributes:
        mode: ``"official"`` for Geant4's data sets, ``"standin"`` for :mod:`nubench.simulation.standin_data`.
        directory: holds the folders ``G4EMLOW8.8`` and so on.
        version: of the stand-in, or of the Geant4 that the official data belong to.
    """

    mode: Literal["official", "standin"]
    directory: Path
    version: str


@dataclass(frozen=True, slots=True)
class Geant4Settings:
    """What Geant4 simulates, beside the particles.

    Attributes:
        material: name in the NIST table of Geant4: ``"G4_lAr"`` (1.396 g/cm3), ``"G4_POLYSTYRENE"`` (1.060 g/cm3).
        physics_list: hadronic physics, of :data:`PHYSICS_LISTS` or :data:`EVALUATED_NEUTRON_LISTS`; electromagnetic
            physics is Geant4's standard.
        production_cut_cm: range from which knock-on electrons and bremsstrahlung photons are followed one by one.

    Raises:
        UsageError: when a value is not accepted.
    """

    material: str
    physics_list: str = "QGSP_BERT"
    production_cut_cm: float = 0.003

    def __post_init__(self) -> None:
        accepted = PHYSICS_LISTS + EVALUATED_NEUTRON_LISTS
        if self.physics_list not in accepted:
            raise UsageError(f"physics_list must be one of {', '.join(accepted)}; got {self.physics_list!r}")
        if not 0.0005 <= self.production_cut_cm <= 10:
            raise UsageError(f"production_cut_cm must be between 0.0005 and 10; got {self.production_cut_cm}")


Chunk = tuple[Primaries, Int64, Deposits]
Progress = Callable[[int], None]


def find_data(cache: Path) -> Geant4Data:
    """Find Geant4's official data, or else write the stand-in into the cache.

    Official data are looked for where ``GEANT4_DATA_DIR`` points to, or else in the folder that ``python -m calzone
    download`` fills by default.

    Args:
        cache: directory for the stand-in, created when missing.

    Raises:
        DataError: when official data are incomplete, naming what is missing.
    """
    named = os.environ.get(DATA_VARIABLE)
    directory = Path(named).expanduser() if named else default_data_directory()
    if named and read_version(directory) is not None:
        return Geant4Data("standin", write_standin_data(directory), STANDIN_VERSION)
    missing = [folder for folder in DATA_FOLDERS if not (directory / folder).is_dir()]
    if not missing:
        return Geant4Data("official", directory, GEANT4_VERSION)
    if named or len(missing) < len(DATA_FOLDERS):
        origin = f"{DATA_VARIABLE}={named}" if named else f"{directory}"
        raise DataError(
            f"the Geant4 data in {origin} are incomplete: no {', '.join(missing)}. "
            f"Run 'python -m calzone download' to complete them"
            + (f", or unset {DATA_VARIABLE}." if named else f", or delete {directory} to use the stand-in.")
        )
    standin = write_standin_data(cache / f"geant4-standin-{STANDIN_VERSION}")
    return Geant4Data("standin", standin, STANDIN_VERSION)


def default_data_directory() -> Path:
    """Return the folder to which calzone downloads when it is told none."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "")) / "calzone" / "data"
    return Path.home() / ".local" / "share" / "calzone" / "data"


def provenance(data: Geant4Data, physics_list: str, production_cut_cm: float, seed: int) -> dict[str, str | float]:
    """Describe how events were generated, to be recorded beside them."""
    return {
        "generator": f"Geant4 {GEANT4_VERSION} via calzone {CALZONE_VERSION}",
        "geant4_data": data.mode,
        "geant4_data_version": data.version,
        "physics_list": physics_list,
        "production_cut_cm": production_cut_cm,
        "seed": seed,
    }


def generate(
    gun: ParticleGun,
    material: str,
    events_per_class: int | Sequence[int],
    *,
    seed: int,
    data: Geant4Data,
    first_event_id: int = 0,
    processes: int | None = None,
    physics_list: str = "QGSP_BERT",
    production_cut_cm: float = 0.003,
    progress: Progress | None = None,
) -> Iterator[Chunk]:
    """Simulate a block of events, classes shuffled, in chunks of at most :data:`EVENTS_PER_CHUNK`.

    Chunks come in the same order with the same bits whatever the number of processes. Two blocks of one seed whose
    event ids do not overlap are independent of each other.

    Args:
        gun: what is fired.
        material: see :class:`Geant4Settings`.
        events_per_class: number of events of each class, one for all or (C,) by label.
        seed: of the data set, not negative.
        data: from :func:`find_data`.
        first_event_id: ids count up from it; not negative.
        processes: worker processes; None for one a core.
        physics_list, production_cut_cm: see :class:`Geant4Settings`.
        progress: called with the number of events of each chunk that is done.

    Yields:
        The primaries of E events, (E,) int64 labels, and the deposits in hall coordinates. Events that left no
        energy, such as a photon that escaped, have no deposits.

    Raises:
        UsageError: when an argument is not accepted.
        NubenchError: when Geant4 failed.
    """
    if seed < 0 or first_event_id < 0:
        raise UsageError(f"seed and first_event_id must not be negative; got {seed} and {first_event_id}")
    if processes is not None and processes < 1:
        raise UsageError(f"processes must be at least 1, or None for one a core; got {processes}")
    settings = Geant4Settings(material, physics_list, production_cut_cm)
    if physics_list in EVALUATED_NEUTRON_LISTS and data.mode == "standin":
        raise UsageError(
            f"physics_list {physics_list!r} needs Geant4's official data (python -m calzone download); with the "
            f"stand-in {', '.join(PHYSICS_LISTS)} are accepted"
        )
    labels = gun.shuffled_labels(events_per_class, seed, first_event_id)
    event_ids = first_event_id + np.arange(len(labels), dtype=np.int64)
    tasks = [
        _Task(gun, settings, labels[low : low + EVENTS_PER_CHUNK], event_ids[low : low + EVENTS_PER_CHUNK], seed)
        for low in range(0, len(labels), EVENTS_PER_CHUNK)
    ]
    return _run(tasks, data, min(processes or available_cores(), max(len(tasks), 1)), progress)


@dataclass(frozen=True, slots=True)
class _Task:
    """One chunk to simulate; the fields are as in :func:`generate`."""

    gun: ParticleGun
    settings: Geant4Settings
    labels: Int64
    event_ids: Int64
    seed: int


def _run(tasks: Sequence[_Task], data: Geant4Data, processes: int, progress: Progress | None) -> Iterator[Chunk]:
    """Hand the tasks to workers and yield what they return, in the order of the tasks."""
    executor = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(str(data.directory),),
    )
    # Enough in hand that no worker waits for a slow chunk to be fetched, little enough that memory stays small.
    ahead = 4 * processes
    pending: deque[Future[tuple[Primaries, Deposits]]] = deque()
    try:
        with _interrupts_held_back():
            pending.extend(executor.submit(_simulate, task) for task in tasks[:ahead])
        for index, task in enumerate(tasks):
            primaries, deposits = pending.popleft().result()
            pending.extend(executor.submit(_simulate, later) for later in tasks[index + ahead : index + ahead + 1])
            if progress is not None:
                progress(len(primaries))
            yield primaries, task.labels, deposits
    except BrokenProcessPool as error:
        raise NubenchError(
            f"a Geant4 worker process died while it used the {data.mode} data in {data.directory}: Geant4 aborted, or "
            "the machine ran out of memory. What Geant4 said, if anything, stands above; fewer processes need less "
            "memory."
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a Ctrl-C wait while workers start: half-started ones would each answer it with a traceback.

    Workers inherit the mask, so one that is still importing does not see the signal. Here the mask is not enough:
    the libraries' own threads may be handed the signal, and Python then interrupts the main thread all the same.
    """
    came: list[int] = []
    in_main_thread = threading.current_thread() is threading.main_thread()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main_thread else None
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


# What follows runs in the workers.


def _start_worker(data_directory: str) -> None:
    # Ctrl-C is handled by the process that asked for the events; it lets the workers finish their chunk.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ[DATA_VARIABLE] = data_directory  # Geant4 reads it when calzone is imported


def _die_with_parent() -> None:
    """Leave no worker behind when the parent is killed without a chance to say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _simulate(task: _Task) -> tuple[Primaries, Deposits]:
    primaries, random_position = task.gun.fire(task.labels, task.event_ids, task.seed)
    try:
        lines, points = simulate_steps(build_simulation(task.settings), primaries, random_position)
    except UsageError:
        raise
    except Exception as error:  # of calzone's own types, which the parent process could not read
        raise NubenchError(
            f"Geant4 failed with material {task.settings.material!r} and physics list "
            f"{task.settings.physics_list!r}: {type(error).__name__}: {error}"
        ) from None
    return primaries, to_deposits(compact(lines, points), primaries.vertex)


@functools.cache
def build_simulation(settings: Geant4Settings) -> Any:
    """Set calzone up: one box of the material, every energy deposit recorded.

    ``GEANT4_DATA_DIR`` must be set before. calzone has no type information, hence Any.

    Raises:
        UsageError: when the material holds elements that the stand-in lacks, on which Geant4 would abort.
    """
    import calzone  # not at the top: costly, and Geant4 must find its data directory in the environment

    elements = {symbol for symbol, _ in calzone.describe(material=settings.material).composition}
    lacking = sorted(elements - set(ELEMENTS))
    if lacking and read_version(Path(os.environ[DATA_VARIABLE])) is not None:
        raise UsageError(
            f"material {settings.material!r} holds {', '.join(lacking)}; the stand-in for the Geant4 data knows "
            f"{', '.join(ELEMENTS)} only. Get the official data with 'python -m calzone download'."
        )
    box = {"material": settings.material, "box": [BOX_SIDE_CM] * 3, "role": "record_deposits"}
    simulation = calzone.Simulation({"Medium": box})
    simulation.physics.had_model = settings.physics_list
    simulation.physics.default_cut = settings.production_cut_cm
    simulation.sample_deposits = "detailed"
    return simulation


def simulate_steps(simulation: Any, primaries: Primaries, random_position: UInt64) -> tuple[Steps, Steps]:
    """Track primaries from the centre of the box.

    Args:
        simulation: from :func:`build_simulation`.
        primaries: E particles; their vertices are not used.
        random_position: (E, 2) where in the random sequence each event begins.

    Returns:
        Steps along lines and point deposits, relative to the vertex, times in microseconds.
    """
    import calzone

    direction = primaries.direction.astype(np.float64)
    particles = calzone.particles(
        len(primaries),
        pid=primaries.pdg.astype(np.int32),
        energy=primaries.kinetic_energy.astype(np.float64),
        position=(0.0, 0.0, 0.0),
        direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
    )
    simulation.random.seed = RANDOM_SEED
    deposits = simulation.run(particles, random_indices=random_position).deposits.get("Medium")
    if deposits is None:
        return _NO_STEPS, _NO_STEPS
    line, point = deposits.line, deposits.point
    at = _columns(point["position"])
    return (
        _steps(line, _columns(line["start"]), _columns(line["end"]), line["time"][:, 0]),
        _steps(point, at, at, point["time"]),
    )


def to_deposits(steps: Steps, vertex: Float32) -> Deposits:
    """Move steps to the hall and pack them.

    Args:
        steps: of E events, relative to the vertex.
        vertex: (E, 3) cm.
    """
    shift = vertex.astype(np.float64)[steps.event].T
    counts = np.bincount(steps.event, minlength=len(vertex))
    return Deposits(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        start=np.ascontiguousarray((steps.start + shift).T, dtype=np.float32),
        end=np.ascontiguousarray((steps.end + shift).T, dtype=np.float32),
        energy=steps.energy.astype(np.float32),
        time=steps.time.astype(np.float32),
    )


def _steps(rows: np.ndarray[Any, np.dtype[np.void]], start: Float64, end: Float64, seconds: Float64) -> Steps:
    return Steps(
        event=rows["event"].astype(np.int64),
        track=rows["tid"].astype(np.int64),
        start=start,
        end=end,
        energy=rows["value"].copy(),
        time=seconds * MICROSECONDS_PER_SECOND,
    )


def _columns(vectors: Float64) -> Float64:
    return np.ascontiguousarray(vectors.T)


_NO_STEPS = Steps(
    event=np.zeros(0, np.int64),
    track=np.zeros(0, np.int64),
    start=np.zeros((3, 0)),
    end=np.zeros((3, 0)),
    energy=np.zeros(0),
    time=np.zeros(0),
)
