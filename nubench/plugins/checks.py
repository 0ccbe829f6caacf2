"""What each hook may return, and the name by which it is known afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_args

from nubench.datasets.cards import read_card
from nubench.errors import PluginError
from nubench.shifts import ShiftAddition

NAME: Final = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """What a hook brings.

    Attributes:
        noun: one such thing, for messages; its plural takes an s.
        name_of: the name of what a plugin returned; raises PluginError when it is not what the hook may return.
    """

    noun: str
    name_of: Callable[[Any], str]


def _method(method: Any) -> str:
    from nubench.methods import Method, ReadOut, TargetAccess

    if not (isinstance(method, type) and issubclass(method, Method)):
        raise PluginError(f"register_methods returned {method!r}; it must return subclasses of nubench.methods.Method")
    accepted: dict[str, Any] = {
        "name": NAME,
        "version": re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!-]*"),
        "title": re.compile(r".+"),
        "ranked_by": get_args(ReadOut),
        "target_access": get_args(TargetAccess),
    }
    for attribute, allowed in accepted.items():
        _check_value(f"method class {method.__name__}", attribute, getattr(method, attribute, None), allowed)
    return method.name


def _detector(detector: Any) -> str:
    whose = f"detector {type(detector).__name__}"
    _check_value(whose, "name", getattr(detector, "name", None), NAME)
    for attribute, kind in (("title", str), ("feature", str), ("voxel_size_cm", int | float), ("version", int)):
        value = getattr(detector, attribute, None)
        if not isinstance(value, kind):
            raise PluginError(f"{whose}: {attribute} must be {getattr(kind, '__name__', kind)}; got {value!r}")
    if isinstance(detector, type) or not callable(getattr(detector, "respond", None)):
        raise PluginError(f"{whose}: register_detectors must return instances with a method respond; got {detector!r}")
    return str(detector.name)


def _card(card: Any) -> str:
    name = getattr(card, "name", None)
    if not (isinstance(name, str) and name.endswith(".toml") and hasattr(card, "read_text")):
        raise PluginError(f"register_datasets must return paths of TOML files; got {card!r}")
    stated = read_card(card).name
    if f"{stated}.toml" != name:
        raise PluginError(f"the card {name} is of a data set {stated!r}; a card is named after its data set")
    return stated


def _backbone(design: Any) -> str:
    from nubench.backbone_designs import BackboneDesign

    return _named("register_backbones", design, BackboneDesign)


def _shift(addition: Any) -> str:
    if not isinstance(addition, ShiftAddition):
        raise PluginError(f"register_shifts must return nubench.shifts.ShiftAddition; got {addition!r}")
    return f"{addition.dataset}/{addition.shift.name}"


def _selector(selector: Any) -> str:
    from nubench.evaluation.selectors import Selector

    return _named("register_selectors", selector, Selector)


def _metric(metric: Any) -> str:
    from nubench.evaluation.metrics import Metric

    return _named("register_metrics", metric, Metric)


def _column(column: Any) -> str:
    from nubench.leaderboard.columns import Column

    return _named("register_columns", column, Column)


def _named(hook: str, thing: Any, kind: type[Any]) -> str:
    """The name of an instance of ``kind``."""
    if not isinstance(thing, kind):
        raise PluginError(f"{hook} must return instances of {kind.__module__}.{kind.__name__}; got {thing!r}")
    name: Any = getattr(thing, "name", None)
    _check_value(kind.__name__, "name", name, NAME)
    return str(name)


def _check_value(whose: str, attribute: str, value: Any, allowed: re.Pattern[str] | tuple[Any, ...]) -> None:
    if isinstance(allowed, tuple):
        fits, what = value in allowed, " or ".join(map(repr, allowed))
    else:
        fits, what = bool(isinstance(value, str) and allowed.fullmatch(value)), f"text of the form {allowed.pattern}"
    if not fits:
        raise PluginError(f"{whose}: {attribute} must be {what}; got {value!r}")


#: By name of the hook.
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "register_methods": Kind("method", _method),
        "register_detectors": Kind("detector", _detector),
        "register_datasets": Kind("data set", _card),
        "register_backbones": Kind("backbone", _backbone),
        "register_shifts": Kind("shift", _shift),
        "register_selectors": Kind("selector", _selector),
        "register_metrics": Kind("metric", _metric),
        "register_columns": Kind("column", _column),
    }
)
