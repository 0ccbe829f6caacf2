"""Files of single events: arrays come out, and nothing in them is ever run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nubench.errors import DataError
from nubench.importing.safe_loading import array_of, load_arrays

CONTENT = {
    "reco_hits": np.arange(12.0).reshape(3, 4),
    "Tag_Trk": np.array([True, False, True]),
    "single": np.float32([1, 2]),
    "TrueIniP": np.float64(3.5),
}


class _Touches:
    """Unpickled without care, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def _same(arrays: Any) -> None:
    for name, expected in CONTENT.items():
        assert np.array_equal(arrays[name], expected), name


def test_numpy_archives_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **CONTENT)
    _same(load_arrays(tmp_path / "a.npz"))


@pytest.mark.parametrize("old_format", [False, True])
def test_torch_files_of_arrays_and_tensors_are_read(old_format: bool, tmp_path: Path) -> None:
    content = {**CONTENT, "tensor": torch.arange(3), "number": 4.5}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old_format)
    arrays = load_arrays(tmp_path / "a.pt")
    _same(arrays)
    assert arrays["tensor"].tolist() == [0, 1, 2]
    assert float(arrays["number"]) == 4.5


def test_names_that_numpy_1_wrote_are_read(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for member in new.infolist():
            content = new.read(member)
            if member.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                # Opcode GLOBAL, which torch writes, ends a name with a line end: its length is free.
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            old.writestr(member.filename, content)
    _same(load_arrays(tmp_path / "old.pt"))


@pytest.mark.parametrize("how", ["torch", "torch, old format", "pickle", "array of objects", "npz of objects"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(how: str, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / ("event.npz" if "npz" in how else "event.pt")
    evil = _Touches(proof)
    if how == "pickle":
        path.write_bytes(pickle.dumps({"reco_hits": evil}))
    elif how == "npz of objects":
        np.savez(path, reco_hits=np.array([evil], dtype=object))
    else:
        inside = np.array([evil], dtype=object) if "objects" in how else evil
        torch.save({"reco_hits": inside}, path, _use_new_zipfile_serialization="old" not in how)
    with pytest.raises(DataError, match=r"event\.(pt|npz)"):
        load_arrays(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(evil))  # the test itself is armed
    assert proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is refused"),
        (b"no file of torch", "is refused"),
        ([1, 2], "must hold a dictionary of arrays; it holds a list"),
        ({"words": ["a", "b"], "reco_hits": {"nested": 1}}, "'reco_hits' must be an array of numbers"),
        ({"reco_hits": [[1, 2], [3]]}, "'reco_hits' is no array"),
    ],
)
def test_other_content_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "event.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match=message) as caught:
        load_arrays(path)
    assert str(path) in str(caught.value)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **CONTENT)
    (tmp_path / "cut.npz").write_bytes(buffer.getvalue()[:200])
    (tmp_path / "text.npz").write_text("text")
    for name in ("cut.npz", "text.npz", "absent.npz"):
        with pytest.raises(DataError, match=name):
            load_arrays(tmp_path / name)


def test_a_missing_array_and_a_wrong_shape_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match=r"a\.npz lacks the array 'adc'; it has Tag_Trk, TrueIniP, reco_hits"):
        array_of(path, CONTENT, "adc", 0)
    with pytest.raises(DataError, match=r"'reco_hits' must be \(N, 3\); got \(3, 4\)"):
        array_of(path, CONTENT, "reco_hits", 3)
    with pytest.raises(DataError, match=r"'reco_hits' must be \(N,\); got \(3, 4\)"):
        array_of(path, CONTENT, "reco_hits", 0)


def _npz_claiming(path: Path, shape: str, stored: bytes = b"") -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + stored
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("reco_hits.npy", content)


def test_an_array_that_claims_more_than_is_stored_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for shape in ("(1000000000000, 4)", "(100000, 100000, 100000)"):
        _npz_claiming(path, shape)
        with pytest.raises(DataError, match=r"a\.npz .*reco_hits\.npy claims [\d,]+ bytes; 128 are stored"):
            load_arrays(path)


@pytest.mark.parametrize("shape", ["(", "'", "(\n  1,)\n 2", "L" * 50, "[" * 90])
def test_a_header_that_is_no_python_is_refused(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    _npz_claiming(path, shape)
    with pytest.raises(DataError, match=r"a\.npz is no readable NumPy archive of plain arrays"):
        load_arrays(path)


def test_an_archive_that_unpacks_to_more_than_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as member:
        for _ in range(101):
            member.write(bytes(10_000_000))
    assert path.stat().st_size < 1_200_000
    with pytest.raises(DataError, match=r"1,010,000,000 bytes unpacked; at most 1,000,000,000"):
        load_arrays(path)


def test_tensors_and_lists_that_grow_when_they_are_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"reco_hits": torch.zeros(1).expand(10**12, 4)}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"'reco_hits' claims 16,000,000,000,000 bytes"):
        load_arrays(path)
    laughs: list[Any] = [0.0]
    for _ in range(40):
        laughs = [laughs] * 10
    torch.save({"reco_hits": laughs}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="'reco_hits' must be an array; it is a list of more than"):
        load_arrays(path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("zero.npz", "pipe.pt"):
        with pytest.raises(DataError, match=rf"{name} is not a file"):
            load_arrays(tmp_path / name)
