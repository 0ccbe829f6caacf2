from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from nubench.containers import Deposits, Int64, Primaries
from nubench.errors import DataError, NubenchError, UsageError
from nubench.simulation import geant4
from nubench.simulation.compaction import SEGMENT_LENGTH
from nubench.simulation.geant4 import (
    DATA_VARIABLE,
    Geant4Data,
    Geant4Settings,
    default_data_directory,
    find_data,
    generate,
    provenance,
)
from nubench.simulation.particle_gun import ParticleGun, Species
from nubench.simulation.standin_data import DATA_FOLDERS, STANDIN_VERSION, write_standin_data

GUN = ParticleGun(
    species=(
        Species(0, (11,), (50, 1000)),
        Species(1, (22,), (50, 1000)),
        Species(2, (13, -13), (50, 1000)),
        Species(3, (211, -211), (50, 1000)),
        Species(4, (2212,), (50, 400)),
    ),
    vertex_min_cm=(-50, -50, 600),
    vertex_max_cm=(50, 50, 700),
)
LIQUID_ARGON, POLYSTYRENE = "G4_lAr", "G4_POLYSTYRENE"

Block = tuple[Primaries, Int64, Deposits]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Geant4Data:
    directory = write_standin_data(tmp_path_factory.mktemp("cache") / "standin")
    return Geant4Data("standin", directory, STANDIN_VERSION)


def run(data: Geant4Data, gun: ParticleGun = GUN, material: str = LIQUID_ARGON, events: int = 24, **options) -> Block:
    chunks = list(generate(gun, material, events, seed=options.pop("seed", 7), data=data, **options))
    primaries, labels, deposits = zip(*chunks, strict=True)
    return Primaries.concatenate(primaries), np.concatenate(labels), Deposits.concatenate(deposits)


def assert_same(one: Block, other: Block) -> None:
    for left, right in ((one[0], other[0]), (one[2], other[2])):
        for field in left.__slots__:
            assert np.array_equal(getattr(left, field), getattr(right, field)), field
    assert np.array_equal(one[1], other[1])


def energies(block: Block) -> list[np.ndarray]:
    return np.split(block[2].energy, block[2].offsets[1:-1])


@pytest.fixture(scope="module")
def block(data: Geant4Data) -> Block:
    return run(data, processes=2)


class TestFindData:
    @pytest.fixture(autouse=True)
    def bare_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
        monkeypatch.delenv(DATA_VARIABLE, raising=False)

    @staticmethod
    def official(directory: Path, lacking: str | None = None) -> Path:
        for name in DATA_FOLDERS:
            if name != lacking:
                (directory / name).mkdir(parents=True)
        return directory

    def test_the_standin_is_written_into_the_cache_when_there_is_nothing_else(self, tmp_path: Path) -> None:
        found = find_data(tmp_path / "cache")
        directory = tmp_path / "cache" / f"geant4-standin-{STANDIN_VERSION}"
        assert found == Geant4Data("standin", directory, STANDIN_VERSION)
        assert find_data(tmp_path / "cache") == found

    def test_official_data_are_found_through_the_variable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(DATA_VARIABLE, str(self.official(tmp_path / "geant4")))
        assert find_data(tmp_path / "cache") == Geant4Data("official", tmp_path / "geant4", "11.4.0")
        assert not (tmp_path / "cache").exists()

    def test_official_data_are_found_where_calzone_downloads_them(self, tmp_path: Path) -> None:
        self.official(default_data_directory())
        assert find_data(tmp_path / "cache").mode == "official"

    @pytest.mark.skipif(sys.platform == "win32", reason="the folder of Linux and macOS")
    def test_the_default_folder_is_that_of_calzone(self, tmp_path: Path) -> None:
        script = """if True:
            import calzone
            calzone.Simulation({"A": {"material": "G4_AIR", "box": [1, 1, 1]}}).run(calzone.particles(1))
        """
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert f"missing folder: {default_data_directory()}" in done.stderr

    def test_a_partial_download_is_named(self, tmp_path: Path) -> None:
        self.official(default_data_directory(), lacking="G4PII1.3")
        with pytest.raises(DataError, match=r"no G4PII1\.3\. Run 'python -m calzone download'"):
            find_data(tmp_path / "cache")

    def test_a_variable_that_points_nowhere_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match=r"nowhere are incomplete: no G4EMLOW8\.8, .*unset GEANT4_DATA_DIR"):
            find_data(tmp_path / "cache")

    def test_a_variable_that_points_to_a_standin_is_not_taken_for_official(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(DATA_VARIABLE, str(write_standin_data(tmp_path / "standin")))
        assert find_data(tmp_path / "cache").mode == "standin"


class TestGenerate:
    def test_the_number_of_processes_changes_nothing(self, data: Geant4Data, block: Block) -> None:
        assert_same(block, run(data, processes=1))

    def test_the_size_and_so_the_order_of_chunks_changes_nothing(
        self, data: Geant4Data, block: Block, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Any state that Geant4 carried from one event to the next would show.
        monkeypatch.setattr(geant4, "EVENTS_PER_CHUNK", 7)
        assert_same(block, run(data, processes=2))

    def test_other_seeds_and_other_ids_give_other_events(self, data: Geant4Data, block: Block) -> None:
        for other in (run(data, events=2, seed=8), run(data, events=2, first_event_id=1000)):
            assert not np.isin(other[0].kinetic_energy, block[0].kinetic_energy).any()
            assert not np.isin(other[2].energy, block[2].energy).all()

    def test_every_class_and_every_id_is_there(self, block: Block) -> None:
        primaries, labels, deposits = block
        assert np.bincount(labels).tolist() == [24] * 5
        assert primaries.event_id.tolist() == list(range(120))
        assert len(deposits) == 120
        by_label = {s.label: set(s.pdg) for s in GUN.species}
        assert all(code in by_label[label] for code, label in zip(primaries.pdg.tolist(), labels.tolist(), strict=True))

    def test_deposits_begin_at_the_vertex(self, block: Block) -> None:
        primaries, labels, deposits = block
        charged = np.flatnonzero(labels != 1)
        np.testing.assert_allclose(deposits.start[deposits.offsets[charged]], primaries.vertex[charged], atol=1e-4)

    def test_deposits_leave_along_the_direction(self, block: Block) -> None:
        primaries, labels, deposits = block
        muons = np.flatnonzero(labels == 2)
        row = deposits.offsets[muons]
        step = (deposits.end[row] - deposits.start[row]).astype(np.float64)
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        assert np.all(np.sum(step * primaries.direction[muons], axis=1) > 0.9)

    def test_the_energy_of_electrons_is_deposited(self, block: Block) -> None:
        primaries, labels, deposits = block
        event = np.repeat(np.arange(120), np.diff(deposits.offsets))
        total = np.bincount(event, deposits.energy.astype(np.float64), 120)
        electrons = labels == 0
        assert total[electrons].sum() / primaries.kinetic_energy[electrons].sum() == pytest.approx(1, abs=0.02)
        assert np.all(total[electrons] < primaries.kinetic_energy[electrons] * 1.0001 + 3)
        assert np.all(deposits.energy > 0)

    def test_tracks_are_finely_divided(self, block: Block) -> None:
        deposits = block[2]
        length = np.linalg.norm(deposits.end - deposits.start, axis=1)
        # Longer ones are Geant4's own steps between two knock-on electrons.
        assert np.median(length) < SEGMENT_LENGTH
        assert np.percentile(length, 99) < 1.5

    def test_times_are_microseconds(self, block: Block) -> None:
        primaries, _, deposits = block
        last = np.maximum.reduceat(deposits.time, deposits.offsets[:-1])
        # mu+ at rest decays after 2.2 us on average; mu- are captured by argon sooner, after 0.6 us.
        assert 0.5 < np.median(last[primaries.pdg == -13]) < 10
        assert np.all(deposits.time >= 0)

    def test_progress_counts_events(self, data: Geant4Data) -> None:
        seen: list[int] = []
        run(data, events=12, progress=seen.append)
        assert seen == [50, 10]

    def test_no_events_are_no_chunks(self, data: Geant4Data) -> None:
        assert list(generate(GUN, LIQUID_ARGON, 0, seed=0, data=data)) == []

    def test_photons_that_leave_nothing_stay_as_events(self, data: Geant4Data) -> None:
        gun = ParticleGun((Species(0, (22,), (1, 1)),), (0, 0, 0), (0, 0, 0))
        primaries, _, deposits = run(data, gun, "G4_WATER_VAPOR", 20)
        assert len(primaries) == len(deposits) == 20
        assert np.any(np.diff(deposits.offsets) == 0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"seed": -1}, r"seed.*-1"),
            ({"first_event_id": -5}, r"first_event_id.*-5"),
            ({"processes": 0}, r"processes.*got 0"),
            ({"physics_list": "FTFP_BERT"}, r"QGSP_BIC, .*; got 'FTFP_BERT'"),
            ({"physics_list": "QGSP_BERT_HP"}, r"'QGSP_BERT_HP' needs Geant4's official data"),
            ({"production_cut_cm": 0.0}, r"production_cut_cm.*0\.0"),
        ],
    )
    def test_bad_arguments_are_refused_at_once(self, data: Geant4Data, options: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            generate(GUN, LIQUID_ARGON, 1, data=data, **{"seed": 0, **options})

    def test_an_unknown_material_is_explained(self, data: Geant4Data) -> None:
        with pytest.raises(NubenchError, match=r"material 'G4_CHEESE'.*QGSP_BERT"):
            run(data, material="G4_CHEESE", events=1)

    def test_a_material_that_the_standin_lacks_is_refused(self, data: Geant4Data) -> None:
        with pytest.raises(UsageError, match=r"'G4_AIR' holds N; .*H, C, O, Ar only"):
            run(data, material="G4_AIR", events=1)

    def test_a_worker_that_dies_is_explained(self, data: Geant4Data) -> None:
        chunks = generate(GUN, LIQUID_ARGON, 200, seed=0, data=data, processes=1)
        next(chunks)
        multiprocessing.active_children()[0].kill()
        with pytest.raises(NubenchError, match="worker process died"):
            list(chunks)

    def test_giving_up_early_leaves_no_process_behind(self, data: Geant4Data) -> None:
        chunks = generate(GUN, LIQUID_ARGON, 200, seed=0, data=data, processes=2)
        next(chunks)
        chunks.close()
        assert multiprocessing.active_children() == []

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
    def test_no_process_outlives_an_interrupted_program(self, data: Geant4Data, tmp_path: Path, sent: int) -> None:
        script = tmp_path / "program.py"
        script.write_text(
            textwrap.dedent(f"""
                import signal
                from pathlib import Path
                from nubench.simulation.geant4 import Geant4Data, generate
                from nubench.simulation.particle_gun import ParticleGun, Species

                if __name__ == "__main__":
                    # A shell that puts the tests into the background has them ignore Ctrl-C.
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    gun = ParticleGun((Species(0, (11,), (50, 1000)),), (0, 0, 0), (0, 0, 0))
                    data = Geant4Data("standin", Path({str(data.directory)!r}), "1")
                    for _ in generate(gun, "G4_lAr", 100_000, seed=0, data=data, processes=2):
                        print("chunk", flush=True)
            """)
        )
        program = subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert program.stdout is not None
        program.stdout.readline()
        children = psutil.Process(program.pid).children(recursive=True)
        assert len(children) >= 2
        if sent == signal.SIGINT:
            os.killpg(program.pid, sent)  # as a terminal does
        else:
            program.kill()
        _, errors = program.communicate(timeout=30)
        deadline = time.monotonic() + 15
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() < deadline, "a worker lives on"
            time.sleep(0.1)
        if sent == signal.SIGINT:
            assert errors.rstrip().endswith("KeyboardInterrupt")

    def test_another_hadronic_model_changes_hadrons_alone(self, data: Geant4Data, block: Block) -> None:
        other = run(data, physics_list="QGSP_BIC")
        assert np.array_equal(other[0].kinetic_energy, block[0].kinetic_energy)
        changed = np.array([not np.array_equal(a, b) for a, b in zip(energies(other), energies(block), strict=True)])
        assert np.mean(changed[block[1] == 3]) > 0.5  # pions
        assert np.mean(changed[block[1] == 0]) < 0.3  # electrons: photonuclear reactions in a few showers

    def test_importing_it_is_fast_and_light(self) -> None:
        script = (
            "import sys, nubench.simulation.geant4; print(*(set(sys.modules) & {'torch', 'numba', 'scipy', 'calzone'}))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""


def primary_lengths(directory: str, material: str, pdg: int, kinetic_energy: float, events: int) -> np.ndarray:
    """Track primaries in this process and return (events,) the path of each, cm."""
    os.environ[DATA_VARIABLE] = directory
    gun = ParticleGun((Species(0, (pdg,), (kinetic_energy, kinetic_energy)),), (0, 0, 0), (0, 0, 0))
    primaries, position = gun.fire(np.zeros(events, np.int64), np.arange(events), seed=1)
    simulation = geant4.build_simulation(Geant4Settings(material))
    lines, _ = geant4.simulate_steps(simulation, primaries, position)
    own = lines.track == 1
    return np.bincount(lines.event[own], np.linalg.norm(lines.end - lines.start, axis=0)[own], events)


@pytest.mark.parametrize(
    ("material", "pdg", "kinetic_energy", "published"),
    [
        # Continuous-slowing-down ranges, cm. Muons: Groom, Mokhov, Striganov, ADNDT 78 (2001) 183; protons: PSTAR.
        (LIQUID_ARGON, 13, 100.0, 30.44),
        (LIQUID_ARGON, 13, 200.0, 76.15),
        (LIQUID_ARGON, 2212, 100.0, 7.82),
        (LIQUID_ARGON, 2212, 200.0, 25.98),
        (POLYSTYRENE, 13, 100.0, 29.96),
        (POLYSTYRENE, 2212, 200.0, 25.00),
    ],
)
def test_tracks_are_as_long_as_published(
    data: Geant4Data, material: str, pdg: int, kinetic_energy: float, published: float
) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        lengths = executor.submit(primary_lengths, str(data.directory), material, pdg, kinetic_energy, 150).result()
    # Protons that met a nucleus ended early and are left out.
    stopped = lengths[lengths > 0.85 * published]
    assert len(stopped) > 0.5 * len(lengths)
    assert stopped.mean() == pytest.approx(published, rel=0.02)


def test_provenance_names_all_that_made_the_events() -> None:
    record = provenance(Geant4Data("standin", Path("somewhere"), "1"), "QGSP_BERT", 0.003, seed=5)
    assert record == {
        "generator": "Geant4 11.4.0 via calzone 1.2.2",
        "geant4_data": "standin",
        "geant4_data_version": "1",
        "physics_list": "QGSP_BERT",
        "production_cut_cm": 0.003,
        "seed": 5,
    }


def test_the_versions_are_those_that_are_installed() -> None:
    script = "import calzone; print(calzone.VERSION, calzone.GEANT4_VERSION)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [geant4.CALZONE_VERSION, geant4.GEANT4_VERSION]
