"""Build MinkowskiEngine 0.5.4 for this Python and torch, and install it: ``make minkowski``.

No package index has a wheel of it, and what its source distribution installs cannot be imported under Python 3.10 and
later. So the source distribution is downloaded with pip, its SHA-256 is checked, five imports are mended, and it is
compiled for the CPU in an environment of its own: the one nubench is in gets the wheel and nothing else. The wheel is
kept in nubench's cache, where a second call finds it.

It does not compile on CUDA 12 and later, so there is no GPU build. Linux alone.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from nubench.cache import cache_folder
from nubench.errors import NubenchError
from nubench.storage.files import make_folder, write_atomically

NAME, VERSION = "MinkowskiEngine", "0.5.4"
SHA256 = "b1879c00d0b0b1d30ba622cce239886a7e3c78ee9da1064cdfe2f64c2ab15f94"
# A setup.py of 2021 is kept on the setuptools that it is known to build with.
BUILD_REQUIREMENTS = ("setuptools<81", "wheel", "ninja")

HOW_TO_INSTALL = "on Debian and Ubuntu: apt install g++ libopenblas-dev python3-dev"

#: Files, what to replace in each and by what. Every piece is in the file exactly once.
PATCHES: Mapping[str, tuple[tuple[str, str], ...]] = {
    # Sequence moved in Python 3.3 and left its old place in 3.10.
    **{
        f"MinkowskiEngine/{file}.py": (
            ("from collections import Sequence\n", "from collections.abc import Sequence\n"),
        )
        for file in ("MinkowskiCommon", "MinkowskiCoordinateManager", "MinkowskiTensorField", "utils/quantization")
    },
    "MinkowskiEngine/MinkowskiKernelGenerator.py": (
        (
            "from collections import Sequence, namedtuple\n",
            "from collections import namedtuple\nfrom collections.abc import Sequence\n",
        ),
    ),
    # Building must not remove what is installed, nor a folder.
    "setup.py": (
        ('run_command("rm", "-rf", "build")\n', ""),
        ('run_command("pip", "uninstall", "MinkowskiEngine", "-y")\n', ""),
    ),
}

# To download a source distribution, pip prepares its metadata: it would run the foreign setup.py, which wants torch and
# uninstalls packages. This stands in for setuptools meanwhile and only says what pip knows already.
BUILD_BACKEND = f"""
from pathlib import Path

class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        information = Path(folder, "{NAME}-{VERSION}.dist-info")
        information.mkdir()
        text = "Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n"
        information.joinpath("METADATA").write_text(text)
        return information.name
"""


class CannotBuildHereError(NubenchError):
    """This machine lacks what the build needs; the message says how to get it."""

    exit_code = 3


def main(
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="succeed without a build where a compiler or OpenBLAS is missing")
    ] = False,
) -> None:
    """Install MinkowskiEngine from the cache, or build it first."""
    try:
        check_machine()
        folder = wheel_folder(cache_folder(None))
        wheel = next(folder.glob("*.whl"), None) or build(folder)
        install(wheel)
    except NubenchError as error:
        typer.echo(f"MinkowskiEngine is not installed: {error}", err=True)
        accepted = if_possible and isinstance(error, CannotBuildHereError)
        raise typer.Exit(0 if accepted else error.exit_code) from error
    typer.echo(f"MinkowskiEngine {VERSION} is installed, for --engine minkowski; its wheel is kept as {wheel}")


def check_machine() -> None:
    """Check that a small program with the headers of Python and OpenBLAS compiles and links.

    Raises:
        CannotBuildHereError: when it does not, or the platform is not Linux.
    """
    if sys.platform != "linux":
        raise CannotBuildHereError(f"it builds on Linux only; this is {sys.platform}")
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise CannotBuildHereError(f"there is no C++ compiler {compiler!r}; {HOW_TO_INSTALL}")
    command = [compiler, "-x", "c++", "-", f"-I{sysconfig.get_paths()['include']}", "-lopenblas", "-o", os.devnull]
    program = "#include <Python.h>\n#include <cblas.h>\nint main() { openblas_get_num_threads(); }\n"
    done = subprocess.run(command, input=program, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line or "cannot find" in line), "")
        raise CannotBuildHereError(f"OpenBLAS or the headers of Python are missing ({reason}); {HOW_TO_INSTALL}")


def wheel_folder(cache: Path) -> Path:
    """Folder of the wheel that fits this torch, Python, platform and C library: none of them may differ."""
    library = "".join(platform.libc_ver())
    tags = (version("torch"), sys.implementation.cache_tag, sysconfig.get_platform(), library)
    return cache / "wheels" / f"{NAME.lower()}-{VERSION}-torch-{'-'.join(tags)}"


def build(folder: Path) -> Path:
    """Build the wheel into ``folder``.

    Raises:
        NubenchError: when the download or the build fails; the message names the file with what was printed.
    """
    typer.echo(f"Building {NAME} {VERSION} for torch {version('torch')}, about 4 minutes on two cores ...")
    make_folder(folder)
    log = folder / "build.log"
    with tempfile.TemporaryDirectory(prefix="nubench-minkowski-") as temporary:
        work = Path(temporary)
        python = make_environment(work / "environment", log)
        source = patch(unpack(download(work, python, log), work))
        command = [str(python), "setup.py", "bdist_wheel", "--cpu_only", "--blas=openblas"]
        jobs = os.environ.get("MAX_JOBS", str(len(os.sched_getaffinity(0))))
        # Without debug information, which makes the library a hundred times as large.
        _run(command, log, source, PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}", CFLAGS="-g0", MAX_JOBS=jobs)
        (wheel,) = source.joinpath("dist").glob("*.whl")
        write_atomically(folder / wheel.name, wheel.read_bytes())
    return folder / wheel.name


def make_environment(folder: Path, log: Path) -> Path:
    """Make a virtual environment with the old setuptools that also sees our torch; return its Python."""
    _run([sys.executable, "-m", "venv", str(folder)], log)
    python = folder / "bin" / "python"
    _run([str(python), "-m", "pip", "install", *BUILD_REQUIREMENTS], log)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Behind its own packages, so that its setuptools goes first.
    packages.joinpath("ours.pth").write_text(f"{sysconfig.get_paths()['platlib']}\n")
    return python


def download(work: Path, python: Path, log: Path) -> Path:
    """Download the source distribution with pip, which checks its SHA-256."""
    requirements = work / "requirements.txt"
    requirements.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n")
    backend = work / "backend" / "setuptools"
    backend.mkdir(parents=True)
    backend.joinpath("__init__.py").touch()
    backend.joinpath("build_meta.py").write_text(BUILD_BACKEND)
    options = ["--no-deps", "--no-binary", ":all:", "--use-pep517", "--no-build-isolation", "--require-hashes"]
    command = [str(python), "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(work)]
    _run(command, log, PYTHONPATH=str(backend.parent))
    return work / f"{NAME}-{VERSION}.tar.gz"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source distribution; return its folder."""
    shutil.unpack_archive(archive, folder)
    return folder / f"{NAME}-{VERSION}"


def patch(source: Path) -> Path:
    """Apply :data:`PATCHES`; return the folder.

    Raises:
        NubenchError: when a file does not hold what is to be replaced.
    """
    for name, replacements in PATCHES.items():
        file = source / name
        text = file.read_text()
        for old, new in replacements:
            if text.count(old) != 1:
                raise NubenchError(f"{file} does not hold {old.strip()!r} once; it is not {NAME} {VERSION}")
            text = text.replace(old, new)
        file.write_text(text)
    return source


def install(wheel: Path) -> None:
    """Install the wheel beside nubench and import it once.

    Raises:
        NubenchError: when either fails; what cannot be imported is removed, from the cache too.
    """
    log = wheel.with_name("install.log")
    _run([sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", str(wheel)], log)
    try:
        _run([sys.executable, "-c", "from nubench.sparse.minkowski import MinkowskiEngine as M; M()"], log)
    except NubenchError:
        _run([sys.executable, "-m", "pip", "uninstall", "--yes", NAME], log)
        wheel.unlink()
        raise


def _run(command: list[str], log: Path, folder: Path | None = None, **environment: str) -> None:
    variables = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment
    with log.open("a") as output:
        output.write(f"+ {' '.join(command)}\n")
        output.flush()
        done = subprocess.run(command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise NubenchError(f"`{' '.join(command)}` failed; all it printed is in {log}, the end of it:\n{tail}")


if __name__ == "__main__":
    typer.run(main)
