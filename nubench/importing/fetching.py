"""Public data sets, downloaded by their DOI into the cache."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nubench.datasets.cards import Split
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError, NubenchError, unknown_name
from nubench.importing.archives import is_archive, unpack
from nubench.importing.installing import check_target, import_dataset
from nubench.importing.plans import ImportPlan, ImportSettings
from nubench.plugins.registry import PluginRegistry
from nubench.progress import Progress
from nubench.storage.files import PARTIAL_SUFFIX, make_folder

DOWNLOADS_FOLDER: Final = "downloads"


@dataclass(frozen=True)
class PublicData:
    """A data set that others publish.

    Attributes:
        doi: where it is.
        format: name of the format of its files.
        title: one line.
    """

    doi: str
    format: str
    title: str


PUBLIC: Final[Mapping[str, PublicData]] = MappingProxyType(
    {
        "segmented-cube": PublicData(
            doi="10.5281/zenodo.10998285",
            format="scintillator-dicts",
            title="single particles in 200 x 200 x 200 scintillator cubes",
        )
    }
)

Download = Callable[[str, Path, Progress], list[Path]]
"""Downloads the files of a DOI into a folder, checks their sums, and returns their paths."""


def public_data_called(name: str) -> PublicData:
    """Find a public data set.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in PUBLIC:
        raise unknown_name("public data set", name, PUBLIC)
    return PUBLIC[name]


def download_by_doi(doi: str, folder: Path, progress: Progress) -> list[Path]:
    """Download every file of a DOI that is not there yet, and check each against the archive's own sum.

    Raises:
        OSError: when the network or the archive does not answer.
        ValueError: when the archive is not one that pooch knows, or a sum differs.
    """
    import pooch

    # A file is downloaded to a temporary name, checked, and moved: one that is there is whole.
    store = pooch.create(path=folder, base_url=f"doi:{doi}/", registry=None, retry_if_failed=2)
    store.load_registry_from_doi()
    files = []
    for name in sorted(store.registry):
        if Path(name).name != name:
            raise ValueError(f"the archive calls a file {name!r}, which is a path")
        progress.say(f"downloading {name}")
        files.append(Path(store.fetch(name)))
    return files


def fetch_dataset(
    name: str,
    registry: PluginRegistry,
    cache: Path,
    progress: Progress,
    *,
    fractions: Mapping[Split, float],
    seed: int = 0,
    origin: str | None = None,
    overwrite: bool = False,
    download: Download = download_by_doi,
) -> tuple[ImportPlan, Dataset]:
    """Download a public data set, unpack it, and import it under its name.

    Downloads are kept in the cache's folder ``downloads``, so that nothing is downloaded twice; what is unpacked is
    removed.

    Args:
        name: of the data set, in :data:`PUBLIC`.
        registry, cache, progress, overwrite: see :func:`nubench.importing.installing.import_dataset`.
        fractions, seed, origin: see :class:`nubench.importing.plans.ImportSettings`.
        download: how files are downloaded.

    Raises:
        UsageError: when the name is not known, or the data set is there already.
        NubenchError: when it cannot be downloaded; the message says how to do it by hand.
        DataError: when an archive is damaged or would write outside its folder, or its files cannot be imported.
    """
    public = public_data_called(name)
    check_target(name, registry, cache, overwrite=overwrite)
    folder = cache / DOWNLOADS_FOLDER / name
    make_folder(folder)
    archives = _download(name, public, folder, progress, download)
    scratch = folder / f".{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
    try:
        for archive in archives:
            progress.say(f"unpacking {archive.name}")
            # An archive may be one class without a folder of its own.
            unpack(archive, scratch / name / archive.name.split(".")[0])
        settings = ImportSettings(
            format=public.format, path=scratch / name, name=name, fractions=fractions, seed=seed, origin=origin
        )
        return import_dataset(settings, registry, cache, progress, overwrite=overwrite)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(name: str, public: PublicData, folder: Path, progress: Progress, download: Download) -> list[Path]:
    try:
        files = download(public.doi, folder, progress)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NubenchError(
            f"cannot download {name} from https://doi.org/{public.doi}: {reason[:200]}\n"
            "Without a network, download its files by hand from there on another machine, unpack them, and run\n"
            f"  nubench data import --format {public.format} FOLDER --name {name}"
        ) from error
    archives = [file for file in files if is_archive(file)]
    if not archives:
        raise DataError(
            f"https://doi.org/{public.doi} holds no archive that can be unpacked here, only "
            f"{', '.join(file.name for file in files) or 'nothing'}"
        )
    return archives
