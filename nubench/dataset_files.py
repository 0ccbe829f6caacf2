"""The book of a data set's finished files: what was built, from what, and whether it is still what was built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from nubench.errors import DataError
from nubench.progress import Progress
from nubench.storage import sha256_of, write_atomically

IMPORTED_FOLDER: Final = "imported"
"""Where imported data sets are kept in the cache, each in a folder of its name."""

CARD_FILE: Final = "card.json"
"""The card of an imported data set, in its folder."""


class FileRecord(BaseModel):
    """One finished file.

    Attributes:
        sha256: of the file, which says whether it is the one that was built.
        content: SHA-256 of the events alone, the same whatever wrote the file; empty for deposits.
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


def digest_of(content: Any) -> str:
    """SHA-256 of anything that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class DatasetFiles:
    """The files of one data set and their manifest, ``manifest.json``.

    Args:
        directory: the folder of the data set; it need not exist.
        recipe: what decides the data set, for a new manifest.
        mend: what a user does about a file that cannot be trusted, for messages.
    """

    def __init__(self, directory: Path, recipe: dict[str, Any], mend: str) -> None:
        self.directory, self._recipe, self._mend = directory, recipe, mend

    def manifest(self) -> Manifest:
        """What is finished.

        Raises:
            DataError: when the manifest is damaged.
        """
        file = self.directory / "manifest.json"
        if not file.exists():
            return Manifest(recipe=self._recipe)
        try:
            return Manifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise DataError(f"{file} is damaged; remove the folder and {self._mend}") from error

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
            raise DataError(f"{path} is not built; {self._mend}")
        if record.key != key:
            raise DataError(f"{path} was built for other parameters; remove it and {self._mend}")
        if sha256_of(path) != record.sha256:
            raise DataError(f"{path} is not the file that was built (its checksum differs); remove it and {self._mend}")
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
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True)
        write_atomically(self.directory / "manifest.json", text.encode())

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Keep other processes from building here meanwhile; say so when one already does."""
        lock = FileLock(self.directory / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"Another process is building in {self.directory}; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
