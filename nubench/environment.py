"""What a result records of where it was made: machine, packages, code."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path, PurePath
from types import ModuleType
from typing import Final

import psutil

import nubench
from nubench.results.schema import Environment

_PACKAGES: Final = ("torch", "numpy", "numba", "scikit-learn", "h5py", "calzone", "pluggy", "pydantic")
# Parts of the package that cannot change a score.
_NOT_SCORING: Final = (
    "api.py",
    "authoring",
    "cache.py",
    "cli",
    "display",
    "environment.py",
    "importing",
    "launching",
    "leaderboard",
    "listings.py",
    "plugins/checks.py",
    "plugins/discovery.py",
    "plugins/loading.py",
    "progress.py",
    "results/json_schema.py",
    "results/submissions.py",
    "runs/estimates.py",
    "runs/failures.py",
    "runs/grid.py",
    "studies",
)


def describe(device: str, devices: int = 1, confined: bool | None = None, threads: int | None = None) -> Environment:
    """Describe this machine and installation.

    Args:
        device: where the network ran.
        devices: on so many of them.
        confined: whether the system kept the training from files; None where it was not sealed.
        threads: of torch; None where it is not used.
    """
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()} {''.join(platform.libc_ver())}".strip(),
        processor=_processor(),
        cpu_count=os.cpu_count() or 1,
        device=device,
        devices=devices,
        confined=confined,
        threads=threads,
        packages={name: version(name) for name in _PACKAGES},
        git_revision=git_revision(),
        nubench=nubench.__version__,
    )


def git_revision() -> str | None:
    """The commit of the checkout that nubench runs from, also through a link; ``-dirty`` appended where files differ.

    None outside a checkout.
    """
    root = Path(nubench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--", "nubench", "plugins", "datasets")
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("-dirty" if dirty else "")


@functools.cache
def code_digest(plugin: ModuleType) -> str:
    """SHA-256 over all code that can change a score: nubench's own, and the plugin's file or package.

    Read once a process: what runs is the code that was loaded, whatever becomes of its files meanwhile.
    """
    digest = hashlib.sha256()
    root = Path(nubench.__file__).parent
    files = [file for file in sorted(root.rglob("*.py")) if _may_change_scores(file.relative_to(root))]
    package = (plugin.__package__ or "").split(".")[0]
    if package and package not in ("nubench", "nubench_plugins"):
        # Anything in a stranger's package may be used; the reference methods are one file each.
        files += [file for folder in sys.modules[package].__path__ for file in sorted(Path(folder).rglob("*.py"))]
    elif package != "nubench" and plugin.__file__ is not None:
        files.append(Path(plugin.__file__))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _may_change_scores(file: PurePath) -> bool:
    return not any(path.as_posix() in _NOT_SCORING for path in (file, *file.parents))


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def cpu_seconds() -> float:
    """Processor time of this process and its finished children, in seconds."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()
