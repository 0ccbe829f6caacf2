"""The script behind ``make minkowski``, short of the compilation itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from nubench.errors import NubenchError
from pages import load_script

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_minkowski.py"


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    return load_script("build_minkowski")


def call(script: ModuleType, *arguments: str):
    app = typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def source(script, tmp_path) -> Path:
    """What the source distribution holds of what is replaced."""
    for name, replacements in script.PATCHES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("import os\n" + "".join(old for old, _ in replacements) + "print(os)\n")
    return tmp_path


def test_five_imports_are_mended_and_setup_removes_nothing(script, source):
    script.patch(source)
    texts = {file.relative_to(source).as_posix(): file.read_text() for file in source.rglob("*.py")}
    assert texts.pop("setup.py") == "import os\nprint(os)\n"
    assert len(texts) == 5
    for text in texts.values():
        assert "from collections.abc import Sequence\n" in text
        assert "from collections import Sequence" not in text
        compile(text, "mended", "exec")
    assert "from collections import namedtuple\n" in texts["MinkowskiEngine/MinkowskiKernelGenerator.py"]


def test_another_source_is_refused(script, source):
    source.joinpath("setup.py").write_text("import os\n")
    with pytest.raises(NubenchError, match=r"setup\.py does not hold .* once; it is not MinkowskiEngine 0\.5\.4"):
        script.patch(source)


def test_wheels_are_kept_apart_by_torch_python_platform_and_library(script, monkeypatch, tmp_path):
    here = script.wheel_folder(tmp_path)
    assert here.parent == tmp_path / "wheels"
    assert sys.implementation.cache_tag in here.name
    monkeypatch.setattr(script.platform, "libc_ver", lambda: ("glibc", "2.99"))
    elsewhere = script.wheel_folder(tmp_path)
    monkeypatch.setattr(script, "version", lambda package: "9.9.9+cpu")
    assert len({here, elsewhere, script.wheel_folder(tmp_path)}) == 3


def test_a_kept_wheel_is_installed_without_a_build(script, monkeypatch, tmp_path):
    monkeypatch.setenv("NUBENCH_CACHE", str(tmp_path))
    folder = script.wheel_folder(tmp_path)
    folder.mkdir(parents=True)
    wheel = folder / "MinkowskiEngine-0.5.4-cp311-cp311-linux_x86_64.whl"
    wheel.touch()
    installed = []
    monkeypatch.setattr(script, "check_machine", lambda: None)
    monkeypatch.setattr(script, "install", installed.append)
    monkeypatch.setattr(script, "build", lambda folder: pytest.fail("built although a wheel was kept"))
    assert call(script).exit_code == 0
    assert installed == [wheel]


def test_a_wheel_that_cannot_be_imported_is_not_kept(script, monkeypatch, tmp_path):
    wheel = tmp_path / "a.whl"
    wheel.touch()

    def run(command, log):
        if "-c" in command:
            raise NubenchError("undefined symbol")

    monkeypatch.setattr(script, "_run", run)
    with pytest.raises(NubenchError, match="undefined symbol"):
        script.install(wheel)
    assert not wheel.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the platform is refused first")
def test_a_machine_without_a_compiler_is_told_what_to_install(script, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    refused = call(script)
    assert refused.exit_code == 3
    assert "no C++ compiler 'no-such-compiler'; on Debian and Ubuntu: apt install g++" in refused.stderr
    assert call(script, "--if-possible").exit_code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the platform is refused first")
def test_a_machine_without_openblas_is_told_what_to_install(script, monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho '<stdin>:2:10: fatal error: cblas.h: No such file' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CXX", raising=False)
    refused = call(script)
    assert refused.exit_code == 3
    assert "cblas.h: No such file" in refused.stderr
    assert "libopenblas-dev" in refused.stderr


def test_other_platforms_are_refused(script, monkeypatch):
    monkeypatch.setattr(script.sys, "platform", "darwin")
    refused = call(script)
    assert refused.exit_code == 3
    assert "Linux only; this is darwin" in refused.stderr


def test_a_failing_command_shows_its_last_words(script, tmp_path):
    log = tmp_path / "build.log"
    with pytest.raises(NubenchError, match=r"(?s)build\.log.*the reason"):
        script._run([sys.executable, "-c", "print('the reason'); raise SystemExit(1)"], log)
