"""An imported data set in the cache: built aside, moved into place when it is whole."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from nubench.datasets.cards import read_card
from nubench.datasets.catalogue import open_dataset
from nubench.datasets.dataset import Dataset
from nubench.datasets.files import IMPORTED_FOLDER
from nubench.errors import NubenchError, UsageError
from nubench.importing.formats import check_options, format_called
from nubench.importing.plans import ImportPlan, ImportSettings
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import PROFILES
from nubench.progress import Progress
from nubench.shifts import Name
from nubench.storage.files import PARTIAL_SUFFIX, explained_failures, make_folder


def import_dataset(
    settings: ImportSettings,
    registry: PluginRegistry,
    cache: Path,
    progress: Progress,
    *,
    like: str | None = None,
    overwrite: bool = False,
) -> tuple[ImportPlan, Dataset]:
    """Import files as a data set of the cache. Whatever fails, no part of it is left, and an old one stays.

    Args:
        settings: what to import.
        registry: the plugins, which bring detectors and the card that is the template.
        cache: its folder.
        progress: where to show how far it is.
        like: data set of a plugin whose detector is meant; None for the format's own.
        overwrite: whether an imported data set of the same name may be replaced.

    Returns:
        What was imported, and the data set.

    Raises:
        UsageError: when a name or an option cannot be accepted, or there is no such path.
        DataError: when the files cannot.
    """
    chosen = format_called(settings.format)
    check_options(settings)
    target = check_target(settings.name, registry, cache, overwrite=overwrite)
    template = read_card(registry.card(like or chosen.template).thing)
    if not chosen.any_detector and template.detector != read_card(registry.card(chosen.template).thing).detector:
        raise UsageError(
            f"--like {like!r} is of the detector {template.detector!r}; files of --format {settings.format} hold "
            f"events of the one that {chosen.template!r} has"
        )
    if not settings.path.exists():
        raise UsageError(f"the path {settings.path} does not exist; give the file or the folder that is to be imported")
    plan = chosen.plan(settings, template, progress)
    dataset = open_dataset(registry, cache, plan.card, next(iter(PROFILES)))
    staging = cache / IMPORTED_FOLDER / f".{settings.name}-{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
    try:
        make_folder(staging / "scratch")
        staged = replace(dataset, cache=staging)
        plan.fill(staged, staging / "scratch", progress)
        _check_filled(staged)
        staged.write_card()
        _move(staged.directory, target, staging / "replaced")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return plan, dataset


def _move(new: Path, target: Path, old: Path) -> None:
    """Put a folder in its place; what stood there goes to ``old``, and comes back when that fails."""
    with explained_failures(target):
        replaced = target.exists()
        if replaced:
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if replaced:
                old.rename(target)
            raise


def check_target(name: str, registry: PluginRegistry, cache: Path, *, overwrite: bool) -> Path:
    """Find where an imported data set goes.

    Raises:
        UsageError: when the name cannot be one, is that of a generated data set, or is taken and must not be replaced.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UsageError(
            f"--name {name!r} is not accepted: small letters, digits, dots and hyphens, a letter or a digit first, at "
            "most 64 in all"
        ) from error
    if name in {registered.name for registered in registry.cards()}:
        raise UsageError(f"--name {name!r} is the name of a data set that is generated; choose another")
    target = cache / IMPORTED_FOLDER / name
    if target.exists() and not overwrite:
        raise UsageError(
            f"an imported data set {name!r} is already in {target}; choose another --name, or give --replace"
        )
    return target


def _check_filled(dataset: Dataset) -> None:
    """Refuse a data set whose events are all below the least number of hits.

    Raises:
        NubenchError: when a file of events holds none.
    """
    for file, record in dataset.manifest().files.items():
        if not record.events:
            raise NubenchError(
                f"no event of {file.removesuffix('.h5')} has {dataset.card.minimum_hits} hits or more: nothing was "
                "imported"
            )
