"""Archives from outside, and downloads by DOI: with a downloader of the test's own, and without a network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import write_cube_folder

from nubench.errors import DataError, NubenchError, UsageError
from nubench.importing.archives import is_archive, unpack
from nubench.importing.fetching import PUBLIC, download_by_doi, fetch_dataset
from nubench.importing.splits import DEFAULT_FRACTIONS
from nubench.plugins.registry import PluginRegistry
from nubench.progress import Progress, SilentProgress

Make = Callable[..., Path]
ESCAPES = ["../outside", "folder/../../outside", "/outside", "..\\outside", "C:/outside"]


def _zip(path: Path, names: dict[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = 0o120777 << 16
            archive.writestr(member, "/etc/passwd")
    return path


def _tar(path: Path, names: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return path


@pytest.mark.parametrize(("make", "name"), [(_zip, "a.zip"), (_tar, "a.tar.gz")])
def test_files_and_folders_are_unpacked(make: Make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {"muon/a.txt": b"one", "b.txt": b"two"})
    assert is_archive(archive)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/muon/a.txt").read_bytes() == b"one"
    assert (tmp_path / "out/b.txt").read_bytes() == b"two"


@pytest.mark.parametrize(("make", "name"), [(_zip, "a.zip"), (_tar, "a.tar.gz")])
@pytest.mark.parametrize("member", ESCAPES)
def test_a_member_that_leaves_the_folder_is_refused_before_anything_is_written(
    make: Make, name: str, member: str, tmp_path: Path
) -> None:
    archive = make(tmp_path / name, {"good.txt": b"one", member: b"two"})
    with pytest.raises(DataError, match=r"its member '.*outside' would be written outside of the folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert {path.name for path in tmp_path.rglob("*")} <= {archive.name, "in", "out"}


@pytest.mark.parametrize(("make", "name"), [(_zip, "a.zip"), (_tar, "a.tar.gz")])
def test_links_are_refused(make: Make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / name, {}, link="passwords")
    with pytest.raises(DataError, match="its member 'passwords' is a link or a device"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_damaged_archives_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(DataError, match=f"{name} is no readable archive"):
        unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_any_damage_is_the_archives_fault(name: str, tmp_path: Path) -> None:
    """Each way of packing has errors of its own, which say nothing of the file."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(np.random.default_rng(1).integers(0, 40, 3000).astype(np.uint8).tobytes())
    kind = {"a.zip": "zip", "a.tar": "tar", "a.tar.gz": "gztar", "a.tar.bz2": "bztar", "a.tar.xz": "xztar"}[name]
    whole = Path(shutil.make_archive(str(tmp_path / "a"), kind, source)).read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for trial in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(0, len(damaged), 4)
        damaged[where] ^= rng.integers(1, 256, 4).astype(np.uint8)
        (tmp_path / name).write_bytes(damaged.tobytes())
        # Not every damage can be seen; but whatever is raised is this.
        try:
            unpack(tmp_path / name, tmp_path / f"out{trial}")
        except DataError:
            refused += 1
    assert refused > 50


def test_an_offset_before_the_file_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.txt": b"one"})
    content = bytearray(archive.read_bytes())
    # Where the list of members begins, in the last record: later than it can, so that all places move below zero.
    place = content.rindex(b"PK\5\6") + 16
    content[place : place + 4] = (2**31).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip is no readable archive"):
        unpack(archive, tmp_path / "out")


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.txt": b"one"})
    content = archive.read_bytes()
    # A name ends at the first zero.
    archive.write_bytes(content.replace(b"a.txt", b"\0.txt"))
    with pytest.raises(DataError, match=r"a\.zip is no readable archive"):
        unpack(archive, tmp_path / "out")


def test_members_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a/b": b"one", "a": b"two"})
    with pytest.raises(NubenchError, match=r"out/a: a folder of that name stands in the way"):
        unpack(archive, tmp_path / "out")


def _archives(folder: Path, split_by_class: bool) -> list[Path]:
    """The public set as one archive, or as one archive a class."""
    source = write_cube_folder(folder / "source", 12)
    if not split_by_class:
        return [Path(shutil.make_archive(str(folder / "events"), "zip", folder, "source"))]
    return [Path(shutil.make_archive(str(folder / name), "gztar", source / name, ".")) for name in ("muon", "proton")]


@pytest.mark.parametrize("split_by_class", [False, True])
def test_a_public_data_set_is_downloaded_unpacked_and_imported(
    split_by_class: bool, registry: PluginRegistry, tmp_path: Path
) -> None:
    archives = _archives(tmp_path, split_by_class)
    asked = []

    def download(doi: str, folder: Path, progress: Progress) -> list[Path]:
        asked.append(doi)
        return [Path(shutil.copy(archive, folder)) for archive in archives]

    cache = tmp_path / "cache"
    plan, dataset = fetch_dataset(
        "segmented-cube", registry, cache, SilentProgress(), fractions=DEFAULT_FRACTIONS, download=download
    )
    assert asked == ["10.5281/zenodo.10998285"]
    assert plan.card.class_names == ("muon", "proton")
    assert dataset.directory == cache / "imported" / "segmented-cube"
    kept = {path.name for path in (cache / "downloads" / "segmented-cube").iterdir()}
    assert kept == {archive.name for archive in archives}

    with pytest.raises(UsageError, match=r"'segmented-cube' is already in .*--replace"):
        fetch_dataset(
            "segmented-cube", registry, cache, SilentProgress(), fractions=DEFAULT_FRACTIONS, download=download
        )
    assert len(asked) == 1  # not downloaded to find that out


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), ValueError("sum differs")])
def test_without_a_network_the_message_says_what_to_do(
    error: Exception, registry: PluginRegistry, tmp_path: Path
) -> None:
    def download(doi: str, folder: Path, progress: Progress) -> list[Path]:
        raise error

    with pytest.raises(NubenchError) as caught:
        fetch_dataset(
            "segmented-cube", registry, tmp_path, SilentProgress(), fractions=DEFAULT_FRACTIONS, download=download
        )
    message = str(caught.value)
    assert str(error) in message
    assert f"https://doi.org/{PUBLIC['segmented-cube'].doi}" in message
    assert "nubench data import --format scintillator-dicts FOLDER --name segmented-cube" in message
    assert not (tmp_path / "imported").exists()


class _Repository:
    """What pooch asks of an archive, answered from a web server of this machine."""

    def __init__(self, address: str, sums: dict[str, str]) -> None:
        self.address, self.sums = address, sums

    def populate_registry(self, store: Any) -> None:
        store.registry.update(self.sums)

    def download_url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_downloads_are_checked_against_the_sums_and_kept(
    web_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pooch.core
    import pooch.downloaders

    address, served = web_server
    (served / "muon.zip").write_bytes(b"content")
    sums = {"muon.zip": f"md5:{hashlib.md5(b'content').hexdigest()}"}
    for module in (pooch.core, pooch.downloaders):
        monkeypatch.setattr(module, "doi_to_repository", lambda *_, **__: _Repository(address, sums))
    (file,) = download_by_doi("10.5281/zenodo.1", tmp_path / "kept", SilentProgress())
    assert file.read_bytes() == b"content"

    (served / "muon.zip").write_bytes(b"another")
    download_by_doi("10.5281/zenodo.1", tmp_path / "kept", SilentProgress())  # what is there is not asked for again
    with pytest.raises(ValueError, match="hash"):
        download_by_doi("10.5281/zenodo.1", tmp_path / "new", SilentProgress())
    assert list((tmp_path / "new").iterdir()) == []


def test_an_unknown_public_data_set_lists_the_known(registry: PluginRegistry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'segmented-cube'"):
        fetch_dataset("segmented-cubes", registry, tmp_path, SilentProgress(), fractions=DEFAULT_FRACTIONS)
