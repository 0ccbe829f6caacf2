"""Particle codes of the Monte Carlo numbering scheme: which exist, what they are called, what they weigh."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from nubench.containers import Bool, Int64
from nubench.errors import DataError
from nubench.shifts import Name
from nubench.simulation.particle_gun import MASSES

#: Class names, and the particles that belong to them whatever their charge.
SPECIES: Final[Mapping[str, tuple[int, ...]]] = {
    "electron": (11,),
    "gamma": (22,),
    "kaon": (321, 130, 310, 311),
    "muon": (13,),
    "neutron": (2112,),
    "pion": (211,),
    "pizero": (111,),
    "proton": (2212,),
}

#: Other words for them in file and folder names.
_SYNONYMS: Final[Mapping[str, str]] = {
    "e": "electron",
    "e-": "electron",
    "e+": "electron",
    "positron": "electron",
    "photon": "gamma",
    "k": "kaon",
    "mu": "muon",
    "mu-": "muon",
    "mu+": "muon",
    "n": "neutron",
    "p": "proton",
    "pi": "pion",
    "pi-": "pion",
    "pi+": "pion",
    "pi0": "pizero",
}

#: Other leptons, mesons and baryons that Geant4 tracks, by absolute value.
_OTHERS: Final = (
    *(12, 14, 15, 16, 113, 213, 221, 223, 313, 323, 331, 333, 411, 421, 431, 443, 511, 521, 531, 541),
    *(1114, 2114, 2214, 2224, 3112, 3114, 3122, 3212, 3214, 3222, 3224, 3312, 3314, 3322, 3324, 3334),
    *(4112, 4122, 4132, 4212, 4222, 4232, 4332, 5122),
)

_NAME: Final = TypeAdapter(Name)
_KNOWN: Final = np.unique([*(code for codes in SPECIES.values() for code in codes), *MASSES, *_OTHERS])


def known_codes(pdg: Int64) -> Bool:
    """Tell which codes (N,) are particles or nuclei.

    A nucleus is 10LZZZAAAI: L strange quarks, charge number Z, mass number A >= Z, excitation I (Review of Particle
    Physics, "Monte Carlo particle numbering scheme").

    Example:
        >>> known_codes(np.array([13, -211, 1000180400, 10, 0])).tolist()
        [True, True, True, False, False]
    """
    size = np.abs(pdg)
    charge, mass = size // 10_000 % 1000, size // 10 % 1000
    nucleus = (size // 100_000_000 == 10) & (charge >= 1) & (mass >= charge)
    known: Bool = np.isin(size, _KNOWN) | nucleus
    return known


def class_of(pdg: int) -> str:
    """Name the class of a particle, whatever its charge; ``pdg-CODE`` where it has no name here.

    Example:
        >>> class_of(-13), class_of(1000180400)
        ('muon', 'pdg-1000180400')
    """
    for name, codes in SPECIES.items():
        if abs(pdg) in codes:
            return name
    return f"pdg-{abs(pdg)}"


def code_of(word: str) -> int | None:
    """Find the particle that a file or folder is named after; None when the word is not known here.

    Example:
        >>> code_of("Muon"), code_of("photon"), code_of("class-a")
        (13, 22, None)
    """
    name = word.lower()
    name = _SYNONYMS.get(name, name)
    return SPECIES[name][0] if name in SPECIES else None


def mass_of(pdg: int) -> float | None:
    """The mass of a particle, MeV; None where it is not kept here."""
    return MASSES.get(abs(pdg))


def class_name(folder: str, where: str) -> str:
    """Turn the name of a folder into the name of a class: lower case, underscores and blanks to hyphens.

    Args:
        folder: its name.
        where: the path, for the message.

    Raises:
        DataError: when no class can be called so.
    """
    name = re.sub(r"[\s_]+", "-", folder.lower())
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise DataError(
            f"{where}: a class cannot be called {folder!r}; use letters, digits, dots and hyphens, a letter or a digit "
            "first"
        ) from error
