"""A small stand-in for the Geant4 data sets, computed from published formulas and from ``xraylib``.

Geant4's own data sets (about 2 GB) are on no package registry. With the 3 MB written here Geant4 11.4, as packed
by calzone 1.2.2, simulates single particles of up to a few GeV in argon, water and hydrocarbons. Ionisation,
multiple scattering, straggling, pair production, Compton scattering, decays and the Bertini cascade are Geant4's
own; only the tabulated cross sections come from here.

Weak parts, to be stated by every data set made with it:

- neutron cross sections and the photonuclear giant resonance are rough analytic curves, without resonances;
- there are no nuclear levels: no lines of nuclear de-excitation and no radioactive decays;
- photoelectrons come from the K shell only, with no fluorescence line other than its binding energy;
- bremsstrahlung is Tsai's high-energy formula, approximate below a few MeV;
- only hydrogen, carbon, oxygen and argon (:data:`ELEMENTS`) can be simulated electromagnetically.

Sources:

- Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815, section III (bremsstrahlung, Thomas-Fermi-Moliere form factors);
- H. Davies, H. A. Bethe, L. C. Maximon, Phys. Rev. 93 (1954) 788 (Coulomb correction), in Tsai's series;
- T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776 (xraylib: photoelectric and Rayleigh cross sections);
- B. L. Berman, S. C. Fultz, Rev. Mod. Phys. 47 (1975) 713 (giant resonance: energy, width and sum rule).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xraylib

from nubench.containers import Float64
from nubench.errors import DataError

STANDIN_VERSION = "1"
"""Changes whenever the content of a file changes, so that old and new truth are never mixed."""

VERSION_FILE = "NUBENCH_STANDIN"
"""Names the directory as a stand-in, and holds its version."""

ELEMENTS: Mapping[str, int] = {"H": 1, "C": 6, "O": 8, "Ar": 18}
"""Atomic numbers of the elements with electromagnetic data."""

EM_FOLDER = "G4EMLOW8.8"
HADRONIC_FOLDER = "G4PARTICLEXS4.2"
LEVELS_FOLDER = "G4ENSDFSTATE3.0"
UNUSED_FOLDERS = (
    "G4NDL4.7.1",
    "RadioactiveDecay6.1.2",
    "G4PII1.3",
    "RealSurface2.2",
    "G4SAIDDATA2.0",
    "G4ABLA3.3",
    "G4INCL1.3",
    "G4CHANNELING2.0",
    "PhotonEvaporation6.1.2",
)
"""calzone asks for these to exist; none of their files is read by the supported physics lists."""

DATA_FOLDERS = (EM_FOLDER, HADRONIC_FOLDER, LEVELS_FOLDER, *UNUSED_FOLDERS)
"""Every folder that calzone 1.2.2 demands, names bound to its Geant4 version."""

ELECTRON_MASS = 0.51099895  # MeV
FINE_STRUCTURE = 1 / 137.035999
CLASSICAL_RADIUS_SQUARED = 79.4078  # r_e^2, mb
BARN = 1e-22  # mm2, Geant4's unit of area in these files
AVOGADRO_BARN = 0.602214  # mol^-1 cm2/barn: a cross section in cm2/g is this / A times the one in barn per atom
COULOMB_CORRECTION_ABOVE = 50.0  # MeV, total energy from which Davies-Bethe-Maximon is applied
XRAYLIB_LIMIT = 0.7  # MeV; xraylib's tables end at 0.8 MeV
HIGHEST_ENERGY = 1e5  # MeV
RYDBERG = 1.36e-5  # MeV; stands for the K edge where xraylib gives none

THERMAL_ENERGY = 2.53e-8  # MeV
RESONANCE_WIDTH = 6.0  # MeV, giant dipole resonance
PHOTONUCLEAR_THRESHOLD = 8.0  # MeV, about the binding energy of a nucleon
HIGHEST_GAMMA_ELEMENT = 95  # Geant4 reads the whole periodic table when it starts
HIGHEST_NEUTRON_ELEMENT = 92


class NeutronData(NamedTuple):
    """Five numbers from which the neutron curves of one element are drawn.

    Attributes:
        thermal_capture: capture cross section at 0.0253 eV, barn.
        slow_elastic: elastic cross section far below 1 MeV, barn.
        inelastic_threshold: lowest energy of inelastic scattering, MeV.
        fast_inelastic: inelastic cross section near 20 MeV, barn.
        fast_elastic: elastic cross section near 20 MeV, barn.
    """

    thermal_capture: float
    slow_elastic: float
    inelastic_threshold: float
    fast_inelastic: float
    fast_elastic: float


NEUTRON_DATA = {
    1: NeutronData(0.333, 20.4, 99.0, 0.0, 0.48),
    6: NeutronData(0.0035, 4.7, 4.8, 0.48, 0.95),
    8: NeutronData(0.00019, 3.8, 6.5, 0.60, 1.00),
    18: NeutronData(0.66, 0.65, 1.5, 1.05, 1.20),
}
"""Evaluated values, rounded, of the elements that detectors here are made of."""


def generic_neutron_data(atomic_mass: float) -> NeutronData:
    """Guess the neutron data of an element that can only appear as a nuclear fragment.

    The inelastic cross section is the geometric pi (1.16 A^(1/3) + 0.6)^2 fm2 times 1.17.

    Args:
        atomic_mass: g/mol.
    """
    inelastic = 0.0366 * (1.16 * atomic_mass ** (1 / 3) + 0.6) ** 2
    return NeutronData(1.0, 4.0, 2.0, inelastic, 1.1 * inelastic)


def bremsstrahlung(z: int, kinetic_energy: float, photon_fraction: Float64) -> Float64:
    """Compute the scaled bremsstrahlung spectrum of electrons after Tsai, section III.

    Args:
        z: atomic number.
        kinetic_energy: T of the electron, MeV.
        photon_fraction: (K,) photon energy k / T.

    Returns:
        (K,) (beta / Z)^2 k dsigma/dk, mb.
    """
    photon = photon_fraction * kinetic_energy
    total = kinetic_energy + ELECTRON_MASS
    fraction = photon / total
    beta_squared = kinetic_energy * (kinetic_energy + 2 * ELECTRON_MASS) / total**2
    screening = 100 * ELECTRON_MASS * photon / (total * np.maximum(total - photon, ELECTRON_MASS))
    gamma, epsilon = screening / z ** (1 / 3), screening / z ** (2 / 3)
    phi1 = 16.863 - 2 * np.log(1 + 0.311877 * gamma**2) + 2.4 * np.exp(-0.9 * gamma) + 1.6 * np.exp(-1.5 * gamma)
    phi2 = phi1 - 2 / (3 + 19.5 * gamma + 18 * gamma**2)
    psi1 = 24.34 - 2 * np.log(1 + 13.111641 * epsilon**2) + 2.8 * np.exp(-8 * epsilon) + 1.2 * np.exp(-29.2 * epsilon)
    psi2 = psi1 - 2 / (3 + 120 * epsilon + 1200 * epsilon**2)
    a2 = (FINE_STRUCTURE * z) ** 2
    coulomb = a2 * (1 / (1 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3)
    if total <= COULOMB_CORRECTION_ABOVE:
        coulomb = 0.0
    nucleus = phi1 / 4 - np.log(z) / 3 - coulomb
    electrons = (psi1 / 4 - 2 * np.log(z) / 3) / z
    spectrum = (1 - fraction + 0.75 * fraction**2) * (nucleus + electrons)
    spectrum += (1 - fraction) * ((phi1 - phi2) + (psi1 - psi2) / z) / 8
    # The formula turns negative at the tip of slow electrons, where Geant4 needs a cross section.
    result: Float64 = 16 / 3 * FINE_STRUCTURE * CLASSICAL_RADIUS_SQUARED * beta_squared * np.maximum(spectrum, 0.05)
    return result


def photoelectric(z: int) -> tuple[Float64, Float64]:
    """Tabulate the photoelectric cross section from the K edge up, from xraylib as far as it goes.

    Above, the last slope in log-log holds to 2 MeV and 1/E beyond, as for a relativistic photoelectron.

    Args:
        z: atomic number.

    Returns:
        (280,) photon energies, MeV, and (280,) cross sections, barn per atom.
    """
    edge = k_edge(z)
    low = np.geomspace(max(edge * 1.000001, 1e-4), XRAYLIB_LIMIT, 160)
    measured = np.array([xraylib.CS_Photo(z, 1e3 * e) for e in low]) * _barn_per_atom(z)
    slope = np.log(measured[-1] / measured[-8]) / np.log(low[-1] / low[-8])
    high = np.geomspace(0.71, HIGHEST_ENERGY, 120)
    extended = measured[-1] * (np.minimum(high, 2.0) / low[-1]) ** slope * np.minimum(2.0 / high, 1.0)
    return np.concatenate([low, high]), np.concatenate([measured, extended])


def rayleigh(z: int) -> tuple[Float64, Float64]:
    """Tabulate the coherent scattering cross section, from xraylib and as 1/E^2 beyond its tables.

    Args:
        z: atomic number.

    Returns:
        (200,) photon energies, MeV, and (200,) cross sections, barn per atom.
    """
    low = np.geomspace(1e-3, XRAYLIB_LIMIT, 120)
    measured = np.array([xraylib.CS_Rayl(z, 1e3 * e) for e in low]) * _barn_per_atom(z)
    high = np.geomspace(0.75, HIGHEST_ENERGY, 80)
    return np.concatenate([low, high]), np.concatenate([measured, measured[-1] * (low[-1] / high) ** 2])


def k_edge(z: int) -> float:
    """Return the binding energy of the K shell, MeV."""
    return max(1e-3 * float(xraylib.EdgeEnergy(z, xraylib.K_SHELL)), RYDBERG)


def photonuclear(z: int) -> tuple[Float64, Float64]:
    """Draw the giant dipole resonance as one Lorentz curve that exhausts the sum rule 60 N Z / A MeV mb.

    Args:
        z: atomic number; hydrogen has none.

    Returns:
        (121,) photon energies, MeV, and (121,) cross sections, barn per atom.
    """
    energy = np.linspace(1, 31, 121)
    if z == 1:
        return energy, np.zeros_like(energy)
    mass = float(xraylib.AtomicWeight(z))
    centre = 31.2 * mass ** (-1 / 3) + 20.6 * mass ** (-1 / 6)
    peak = 0.060 * (mass - z) * z / mass * 2 / (np.pi * RESONANCE_WIDTH)
    curve = peak / (1 + ((energy**2 - centre**2) / (energy * RESONANCE_WIDTH)) ** 2)
    return energy, np.where(energy > PHOTONUCLEAR_THRESHOLD, curve, 0.0)


def neutron(z: int) -> tuple[Float64, dict[str, Float64]]:
    """Draw the neutron cross sections of one element.

    Args:
        z: atomic number.

    Returns:
        (200,) kinetic energies, MeV, and for capture ("cap"), elastic ("el") and inelastic ("inel") scattering the
        (200,) cross sections, barn per atom.
    """
    energy = np.geomspace(1e-11, 20, 200)
    data = NEUTRON_DATA.get(z) or generic_neutron_data(float(xraylib.AtomicWeight(z)))
    above = np.maximum(energy - data.inelastic_threshold, 0.0)
    return energy, {
        "cap": data.thermal_capture * np.sqrt(THERMAL_ENERGY / energy) + 1e-9,
        "el": data.slow_elastic / (1 + energy) + data.fast_elastic * energy / (1 + energy),
        # 3 MeV: how fast the inelastic channels open.
        "inel": data.fast_inelastic * (1 - np.exp(-above / 3.0)) + 1e-12,
    }


def write_standin_data(directory: Path) -> Path:
    """Write the complete stand-in data directory, unless it is there already.

    The files are written beside and the directory is renamed into place as the last step: a write that was killed
    is never taken for good, and of two processes that race both find the complete directory.

    Args:
        directory: where the data shall lie; its parents are created.

    Returns:
        ``directory``.

    Raises:
        DataError: when something else than a complete stand-in of this version lies there.
    """
    if directory.exists():
        check_standin(directory)
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _write_all(temporary)
        temporary.chmod(0o755)  # mkdtemp is for the owner alone; a cache may be shared
        try:
            temporary.rename(directory)
        except OSError:
            check_standin(directory)  # another process was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def check_standin(directory: Path) -> None:
    """Check that a directory is a complete stand-in of this version.

    Raises:
        DataError: when it is not.
    """
    found = read_version(directory)
    missing = [name for name in DATA_FOLDERS if not (directory / name).is_dir()]
    if found != STANDIN_VERSION or missing:
        reason = f"lacks {', '.join(missing)}" if missing else f"has version {found!r}, not {STANDIN_VERSION!r}"
        raise DataError(
            f"{directory} is not the stand-in for the Geant4 data: it {reason}. Delete it; it is rewritten."
        )


def read_version(directory: Path) -> str | None:
    """Return the version of the stand-in in a directory, or None when it holds none."""
    try:
        return (directory / VERSION_FILE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _write_all(root: Path) -> None:
    for folder in DATA_FOLDERS:
        (root / folder).mkdir()
    for z in ELEMENTS.values():
        _write_bremsstrahlung(root / EM_FOLDER / "brem_SB" / f"br{z}", z)
        _write_photoelectric(root / EM_FOLDER / "epics2017" / "phot", z)
        energy, cross_section = rayleigh(z)
        # Geant4 interpolates E^2 sigma, in mm2.
        _write_vector(
            root / EM_FOLDER / "epics2017" / "rayl" / f"re-cs-{z}.dat", energy, cross_section * energy**2 * BARN
        )
    for z in range(1, HIGHEST_GAMMA_ELEMENT + 1):
        energy, cross_section = photonuclear(z)
        _write_vector(root / HADRONIC_FOLDER / "gamma" / f"inel{z}", energy, cross_section * BARN)
    for z in range(1, HIGHEST_NEUTRON_ELEMENT + 1):
        energy, channels = neutron(z)
        for channel, cross_section in channels.items():
            _write_vector(root / HADRONIC_FOLDER / "neutron" / f"{channel}{z}", energy, cross_section * BARN)
    _write_text(root / LEVELS_FOLDER / "ENSDFSTATE.dat", "")
    _write_text(root / VERSION_FILE, f"{STANDIN_VERSION}\n")


def _write_bremsstrahlung(path: Path, z: int) -> None:
    """Write a Geant4 two-dimensional vector: type and sizes, k / T, ln(T / MeV), and one row of mb per T."""
    fractions = np.concatenate([[1e-12], np.linspace(0.025, 0.95, 28), [0.97, 0.99, 1.0]])
    energies = np.geomspace(1e-3, 1e4, 57)
    lines = [f"5 {len(fractions)} {len(energies)}", _numbers(fractions), _numbers(np.log(energies))]
    lines += [_numbers(bremsstrahlung(z, float(energy), fractions)) for energy in energies]
    _write_text(path, "\n".join(lines) + "\n")


def _write_photoelectric(folder: Path, z: int) -> None:
    """Write the cross section and two empty fits: one shell, one used, from 1e6 MeV on, so the table always holds."""
    energy, cross_section = photoelectric(z)
    # Geant4 interpolates E^3 sigma, in barn.
    _write_vector(folder / f"pe-cs-{z}.dat", energy, cross_section * energy**3)
    for fit in ("high", "low"):
        _write_text(folder / f"pe-{fit}-{z}.dat", f"1 1 1e6\n{energy[0]:.9g} 0 0 0 0 0 0\n")


def _write_vector(path: Path, energy: Float64, value: Float64) -> None:
    """Write a Geant4 physics vector: the range and size, the size again, and pairs of energy (MeV) and value."""
    lines = [f"{energy[0]:.9g} {energy[-1]:.9g} {len(energy)}", f"{len(energy)}"]
    lines += [f"{x:.9g} {y:.9g}" for x, y in zip(energy, value, strict=True)]
    _write_text(path, "\n".join(lines) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii", newline="\n")


def _numbers(values: Float64) -> str:
    return " ".join(f"{value:.10g}" for value in values)


def _barn_per_atom(z: int) -> float:
    """Return the factor from cm2/g to barn per atom."""
    return float(xraylib.AtomicWeight(z)) / AVOGADRO_BARN
