"""The book of a data set's finished files: what was built, from what, and whether it is still what was built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from nubench.errors import DataError
from nubench.progress import Progress
from nubench.storage.checked_json import read_checked, write_checked
from nubench.storage.files import PARTIAL_SUFFIX, sha256_of
from nubench.storage.locking import locked

IMPORTED_FOLDER: Final = "imported"
"""Where imported data sets are kept in the cache, each in a folder of its name."""

CARD_FILE: Final = "card.json"
"""The card of an imported data set, in its folder."""


MANIFEST_FILE: Final = "manifest.json"
"""The book of a data set, in its folder."""

#: A record takes some 400 bytes; a card with ten thousand points is far from anybody's.
_MOST_BYTES: Final = 20_000_000


class FileRecord(BaseModel):
    """One finished file.

    Attributes:
        sha256: of the file, which says whether it is the one that was built.
        content: SHA-256 of the events alone, the same whatever wrote the file; empty for deposits and labels.
        size: bytes.
        events, dropped: events in it, and those with too few hits.
        key: digest of what made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    content: str
    size: int
    events: int
    dropped: int
    key: str


class Manifest(BaseModel):
    """The finished files of a data set, by their path relative to it."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any]
    files: dict[str, FileRecord] = {}


def labels_of(file: str) -> str:
    """The path of the labels that stand apart from a file of events, both relative to the data set."""
    return f"labels/{file}"


def truth_of(split: str, physics_list: str | None = None) -> str:
    """The path of the deposits of a split, relative to the data set; of the card's physics list or another one."""
    return f"truth/{split}-{physics_list}.h5" if physics_list else f"truth/{split}.h5"


class DatasetFiles:
    """The files of one data set and their manifest, ``manifest.json``.

    Args:
        directory: the folder of the data set; it need not exist.
        recipe: what decides the data set, for a new manifest.
        make: what a user does about a file that is not there, for messages.
        mend: what a user does about a file that cannot be trusted.
    """

    def __init__(self, directory: Path, recipe: dict[str, Any], make: str, mend: str) -> None:
        self.directory, self._recipe, self._make, self._mend = directory, recipe, make, mend

    def manifest(self) -> Manifest:
        """What is finished.

        Raises:
            DataError: when the manifest is damaged.
        """
        file = self.directory / MANIFEST_FILE
        if not file.exists():
            return Manifest(recipe=self._recipe)
        try:
            # Those that an earlier version wrote have no checksum.
            return Manifest.model_validate(read_checked(file, _MOST_BYTES, required=False))
        except (DataError, ValidationError) as error:
            reason = "it is no manifest" if isinstance(error, ValidationError) else str(error)
            raise DataError(f"{file} is damaged; {self._mend} ({reason})") from error

    def is_current(self, file: str, key: str) -> bool:
        """Tell whether a file is finished and was made from what ``key`` stands for."""
        record = self.manifest().files.get(file)
        path = self.directory / file
        return record is not None and record.key == key and path.is_file() and path.stat().st_size == record.size

    def check(self, file: str, key: str) -> Path:
        """Return the path of a finished file after checking it against its record.

        Raises:
            DataError: when the file was not built or is not the one that was built.
        """
        path = self.directory / file
        record = self.manifest().files.get(file)
        if record is None or not path.is_file():
            raise DataError(f"{path} is not built; {self._make}")
        if record.key != key:
            raise DataError(f"{path} was built for other parameters; {self._mend}")
        if sha256_of(path) != record.sha256:
            raise DataError(f"{path} is not the file that was built (its checksum differs); {self._mend}")
        return path

    def enter(self, file: str, key: str, content: str, events: int, dropped: int) -> None:
        """Put a file that was just written into the manifest."""
        path = self.directory / file
        record = FileRecord(
            sha256=sha256_of(path),
            content=content,
            size=path.stat().st_size,
            events=events,
            dropped=dropped,
            key=key,
        )
        manifest = self.manifest()
        manifest.files[file] = record
        self._write(manifest)

    def on_disk(self) -> list[str]:
        """Every HDF5 file in the folder, recorded or not, by its path in it."""
        return sorted(path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*.h5"))

    def remove_unfinished(self) -> list[str]:
        """Remove what killed processes left; while locked, nobody is writing here."""
        found = sorted(self.directory.rglob(f"*{PARTIAL_SUFFIX}"))
        for leftover in found:
            leftover.unlink(missing_ok=True)
        return [leftover.relative_to(self.directory).as_posix() for leftover in found]

    def discard(self, files: Iterable[str]) -> None:
        """Remove files and their records."""
        manifest = self.manifest()
        for file in files:
            manifest.files.pop(file, None)
            (self.directory / file).unlink(missing_ok=True)
        self._write(manifest)

    def start_anew(self) -> None:
        """Write an empty manifest in the place of a damaged one."""
        self._write(Manifest(recipe=self._recipe))

    def _write(self, manifest: Manifest) -> None:
        write_checked(self.directory / MANIFEST_FILE, manifest.model_dump(mode="json"))

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Keep other processes from building here meanwhile; say so when one already does."""
        waiting = f"Another process is building in {self.directory}; waiting for it."
        with locked(self.directory / ".lock", progress.say, waiting):
            yield
