"""The runs behind a study: its figures as requests, names checked against what exists."""

from __future__ import annotations

from pathlib import Path

from nubench.datasets.catalogue import find_card
from nubench.errors import unknown_name
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import profile_called
from nubench.runs.request import Request, make_config
from nubench.studies.study_file import FigureSpec, Setting, Study


def requests_of(
    study: Study, figure: FigureSpec, registry: PluginRegistry, device: str = "auto", engine: str = "native"
) -> list[Request]:
    """What one figure asks to be run, with every seed; methods first, then sources.

    Raises:
        UsageError: when a method does not exist.
    """
    requests = []
    for method in figure.methods:
        fields = registry.method(method).thing.Config.model_fields
        shared = {name: value for name, value in study.settings.items() if name in fields}
        requests += [
            Request(
                method=method,
                shift=figure.shift,
                profile=study.profile,
                dataset=figure.dataset,
                source=source,
                settings={name: _text(value) for name, value in {**shared, **figure.settings.get(method, {})}.items()},
                backbone=study.backbone,
                engine=engine,
                device=device,
            )
            for source in figure.sources
        ]
    return requests


def all_requests(study: Study, registry: PluginRegistry, device: str = "auto", engine: str = "native") -> list[Request]:
    """What the whole study asks to be run, with every seed; what figures share stands there once.

    Raises:
        UsageError: when a method does not exist.
    """
    found: list[Request] = []
    for figure in study.figures:
        requests = requests_of(study, figure, registry, device, engine)
        found += [request for request in requests if request not in found]
    return found


def check_names(study: Study, registry: PluginRegistry, cache: Path) -> None:
    """Check every name and setting of a study, so that a slip does not show after a night.

    Raises:
        UsageError: when a data set, shift, source, method, setting or backbone does not exist.
    """
    if study.backbone is not None:
        registry.backbone(study.backbone)
    taken = set()
    for figure in study.figures:
        card = find_card(registry, cache, figure.dataset, figure.shift)
        shift = card.shift(figure.shift.rpartition(":")[2])
        for source in figure.sources:
            shift.all_points(card.nominal, source)
        for request in requests_of(study, figure, registry):
            method = registry.method(request.method).thing
            make_config(method, profile_called(study.profile), request.settings or {})
            taken |= set(method.Config.model_fields)
    for name in study.settings:
        if name not in taken:
            raise unknown_name("setting of any method of the study", name, taken)


def _text(value: Setting) -> str:
    """As one would write it behind ``--set``, so that a cell is the same however it was asked for."""
    return str(value).lower() if isinstance(value, bool) else str(value)
