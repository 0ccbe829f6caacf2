"""Discovery of plugins: entry points, single files, and the allow-list ``NUBENCH_PLUGINS``.

A plugin that cannot be imported, has a wrong hook signature or raises is reported by name and skipped; it never
stops the command line. What a plugin registers is known by its name; where two plugins bring the same name,
``distribution:name`` tells them apart.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

import pluggy

from nubench import builtin, hookspecs
from nubench.errors import PluginError, UsageError, unknown_name

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import Detector
    from nubench.methods import Method

GROUP = "nubench"
ALLOW_LIST_VARIABLE = "NUBENCH_PLUGINS"

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Plugin:
    """One loaded plugin: its name, and the distribution and version it came from."""

    name: str
    distribution: str
    version: str
    module: ModuleType


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that was skipped, and why."""

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True)
class Registered(Generic[Thing]):
    """Something that a plugin registered, and the plugin."""

    name: str
    plugin: Plugin
    thing: Thing


@dataclass
class PluginRegistry:
    """The loaded plugins, those that failed, and what they registered."""

    plugins: list[Plugin] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)
    _manager: pluggy.PluginManager = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def add(self, plugin: Plugin) -> None:
        """Register a plugin; a wrong hook signature is recorded as a failure."""
        try:
            self._manager.register(plugin.module, name=f"{plugin.distribution}:{plugin.name}")
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.is_registered(plugin.module):
                self._manager.unregister(plugin.module)
            self.fail(plugin.name, plugin.distribution, error)
        else:
            self.plugins.append(plugin)

    def fail(self, name: str, distribution: str, error: BaseException) -> None:
        """Record that a plugin is skipped."""
        self.failures.append(PluginFailure(name, distribution, f"{type(error).__name__}: {error}"))

    def methods(self) -> list[Registered[type[Method]]]:
        """Every registered training method."""
        return self._collect("register_methods", _checked_name)

    def method(self, name: str) -> Registered[type[Method]]:
        """Find the method called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return _find("method", name, self.methods())

    def detectors(self) -> list[Registered[Detector]]:
        """Every registered detector response."""
        return self._collect("register_detectors", lambda detector: str(detector.name))

    def detector(self, name: str) -> Registered[Detector]:
        """Find the detector called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return _find("detector", name, self.detectors())

    def cards(self) -> list[Registered[Traversable]]:
        """Every registered data-set card, named after its file."""
        return self._collect("register_datasets", lambda card: card.name.removesuffix(".toml"))

    def card(self, name: str) -> Registered[Traversable]:
        """Find the data-set card called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return _find("data set", name, self.cards())

    def backbones(self) -> list[Registered[BackboneDesign]]:
        """Every registered network."""
        return self._collect("register_backbones", lambda design: str(design.name))

    def backbone(self, name: str) -> Registered[BackboneDesign]:
        """Find the network called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return _find("backbone", name, self.backbones())

    def _collect(self, hook_name: str, name_of: Any) -> list[Registered[Any]]:
        # Each plugin is called by itself: one that raises must not hide the others.
        found: list[Registered[Any]] = []
        for plugin in list(self.plugins):
            hook = self._manager.subset_hook_caller(
                hook_name, [other.module for other in self.plugins if other is not plugin]
            )
            try:
                things = [thing for result in hook() for thing in result]
                found += [Registered(name_of(thing), plugin, thing) for thing in things]
            except Exception as error:
                self.plugins.remove(plugin)
                self._manager.unregister(plugin.module)
                self.fail(plugin.name, plugin.distribution, error)
        return sorted(found, key=lambda item: (item.name, item.plugin.distribution))


def _checked_name(method: type[Method]) -> str:
    """The name of a method whose class attributes are as the contract says; raises PluginError otherwise."""
    from nubench.methods import Method, ReadOut, TargetAccess

    if not (isinstance(method, type) and issubclass(method, Method)):
        raise PluginError(f"register_methods returned {method!r}; it must return subclasses of nubench.methods.Method")
    accepted: dict[str, Any] = {
        "name": re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*"),
        "version": re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!-]*"),
        "title": re.compile(r".+"),
        "ranked_by": get_args(ReadOut),
        "target_access": get_args(TargetAccess),
    }
    for attribute, allowed in accepted.items():
        value = getattr(method, attribute, None)
        if isinstance(allowed, tuple):
            fits, what = value in allowed, " or ".join(map(repr, allowed))
        else:
            fits, what = isinstance(value, str) and allowed.fullmatch(value), f"text of the form {allowed.pattern}"
        if not fits:
            raise PluginError(f"method class {method.__name__}: {attribute} must be {what}; got {value!r}")
    return method.name


def _find(kind: str, name: str, registered: list[Registered[Thing]]) -> Registered[Thing]:
    matches = [r for r in registered if name in (r.name, f"{r.plugin.distribution}:{r.name}")]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise unknown_name(kind, name, {r.name for r in registered})
    choices = ", ".join(f"{r.plugin.distribution}:{r.name}" for r in matches)
    raise UsageError(f"{kind} {name!r} is brought by {len(matches)} plugins; say which one: {choices}")


def load_plugins(files: Iterable[Path] = ()) -> PluginRegistry:
    """Load nubench's own plugin, all that is installed, and the given files.

    ``NUBENCH_PLUGINS`` (comma-separated entry-point or distribution names) restricts the installed ones; set
    but empty, none is loaded. Files given by hand are always loaded.

    Args:
        files: Python files to load as plugins.

    Raises:
        UsageError: when a given file does not exist or cannot be imported (the user asked for it by name).
    """
    registry = PluginRegistry()
    version = importlib.metadata.version("nubench")
    registry.add(Plugin("builtin", "nubench", version, builtin))
    allowed = _allow_list()
    for entry_point in sorted(entry_points(group=GROUP), key=lambda e: (_distribution(e)[0], e.name)):
        distribution, version = _distribution(entry_point)
        if allowed is not None and not {entry_point.name, distribution} & allowed:
            continue
        try:
            module = entry_point.load()
        except (Exception, SystemExit) as error:
            registry.fail(entry_point.name, distribution, error)
        else:
            registry.add(Plugin(entry_point.name, distribution, version, module))
    for file in files:
        registry.add(_load_file(file))
    return registry


def _allow_list() -> set[str] | None:
    value = os.environ.get(ALLOW_LIST_VARIABLE)
    if value is None:
        return None
    return {name.strip() for name in value.split(",") if name.strip()}


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    if entry_point.dist is None:
        return "unknown", "unknown"
    return entry_point.dist.name, entry_point.dist.version


def _load_file(file: Path) -> Plugin:
    if not file.is_file():
        raise UsageError(f"--plugin {str(file)!r} is not a file; it must be the path of a Python file")
    name = f"nubench_plugin_file_{file.stem}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise UsageError(f"--plugin {str(file)!r} cannot be imported; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"--plugin {str(file)!r} cannot be imported: {type(error).__name__}: {error}") from error
    return Plugin(file.stem, "file", "0", module)
