"""What `nubench check` is given: a file or the name of an installed method, and the methods in it."""

from __future__ import annotations

from pathlib import Path

from nubench.authoring.checking import CheckResult
from nubench.errors import UsageError, unknown_name
from nubench.methods import Method
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import FILE_DISTRIBUTION, PluginRegistry, Registered

_PROVES = "nubench can load it and ask it for its methods"
_ADVICE = (
    "the file must import without an error and define register_methods(), marked with nubench.hookimpl, that takes no "
    "argument and returns a list of classes derived from nubench.methods.Method"
)


def find_methods(
    target: str, method: str | None = None, files: tuple[Path, ...] = ()
) -> tuple[CheckResult, list[Registered[type[Method]]]]:
    """Load what is to be checked.

    Args:
        target: path of a Python file, or the name of an installed method.
        method: the one of the methods in a file that is wanted, or None for all.
        files: further files to load as plugins.

    Returns:
        Whether it could be loaded, and the methods; none where it could not.

    Raises:
        UsageError: when there is neither such a file nor such a method.
    """
    path = Path(target)
    if path.suffix != ".py" and not path.exists():
        registry = load_plugins(files)
        return _loaded([registry.method(target)]), [registry.method(target)]
    if not path.is_file():
        raise UsageError(f"{target!r} is not a file; give the path of a Python file, or the name of a method")
    try:
        registry = load_plugins([*files, path])
    except UsageError as error:
        return CheckResult("hooks", _PROVES, "FAILED", str(error).removeprefix("--plugin "), _ADVICE), []
    found = _of_file(registry, path)
    reasons = [f.reason for f in registry.failures if (f.name, f.distribution) == (path.stem, FILE_DISTRIBUTION)]
    if reasons or not found:
        reason = reasons[0] if reasons else "register_methods returned no method"
        return CheckResult("hooks", _PROVES, "FAILED", reason, _ADVICE), []
    if method is not None:
        chosen = [registered for registered in found if registered.name == method]
        if not chosen:
            raise unknown_name("method", method, {registered.name for registered in found})
        found = chosen
    return _loaded(found), found


def _of_file(registry: PluginRegistry, path: Path) -> list[Registered[type[Method]]]:
    plugins = [p for p in registry.plugins if (p.name, p.distribution) == (path.stem, FILE_DISTRIBUTION)]
    return [registered for registered in registry.methods() if registered.plugin in plugins]


def _loaded(found: list[Registered[type[Method]]]) -> CheckResult:
    return CheckResult("hooks", _PROVES, "ok", f"brings {', '.join(registered.name for registered in found)}")
