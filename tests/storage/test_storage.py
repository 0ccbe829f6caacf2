"""Files are whole or not there, whatever fails while they are written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nubench.errors import NubenchError
from nubench.storage import files as storage
from nubench.storage.checked_tensors import write_arrays
from nubench.storage.files import make_folder, require_space, sha256_of, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def test_bytes_are_written_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["c.bin"]


def test_a_function_writes_beside_and_never_to_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("old")

    def write(partial: Path) -> None:
        assert partial.parent == path.parent
        assert partial != path
        assert partial.suffix == storage.PARTIAL_SUFFIX
        partial.write_text("new")
        assert path.read_text() == "old"
        assert list(tmp_path.glob("*.json")) == [path]

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["c.json"]


def _write_by_a_file_for_the_owner_alone(path: Path) -> None:
    def write(partial: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        os.close(descriptor)
        Path(name).replace(partial)

    write_atomically(path, write)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, b""),
        lambda path: write_atomically(path, lambda partial: partial.write_bytes(b"")),
        lambda path: write_arrays(path, {"a": np.zeros(3)}),
        _write_by_a_file_for_the_owner_alone,
    ],
    ids=["bytes", "a function", "arrays", "a file put in its place"],
)
def test_the_mode_is_that_of_any_new_file(tmp_path: Path, umask: int, write: Callable[[Path], None]) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "c")
    finally:
        os.umask(before)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_a_failure_half_way_names_the_path_and_leaves_the_old_file(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "c.json"
    path.write_text("old")

    def write(partial: Path) -> None:
        partial.write_text("ne")
        raise OSError(number, os.strerror(number))

    with pytest.raises(NubenchError, match=words) as caught:
        write_atomically(path, write)
    assert str(path) in str(caught.value)
    assert names(tmp_path) == ["c.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_at_the_last_steps_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NubenchError, match="disk is full"):
        write_atomically(tmp_path / "c", b"content")
    assert names(tmp_path) == []


def test_a_full_disk_in_the_words_of_another_library_is_understood(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        partial.write_text("x")
        raise RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)")

    with pytest.raises(NubenchError, match="disk is full"):
        write_atomically(tmp_path / "c", write)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), OSError(errno.EPIPE, "other")])
def test_other_errors_pass_through_and_leave_nothing(tmp_path: Path, error: BaseException) -> None:
    def write(partial: Path) -> None:
        partial.write_text("x")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(tmp_path / "c", write)
    assert caught.value is error
    assert names(tmp_path) == []


def test_a_folder_in_the_way_and_a_file_as_folder_are_explained(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(NubenchError, match="folder of that name"):
        write_atomically(tmp_path / "folder", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(NubenchError, match="file"):
        write_atomically(tmp_path / "file" / "c", b"")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NubenchError, match="permission denied"):
        write_atomically(tmp_path / "c", b"")


def test_the_longest_file_name_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), b"a")
    assert names(tmp_path) == ["x" * 255]
    with pytest.raises(NubenchError, match="too long"):
        write_atomically(tmp_path / ("x" * 256), b"a")


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([k]) * 200_000 for k in range(6)]
    threads = [threading.Thread(target=write_atomically, args=(tmp_path / "c", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "c").read_bytes() in contents
    assert names(tmp_path) == ["c"]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NubenchError, match=r"cannot make the folder .*file/below: a part of the path is a file"):
        make_folder(tmp_path / "file" / "below")
    make_folder(tmp_path / "new" / "below")
    make_folder(tmp_path / "new" / "below")
    assert (tmp_path / "new" / "below").is_dir()


def test_space_is_asked_for_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000_000))
    require_space(tmp_path / "events.h5", 1_000_000)
    with pytest.raises(NubenchError, match=r"events\.h5: the disk is full \(20 MB free, 21 MB needed"):
        require_space(tmp_path / "events.h5", 5_000_000)


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "missing")
