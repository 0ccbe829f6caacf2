from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xraylib

from nubench.errors import DataError
from nubench.simulation import standin_data
from nubench.simulation.standin_data import DATA_FOLDERS, ELEMENTS, read_version, write_standin_data

ARGON_RADIATION_LENGTH = 19.55  # g/cm2, Review of Particle Physics
CARBON_RADIATION_LENGTH = 42.70
AVOGADRO = 6.02214076e23


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_standin_data(tmp_path_factory.mktemp("cache") / "standin")


def read_vector(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a physics vector as Geant4 does, checking the counts of its head."""
    words = path.read_text().split()
    size = int(words[2])
    assert int(words[3]) == size
    energy, value = np.array(words[4:], dtype=float).reshape(size, 2).T
    np.testing.assert_allclose([energy[0], energy[-1]], np.array(words[:2], dtype=float))
    return energy, value


def read_bremsstrahlung(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    words = path.read_text().split()
    columns, rows = int(words[1]), int(words[2])
    numbers = np.array(words[3:], dtype=float)
    assert len(numbers) == columns + rows + columns * rows
    return (
        numbers[:columns],
        np.exp(numbers[columns : columns + rows]),
        numbers[columns + rows :].reshape(rows, columns),
    )


def vectors(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file() and p.name.startswith(("pe-cs", "re-cs", "inel", "el", "cap"))]


def test_every_folder_that_calzone_demands_is_there(standin: Path) -> None:
    assert all((standin / name).is_dir() for name in DATA_FOLDERS)


def test_every_cross_section_rises_in_energy_and_is_not_negative(standin: Path) -> None:
    paths = vectors(standin)
    assert len(paths) == 2 * len(ELEMENTS) + 95 + 3 * 92
    for path in paths:
        energy, value = read_vector(path)
        assert np.all(np.diff(energy) > 0), path
        assert np.all(value >= 0), path


@pytest.mark.parametrize(
    ("z", "energy_mev", "attenuation", "tolerance"),
    [
        # Total attenuation with coherent scattering, cm2/g, from the X-ray tables of NIST (NISTIR 5632).
        (18, 0.010, 63.16, 0.03),
        (18, 0.100, 0.2043, 0.03),
        (6, 0.010, 2.373, 0.03),
        (6, 0.100, 0.1514, 0.03),
    ],
)
def test_photons_are_attenuated_as_published(
    standin: Path, z: int, energy_mev: float, attenuation: float, tolerance: float
) -> None:
    per_gram = AVOGADRO * 1e-24 / xraylib.AtomicWeight(z)
    energy, photoelectric = read_vector(standin / f"G4EMLOW8.8/epics2017/phot/pe-cs-{z}.dat")
    photo = np.exp(np.interp(np.log(energy_mev), np.log(energy), np.log(photoelectric / energy**3))) * per_gram
    energy, rayleigh = read_vector(standin / f"G4EMLOW8.8/epics2017/rayl/re-cs-{z}.dat")
    coherent = np.exp(np.interp(np.log(energy_mev), np.log(energy), np.log(rayleigh / energy**2 / 1e-22))) * per_gram
    total = photo + coherent + xraylib.CS_Compt(z, 1e3 * energy_mev)  # Compton scattering is Geant4's own
    assert total == pytest.approx(attenuation, rel=tolerance)


def test_the_photoelectric_effect_begins_at_the_k_edge(standin: Path) -> None:
    energy, _ = read_vector(standin / "G4EMLOW8.8/epics2017/phot/pe-cs-18.dat")
    assert energy[0] == pytest.approx(3.2060e-3, rel=1e-3)


@pytest.mark.parametrize(("z", "radiation_length"), [(18, ARGON_RADIATION_LENGTH), (6, CARBON_RADIATION_LENGTH)])
def test_radiative_losses_of_fast_electrons_give_the_radiation_length(
    standin: Path, z: int, radiation_length: float
) -> None:
    fraction, energy, scaled = read_bremsstrahlung(standin / f"G4EMLOW8.8/brem_SB/br{z}")
    assert energy[-1] == pytest.approx(1e4)
    loss_per_energy = np.trapezoid(scaled[-1], fraction) * z**2 * 1e-27 * AVOGADRO / xraylib.AtomicWeight(z)
    assert 1 / loss_per_energy == pytest.approx(radiation_length, rel=0.10)


def test_bremsstrahlung_is_positive_everywhere(standin: Path) -> None:
    for z in ELEMENTS.values():
        fraction, energy, scaled = read_bremsstrahlung(standin / f"G4EMLOW8.8/brem_SB/br{z}")
        assert np.all(np.diff(fraction) > 0)
        assert np.all(np.diff(energy) > 0)
        assert np.all(scaled > 0)


def test_the_giant_resonance_of_argon_exhausts_its_sum_rule(standin: Path) -> None:
    energy, value = read_vector(standin / "G4PARTICLEXS4.2/gamma/inel18")
    mass = xraylib.AtomicWeight(18)
    integral = np.trapezoid(value / 1e-22, energy)  # MeV barn
    assert integral == pytest.approx(0.060 * (mass - 18) * 18 / mass, rel=0.2)
    assert 15 < energy[np.argmax(value)] < 22


def test_neutron_capture_falls_with_velocity_from_its_thermal_value(standin: Path) -> None:
    energy, value = read_vector(standin / "G4PARTICLEXS4.2/neutron/cap18")
    barn = np.exp(np.interp(np.log([2.53e-8, 4 * 2.53e-8]), np.log(energy), np.log(value / 1e-22)))
    assert barn[0] == pytest.approx(0.66, rel=0.01)
    assert barn[0] / barn[1] == pytest.approx(2, rel=0.01)


def test_two_writes_are_the_same_to_the_byte(standin: Path, tmp_path: Path) -> None:
    again = write_standin_data(tmp_path / "again")
    files = sorted(p.relative_to(standin) for p in standin.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((standin / f).read_bytes() == (again / f).read_bytes() for f in files)


def test_a_complete_directory_is_not_written_again(standin: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in standin.rglob("*")}
    assert write_standin_data(standin) == standin
    assert before == {p: p.stat().st_mtime_ns for p in standin.rglob("*")}


def test_what_a_killed_write_left_behind_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".standin-killed" / "G4EMLOW8.8").mkdir(parents=True)
    assert read_version(write_standin_data(tmp_path / "standin")) == standin_data.STANDIN_VERSION


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(path: Path, z: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(standin_data, "_write_photoelectric", disk_full)
    with pytest.raises(OSError, match="no space"):
        write_standin_data(tmp_path / "standin")
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_writers_takes_the_directory_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all = standin_data._write_all

    def overtaken(root: Path) -> None:
        write_all(root)
        monkeypatch.setattr(standin_data, "_write_all", write_all)
        write_standin_data(tmp_path / "standin")

    monkeypatch.setattr(standin_data, "_write_all", overtaken)
    write_standin_data(tmp_path / "standin")
    assert [p.name for p in tmp_path.iterdir()] == ["standin"]


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the stand-in.*Delete it"):
        write_standin_data(tmp_path)


def test_a_directory_of_which_parts_were_deleted_is_refused(tmp_path: Path) -> None:
    directory = write_standin_data(tmp_path / "standin")
    (directory / "G4NDL4.7.1").rmdir()
    with pytest.raises(DataError, match=r"lacks G4NDL4\.7\.1"):
        write_standin_data(directory)
