"""What an import is: what was asked for, and what a format makes of the files before anything is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from nubench.containers import Int64
from nubench.datasets.cards import SPLITS, Card, Imported, ParticleClass, Sizes, Split
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError
from nubench.importing.splits import DEFAULT_FRACTIONS
from nubench.profiles import PROFILES
from nubench.progress import Progress
from nubench.shifts import Shift

#: Events of each class, by split.
Counts = Mapping[Split, Mapping[str, int]]

EVENTS_A_CHUNK: Final = 512


@dataclass(frozen=True)
class ImportSettings:
    """What was asked for.

    Attributes:
        format: name of the format.
        path: file or folder.
        name: of the data set to be.
        fractions: share of each split, where the files do not say what is what.
        seed: of the sharing out, the order of the events and the masking.
        axes: order of the axes of segments, see :data:`nubench.importing.segment_tables.AXES`.
        classes: of segments; those of other classes are left out. None takes all that are found.
        adapt_fraction: share of the test events that become the adaptation split, where files bring none.
        origin: where the coordinates of cubes count from; None finds out.
    """

    format: str
    path: Path
    name: str
    fractions: Mapping[Split, float] = field(default_factory=lambda: dict(DEFAULT_FRACTIONS))
    seed: int = 0
    axes: str = "xyz"
    classes: tuple[str, ...] | None = None
    adapt_fraction: float = 0.25
    origin: str | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """All that decides the data set beside the files."""
        return {
            "format": self.format,
            "fractions": dict(self.fractions),
            "seed": self.seed,
            "axes": self.axes,
            "classes": self.classes,
            "adapt_fraction": self.adapt_fraction,
            "origin": self.origin,
        }


@dataclass(frozen=True)
class ImportPlan:
    """Files that were all read once and found good.

    Attributes:
        card: of the data set.
        counts: events that will be written, before those with too few hits are left out.
        notes: what was found on the way, a sentence each.
        fill: writes deposits or events into the data set; it is given an empty folder for scratch files.
    """

    card: Card
    counts: Counts
    notes: tuple[str, ...]
    fill: Callable[[Dataset, Path, Progress], None]


def digest_of_files(root: Path, digests: Mapping[Path, str], settings: ImportSettings) -> str:
    """SHA-256 over the files, by their path below ``root``, and over what was asked for."""
    files = {file.relative_to(root).as_posix() if file != root else file.name: sha for file, sha in digests.items()}
    content = json.dumps([sorted(files.items()), settings.recorded], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def count_events(labels: Int64, split: Int64, classes: Sequence[str]) -> Counts:
    """Count events (E,) by split, an index into :data:`nubench.datasets.cards.SPLITS`, and class."""
    return {
        name: {
            particle: int(np.count_nonzero((split == index) & (labels == label)))
            for label, particle in enumerate(classes)
        }
        for index, name in enumerate(SPLITS)
    }


def imported_card(
    template: Card,
    settings: ImportSettings,
    *,
    title: str,
    classes: Iterable[ParticleClass],
    counts: Counts,
    sha256: str,
    notes: Sequence[str],
    nominal: Mapping[str, float | str],
    shifts: Sequence[Shift],
) -> Card:
    """Make the card of an imported data set.

    Args:
        template: the card of the same detector, whose normalisation, seed of the noise and least number of hits stay.
        settings: what was asked for.
        title: one line.
        classes: in the order of the labels.
        counts: events by split and class.
        sha256: of the files and the settings.
        notes: what was found on the way.
        nominal: the detector parameters that are known.
        shifts: the axes that the files bring, or that the detector can be moved along.

    Raises:
        DataError: when there are fewer than two classes.
    """
    particles = list(classes)
    if len(particles) < 2:
        raise DataError(
            f"{settings.path} holds events of one class, {particles[0].name if particles else 'none'}; a data set "
            "needs two or more"
        )
    # The same events serve every profile, so all profiles state the same sizes.
    sizes = Sizes.model_validate(
        {split: max(1, round(sum(counts[split].values()) / len(particles))) for split in SPLITS}
    )
    return Card.model_validate(
        {
            **template.model_dump(exclude={"truth", "imported"}),
            "name": settings.name,
            "version": 1,
            "title": title,
            "description": f"Imported from {settings.path.name} by `nubench data import --format {settings.format}`.",
            "weak_points": tuple(notes),
            "sources": (settings.path.name,),
            "imported": Imported(
                format=settings.format, source=settings.path.name, sha256=sha256, notes=tuple(notes)
            ).model_dump(),
            "classes": [particle.model_dump() for particle in particles],
            "nominal": dict(nominal),
            "sizes": {profile: sizes.model_dump() for profile in PROFILES},
            "shifts": [shift.model_dump() for shift in shifts],
        }
    )


def made_by(card: Card) -> dict[str, Any]:
    """What is known of the making of imported events, recorded in every file."""
    imported = card.imported
    if imported is None:
        raise DataError(f"data set {card.name!r} is not an imported one")
    return {
        "generator": f"imported with --format {imported.format}",
        "source": imported.source,
        "source_sha256": imported.sha256,
    }
