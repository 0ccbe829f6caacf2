"""Data-set cards: a TOML file says all that makes a data set, and what is known to be weak in it."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nubench.errors import DataError, unknown_name
from nubench.problems import in_words, problems_of
from nubench.shifts import Name, Shift
from nubench.storage.checked_json import without_checksum
from nubench.storage.foreign_text import parsed_json, parsed_toml, read_text

#: A card is a few kB, and a few hundred for one of a thousand points.
MOST_BYTES: Final = 5_000_000

Split = Literal["train", "val", "adapt", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "adapt", "test")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Normalisation(_Model):
    """The network sees ``(raw - offset) / scale``; fixed by the card from the source, the same for every target."""

    offset: float
    scale: float = Field(gt=0)
    unit: str
    how: str


class ParticleClass(_Model):
    """One class: its Particle Data Group codes (drawn equally) and its spectrum, flat in energy or in momentum.

    Attributes:
        kinetic_energy_mev: lowest and highest kinetic energy, MeV, of a spectrum flat in it.
        momentum_mev: lowest and highest momentum, MeV/c, of a spectrum flat in it. A class that is generated states
            one of the two; of an imported one neither may be known.
    """

    name: Name
    pdg: tuple[int, ...] = ()
    kinetic_energy_mev: tuple[float, float] | None = None
    momentum_mev: tuple[float, float] | None = None


class Truth(_Model):
    """What Geant4 is asked to simulate."""

    material: str
    density_g_cm3: float
    physics_list: str
    production_cut_cm: float = Field(gt=0)
    vertex_min_cm: tuple[float, float, float]
    vertex_max_cm: tuple[float, float, float]
    seed: int


class Sizes(_Model):
    """Events of each class generated for a split, before events with too few hits are dropped."""

    train: int = Field(gt=0)
    val: int = Field(gt=0)
    adapt: int = Field(gt=0)
    test: int = Field(gt=0)


class Imported(_Model):
    """Where the events of an imported data set come from.

    Attributes:
        format: name of the format they were read from.
        source: name of the file or folder that was imported.
        sha256: over all files that were read, and the options of the import.
        notes: what was found on the way: repeated kinematics, dropped rows.
    """

    format: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


class Card(_Model):
    """A data set, whole.

    Attributes:
        name, version, title, description, weak_points: what it is and what is known to be weak in it.
        detector: name of the response.
        truth: what Geant4 is asked for; None where the events are imported.
        imported: where they come from; None where they are generated.
        classes: the particle classes; their order is the label.
        minimum_hits: an event with fewer hits at a shift point is not in that point's file.
        noise_seed: seed of the electronics noise, the same for all points.
        nominal: the nominal detector parameters, all of them.
        sizes: events a class and split, by profile.
        shifts: the axes along which the detector moves.
    """

    name: Name
    version: int = Field(ge=1)
    title: str
    description: str
    weak_points: tuple[str, ...]
    sources: tuple[str, ...]
    detector: Name
    voxel_size_cm: float = Field(gt=0)
    minimum_hits: int = Field(ge=1)
    noise_seed: int
    normalisation: Normalisation
    truth: Truth | None = None
    imported: Imported | None = None
    classes: tuple[ParticleClass, ...] = Field(min_length=2)
    nominal: dict[str, float | str]
    sizes: dict[str, Sizes]
    shifts: tuple[Shift, ...]

    @model_validator(mode="after")
    def _is_generated_or_imported(self) -> Card:
        if (self.truth is None) == (self.imported is None):
            raise ValueError("a card must state either truth, to be generated, or imported")
        for particle in self.classes if self.truth is not None else ():
            if not particle.pdg or (particle.kinetic_energy_mev is None) == (particle.momentum_mev is None):
                raise ValueError(
                    f"class {particle.name!r} must state pdg and either kinetic_energy_mev or momentum_mev"
                )
        return self

    @model_validator(mode="after")
    def _points_move_known_parameters(self) -> Card:
        for shift in self.shifts:
            for point in shift.points:
                unknown = set(point.parameters) - set(self.nominal)
                if unknown:
                    raise ValueError(f"{shift.name}/{point.name} sets {sorted(unknown)}, absent from [nominal]")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their labels."""
        return tuple(particle.name for particle in self.classes)

    def shift(self, name: str) -> Shift:
        """Find a shift.

        Raises:
            UsageError: when the card has none of this name.
        """
        for shift in self.shifts:
            if shift.name == name:
                return shift
        raise unknown_name("shift", name, [shift.name for shift in self.shifts])

    def sizes_of(self, profile: str) -> Sizes:
        """Events a class and split of a profile.

        Raises:
            UsageError: when the card states no sizes for it.
        """
        if profile not in self.sizes:
            raise unknown_name("profile", profile, self.sizes)
        return self.sizes[profile]


def read_card(file: Traversable) -> Card:
    """Read and check a card, in TOML, or in JSON as :meth:`nubench.datasets.dataset.Dataset.write_card` leaves it.

    Raises:
        DataError: when the file is neither, breaks the schema, is larger than 5 MB, or was changed after
            :meth:`Dataset.write_card` had written it; the message names file, field and reason.
    """
    language = "JSON" if file.name.endswith(".json") else "TOML"
    try:
        text = read_text(file, MOST_BYTES)
        if language == "TOML":
            return Card.model_validate(parsed_toml(text))
        content = parsed_json(text)
        # Cards that an earlier version wrote have no checksum.
        return Card.model_validate(without_checksum(content, required=False) if isinstance(content, dict) else content)
    except ValidationError as error:
        raise DataError(f"data-set card {file.name} breaks the schema: {in_words(problems_of(error))}") from error
    except ValueError as error:
        raise DataError(f"data-set card {file.name} is not valid {language}: {error}") from error
