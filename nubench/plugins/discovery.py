"""Discovery of plugins: entry points, single files, and the allow-list ``NUBENCH_PLUGINS``.

A plugin that cannot be imported, takes too long, has a wrong hook signature, raises, or returns what a hook may not
return is reported by name and skipped; it never stops the command line. What a plugin registers is known by its name;
where two distributions bring the same name, ``distribution:name`` tells them apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Final

from nubench.errors import PluginError
from nubench.plugins import builtin
from nubench.plugins.added_shifts import check_added_shifts
from nubench.plugins.loading import (
    ALLOW_LIST_VARIABLE,
    OutOfTime,
    allow_list,
    distribution_of,
    import_file,
    load_entry_point,
    seconds_allowed,
    time_limit,
)
from nubench.plugins.registry import (
    FILE_DISTRIBUTION,
    OWN_DISTRIBUTION,
    Plugin,
    PluginFailure,
    PluginRegistry,
    Registered,
)

__all__ = [
    "FILE_DISTRIBUTION",
    "GROUP",
    "OWN_DISTRIBUTION",
    "Plugin",
    "PluginFailure",
    "PluginRegistry",
    "Registered",
    "load_plugins",
]

GROUP: Final = "nubench"


def load_plugins(files: Iterable[Path] = ()) -> PluginRegistry:
    """Load nubench's own plugin, all that is installed, and the given files.

    ``NUBENCH_PLUGINS`` (comma-separated entry-point or distribution names) restricts the installed ones; set
    but empty, none is loaded. Files given by hand are always loaded. A plugin of another distribution that takes
    longer than ``NUBENCH_PLUGIN_SECONDS`` is skipped.

    Args:
        files: Python files to load as plugins.

    Raises:
        UsageError: when a given file does not exist or cannot be imported (the user asked for it by name).
    """
    registry = PluginRegistry()
    registry.add(Plugin("builtin", OWN_DISTRIBUTION, version("nubench"), builtin))
    _load_installed(registry, allow_list())
    for file in files:
        module, seconds = _timed(lambda file=file: import_file(file))  # type: ignore[misc]
        registry.add(Plugin(file.stem, FILE_DISTRIBUTION, "0", module, seconds))
    check_added_shifts(registry)
    return registry


def _load_installed(registry: PluginRegistry, allowed: set[str] | None) -> None:
    found = [(*distribution_of(entry_point), entry_point) for entry_point in entry_points(group=GROUP)]
    known = {name for distribution, _, entry_point in found for name in (distribution, entry_point.name)}
    for name in sorted((allowed or set()) - known):
        registry.fail(name, ALLOW_LIST_VARIABLE, PluginError("no installed plugin or distribution has this name"))
    wanted = [(d, v, e) for d, v, e in found if allowed is None or {e.name, d} & allowed]
    limit = seconds_allowed()
    if any(distribution != OWN_DISTRIBUTION for distribution, _, _ in wanted):
        # Nearly every plugin needs it. An import of torch that is cut short cannot be repeated in the same process, and
        # its seconds are nobody's fault.
        import torch  # noqa: F401
    for distribution, version_, entry_point in sorted(wanted, key=lambda item: (item[0], item[2].name)):
        try:
            with time_limit(0.0 if distribution == OWN_DISTRIBUTION else limit):
                module, seconds = _timed(lambda e=entry_point: load_entry_point(e))  # type: ignore[misc]
        except (Exception, SystemExit, OutOfTime) as error:
            registry.fail(entry_point.name, distribution, error)
        else:
            registry.add(Plugin(entry_point.name, distribution, version_, module, seconds))


def _timed(load: Callable[[], ModuleType]) -> tuple[ModuleType, float]:
    start = time.perf_counter()
    module = load()
    return module, time.perf_counter() - start
