"""The registry of plugins: which are loaded, which failed, and what they registered."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import pluggy

from nubench import hookspecs
from nubench.errors import PluginError, UsageError, unknown_name
from nubench.plugins.checks import KINDS
from nubench.plugins.loading import ALLOW_LIST_VARIABLE, OutOfTime, reason_of, seconds_allowed, time_limit

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.detectors import Detector
    from nubench.evaluation.metrics import Metric
    from nubench.evaluation.selectors import Selector
    from nubench.leaderboard.columns import Column
    from nubench.methods import Method
    from nubench.shifts import ShiftAddition

OWN_DISTRIBUTION: Final = "nubench"
FILE_DISTRIBUTION: Final = "file"

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Plugin:
    """One loaded plugin.

    Attributes:
        name: of the entry point, or of the file without its ending.
        distribution, version: where it came from; ``"file"`` and ``"0"`` for a file given by hand.
        module: what was imported.
        seconds: how long the import took.
    """

    name: str
    distribution: str
    version: str
    module: ModuleType
    seconds: float = 0.0

    @property
    def origin(self) -> str:
        """Path of the module's file."""
        return self.module.__file__ or self.module.__name__


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

    @property
    def full_name(self) -> str:
        """``distribution:name``, which no other has."""
        return f"{self.plugin.distribution}:{self.name}"


@dataclass
class PluginRegistry:
    """The loaded plugins, those that failed, and what they registered."""

    plugins: list[Plugin] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)
    _manager: pluggy.PluginManager = field(init=False, repr=False)
    _found: dict[str, list[Registered[Any]]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for hook in KINDS:
            self._found[hook] = []

    def add(self, plugin: Plugin) -> None:
        """Register a plugin and ask it what it brings; whatever is wrong with it is recorded as a failure."""
        try:
            self._manager.register(plugin.module, name=f"{plugin.distribution}:{plugin.name}")
            _check_hooks(plugin.module)
            self._manager.check_pending()
            # Those asked for by name and the project's own are waited for.
            own = plugin.distribution in (OWN_DISTRIBUTION, FILE_DISTRIBUTION)
            with time_limit(0.0 if own else seconds_allowed()):
                brought = {hook: self._ask(plugin, hook) for hook in self.hooks_of(plugin)}
        except (Exception, SystemExit, OutOfTime) as error:
            self.skip(plugin, error)
            return
        self.plugins.append(plugin)
        for hook, things in brought.items():
            self._found[hook] = sorted([*self._found[hook], *things], key=lambda r: (r.name, r.plugin.distribution))

    def skip(self, plugin: Plugin, error: BaseException) -> None:
        """Forget a plugin and all that it brought, and record why."""
        if self._manager.is_registered(plugin.module) and self._manager.get_name(plugin.module) == (
            f"{plugin.distribution}:{plugin.name}"
        ):
            self._manager.unregister(plugin.module)
        self.plugins = [other for other in self.plugins if other is not plugin]
        for hook, things in self._found.items():
            self._found[hook] = [registered for registered in things if registered.plugin is not plugin]
        self.fail(plugin.name, plugin.distribution, error)

    def fail(self, name: str, distribution: str, error: BaseException) -> None:
        """Record that a plugin is skipped."""
        self.failures.append(PluginFailure(name, distribution, reason_of(error)))

    def hooks_of(self, plugin: Plugin) -> list[str]:
        """The hooks that a plugin implements."""
        return [caller.name for caller in self._manager.get_hookcallers(plugin.module) or ()]

    def brought_by(self, plugin: Plugin) -> dict[str, list[Registered[Any]]]:
        """What a plugin registered, by hook."""
        return {hook: [r for r in self._found[hook] if r.plugin is plugin] for hook in self.hooks_of(plugin)}

    def registered(self, hook: str) -> list[Registered[Any]]:
        """All that plugins returned from a hook, in the order of the names."""
        return list(self._found[hook])

    def ambiguous(self) -> list[tuple[str, str, list[Registered[Any]]]]:
        """Names that several distributions bring: what they name, the name, and what has it."""
        found = []
        for hook, things in self._found.items():
            counts = Counter(registered.name for registered in things)
            for name in sorted(name for name, count in counts.items() if count > 1):
                found.append((KINDS[hook].noun, name, [r for r in things if r.name == name]))
        return found

    def methods(self) -> list[Registered[type[Method]]]:
        """Every registered training method."""
        return list(self._found["register_methods"])

    def method(self, name: str) -> Registered[type[Method]]:
        """Find the method called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_methods", name)

    def detectors(self) -> list[Registered[Detector]]:
        """Every registered detector response."""
        return list(self._found["register_detectors"])

    def detector(self, name: str) -> Registered[Detector]:
        """Find the detector called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_detectors", name)

    def cards(self) -> list[Registered[Traversable]]:
        """Every registered data-set card, named after its file."""
        return list(self._found["register_datasets"])

    def card(self, name: str) -> Registered[Traversable]:
        """Find the data-set card called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_datasets", name)

    def backbones(self) -> list[Registered[BackboneDesign]]:
        """Every registered network."""
        return list(self._found["register_backbones"])

    def backbone(self, name: str) -> Registered[BackboneDesign]:
        """Find the network called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_backbones", name)

    def shifts(self, dataset: str | None = None) -> list[Registered[ShiftAddition]]:
        """Every shift that a plugin adds to a card, or those for the card called ``dataset``.

        Their names are ``data set/shift``.
        """
        return [r for r in self._found["register_shifts"] if dataset in (None, r.thing.dataset)]

    def selectors(self) -> list[Registered[Selector]]:
        """Every registered way to choose a network."""
        return list(self._found["register_selectors"])

    def selector(self, name: str) -> Registered[Selector]:
        """Find the selector called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_selectors", name)

    def metrics(self) -> list[Registered[Metric]]:
        """Every metric beside those that every result has; all of them are computed.

        Raises:
            UsageError: when two have the same name, so that a result could hold only one.
        """
        return self._unambiguous("register_metrics")

    def metric(self, name: str) -> Registered[Metric]:
        """Find the metric called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_metrics", name)

    def columns(self) -> list[Registered[Column]]:
        """Every column beside those that every leaderboard has; all of them are shown.

        Raises:
            UsageError: when two have the same name.
        """
        return self._unambiguous("register_columns")

    def column(self, name: str) -> Registered[Column]:
        """Find the column called ``name`` or ``distribution:name``.

        Raises:
            UsageError: when there is none, or more than one.
        """
        return self._find("register_columns", name)

    def _unambiguous(self, hook: str) -> list[Registered[Any]]:
        for noun, name, registered in self.ambiguous():
            if noun == KINDS[hook].noun:
                names = " and ".join(r.full_name for r in registered)
                raise UsageError(
                    f"{noun} {name!r} is brought by {len(registered)} plugins, {names}; let {ALLOW_LIST_VARIABLE} name "
                    "the plugins that you want"
                )
        return self.registered(hook)

    def _ask(self, plugin: Plugin, hook: str) -> list[Registered[Any]]:
        # The function itself and not pluggy's caller, which would drop what returns None without a word.
        result = getattr(plugin.module, hook)()
        if isinstance(result, str | bytes) or not isinstance(result, Iterable):
            raise PluginError(f"{hook} returned {result!r}; it must return a list, which may be empty")
        kind = KINDS[hook]
        found = [Registered(kind.name_of(thing), plugin, thing) for thing in result]
        taken = {r.name: r.plugin.name for r in self._found[hook] if r.plugin.distribution == plugin.distribution}
        for registered in found:
            if registered.name in taken:
                raise PluginError(
                    f"{hook}: {kind.noun} {registered.name!r} is already brought by plugin {taken[registered.name]!r} "
                    f"of {plugin.distribution}; give one of them another name"
                )
            taken[registered.name] = plugin.name
        return found

    def _find(self, hook: str, name: str) -> Registered[Any]:
        registered, noun = self._found[hook], KINDS[hook].noun
        matches = [r for r in registered if name in (r.name, r.full_name)]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise unknown_name(noun, name, {r.name for r in registered})
        choices = ", ".join(r.full_name for r in matches)
        raise UsageError(f"{noun} {name!r} is brought by {len(matches)} plugins; say which one: {choices}")


def _check_hooks(module: ModuleType) -> None:
    """Raise PluginError where no function has the marker, or one has it whose name is no hook."""
    marked = [name for name, function in inspect.getmembers(module, inspect.isroutine) if _is_marked(function)]
    if not marked:
        raise PluginError(
            f"no function of it is marked with nubench.hookimpl, so it brings nothing; the hooks are {', '.join(KINDS)}"
        )
    for name in marked:
        if name not in KINDS:
            raise PluginError(str(unknown_name("hook", name, KINDS)))


def _is_marked(function: object) -> bool:
    return hasattr(function, f"{hookspecs.PROJECT}_impl")
