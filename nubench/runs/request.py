"""What a user asks to be run, and how the words of it turn into settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nubench.errors import PluginError, UsageError, unknown_name
from nubench.methods import Method
from nubench.problems import problems_of
from nubench.profiles import Profile
from nubench.shifts import NOMINAL


@dataclass(frozen=True)
class Request:
    """What a user asks to be run.

    Attributes:
        method, shift, profile: their names.
        dataset: name of the card, or None for the one that has the shift.
        source: the point of the shift that methods are trained on.
        settings: values of the method's settings, as text or typed.
        backbone: preset, or None for the profile's.
        engine: of the sparse convolutions.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    method: str
    shift: str
    profile: str = "smoke"
    dataset: str | None = None
    source: str = NOMINAL
    settings: Mapping[str, Any] | None = None
    backbone: str | None = None
    engine: str = "native"
    device: str = "auto"


def make_config(method: type[Method], profile: Profile, settings: Mapping[str, Any]) -> Any:
    """The method's settings: its defaults, then the profile's budget, the method's own for the profile, the user's.

    Raises:
        UsageError: when a setting does not exist or has a value that is not accepted.
    """
    fields = method.Config.model_fields
    for name in settings:
        if name not in fields:
            raise unknown_name(f"{method.name} setting", name, fields)
    budget = {name: getattr(profile, name) for name in ("views", "batch_size") if name in fields}
    own: Mapping[str, Any] = method.profiles.get(profile.name, {})
    values: dict[str, Any] = dict(budget) | dict(own) | dict(settings)
    try:
        return method.Config.model_validate(values)
    except ValidationError as error:
        first = problems_of(error)[0]
        name = first.field.partition(".")[0]
        meaning = fields[name].description if name in fields else None
        detail = f" ({meaning})" if meaning else ""
        if name in settings:
            raise UsageError(f"--set {name}={settings[name]!r} is not accepted: {first.accepted}{detail}") from error
        # A rule about several settings: whether those of the user broke it shows without them.
        if settings and _accepts(method, dict(budget) | dict(own)):
            given = ", ".join(f"{key}={value}" for key, value in settings.items())
            raise UsageError(f"--set {given} is not accepted: {first}{detail}") from error
        raise PluginError(
            f"method {method.name!r} has settings for the profile {profile.name!r} that its own Config does not "
            f"accept: {first}{detail}"
        ) from error


def _accepts(method: type[Method], values: Mapping[str, Any]) -> bool:
    try:
        method.Config.model_validate(values)
    except ValidationError:
        return False
    return True


def choose_device(device: str) -> str:
    """Resolve ``"auto"`` and check that the device is there.

    Raises:
        UsageError: when the name is unknown or the machine has no such device.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' is not available on this machine; use --device cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def known_engine(name: str) -> str:
    """Return the name of an engine of the sparse convolutions.

    Raises:
        UsageError: when there is none of this name, or it is not installed.
    """
    from nubench.sparse.engine import get_engine

    get_engine(name)
    return name
