"""Archives and torch files made to unpack to more than there is room for: refused within limits of time and memory."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from limits import ends_of

from nubench.errors import DataError
from nubench.importing import archives
from nubench.importing.archives import unpack
from nubench.importing.safe_loading import load_arrays

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
}
END = bytes(1024)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_of(names: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as packed:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return made.getvalue()


def long_header(kind: bytes) -> bytes:
    """A header of 100 MB, which is read whole before the member that it belongs to."""
    return gzip.compress(header("long", 100_000_000, kind) + bytes(100_000_000) + END, 1)


def many_sparse_pieces() -> bytes:
    """A member of holes, whose table goes on for 50 MB and takes many times that once it is read."""
    first = bytearray(header("sparse", 0, tarfile.GNUTYPE_SPARSE))
    first[482] = 1  # the table goes on in the next block
    first[148:156] = b"%06o\0 " % (sum(first[:148]) + 256 + sum(first[156:512]))
    block = b"00000000001\0" * 42 + b"\1" + bytes(7)
    return gzip.compress(bytes(first) + block * 100_000 + END, 1)


def xz_that_asks_for_four_gigabytes() -> bytes:
    packed = bytearray(lzma.compress(tar_of({"a.txt": b"one"})))
    assert packed[14:16] == b"\x21\x01"  # in the header of the first block: LZMA2, and one byte of settings
    packed[16] = 40  # a dictionary of 4 GiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    return bytes(packed)


def zip_claiming(size: int, times: int = 1, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as packed:
        for i in range(times):
            packed.writestr(f"{i}.bin", b"few")
            packed.filelist[-1].file_size = size
    return made.getvalue()


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "pax.tar.gz": (lambda: long_header(tarfile.XHDTYPE), "it asks for 100,000,256 bytes at once"),
    "global.tar.gz": (lambda: long_header(tarfile.XGLTYPE), "it asks for 100,000,256 bytes at once"),
    "name.tar.gz": (lambda: long_header(tarfile.GNUTYPE_LONGNAME), "it asks for 100,000,256 bytes at once"),
    "sparse.tar.gz": (many_sparse_pieces, "it asks for 512 bytes at once"),
    "many.tar.gz": (lambda: gzip.compress(header("a", 0) * 150_000 + END, 1), r"more than [\d,]+ members in a file"),
    "folders.tar.gz": (
        lambda: gzip.compress(header("a/", 0, tarfile.DIRTYPE) * 150_000 + END, 1),
        r"more than [\d,]+ members",
    ),
    "large.tar.gz": (lambda: gzip.compress(header("a", 10**10) + bytes(10**7)), "take 10,000,000,000 bytes unpacked"),
    "back.tar.gz": (lambda: gzip.compress(header("a", 0) + header("b", -1024) + END), "claims -1,024 bytes|negative"),
    "memory.tar.xz": (xz_that_asks_for_four_gigabytes, "Memory usage limit"),
    "large.zip": (lambda: zip_claiming(10**9 + 1), "take 1,000,000,001 bytes unpacked; 1,000,000,000 are accepted"),
    "sum.zip": (lambda: zip_claiming(10**8, 11), r"up to '10\.bin' take 1,100,000,000 bytes"),
    "bzip2.zip": (lambda: zip_claiming(3, 1, zipfile.ZIP_BZIP2), r"'0\.bin' is neither stored nor deflated"),
    "lzma.zip": (lambda: zip_claiming(3, 1, zipfile.ZIP_LZMA), r"'0\.bin' is neither stored nor deflated"),
}


@pytest.mark.slow
def test_archives_made_to_take_time_and_memory_are_refused_within_limits(tmp_path: Path) -> None:
    """All together they take 30 s of the processor and 60 MB at the most, and nothing is left of them."""
    order = []
    for name, (make, _) in ARCHIVES.items():
        (tmp_path / name).write_bytes(make())
        order.append(("nubench.importing.archives:unpack", [tmp_path / name, tmp_path / "out" / name]))
    for end, (name, (_, reason)) in zip(ends_of(order, megabytes=60, seconds=30), ARCHIVES.items(), strict=True):
        assert end is not None, name
        assert end.startswith("DataError: "), end
        assert re.search(reason, end), end
        assert name in end
        assert [path for path in (tmp_path / "out" / name).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("ending", PACK)
def test_streams_after_one_another_are_unpacked(ending: str, tmp_path: Path) -> None:
    """What several processes packed side by side, as pigz and pxz do."""
    draw = np.random.default_rng(3)
    content = {"a/noise.bin": draw.bytes(300_000), "zeros.bin": bytes(3_000_000), "empty.txt": b"", "b.txt": b"two"}
    whole = tar_of(content)
    path = tmp_path / f"a{ending}"
    padding = bytes(8) if ending.endswith("xz") else b""
    cuts = [0, 700, 150_000, 1_000_001, len(whole)]
    path.write_bytes(padding.join(PACK[ending](whole[a:b]) for a, b in itertools.pairwise(cuts)) + padding)
    unpack(path, tmp_path / "out")
    found = {f.relative_to(tmp_path / "out").as_posix(): f.read_bytes() for f in (tmp_path / "out").rglob("*.*")}
    assert found == content


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_stream_without_its_end_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACK[ending](tar_of({"a.bin": np.random.default_rng(3).bytes(300_000)}))[:-100_000])
    with pytest.raises(DataError, match="is no readable archive"):
        unpack(path, tmp_path / "out")


def test_the_room_of_a_large_archive_grows_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_BYTES_OF_ANY", 1_000)
    monkeypatch.setattr(archives, "_MEMBERS_OF_ANY", 2)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar_of({f"{i}.bin": np.random.default_rng(i).bytes(1_000) for i in range(50)})))
    unpack(path, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 50


def torch_file(path: Path, method: int, **arrays: torch.Tensor) -> Path:
    """What torch saves, packed again."""
    saved = io.BytesIO()
    torch.save(arrays, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    return path


@pytest.mark.slow
def test_torch_files_whose_records_are_packed_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    packed = torch_file(tmp_path / "packed.pt", zipfile.ZIP_DEFLATED, reco_hits=torch.zeros(50_000_000))
    assert packed.stat().st_size < 300_000
    claims = torch_file(tmp_path / "claims.pt", zipfile.ZIP_STORED, reco_hits=torch.zeros(3))
    content = claims.read_bytes().replace((12).to_bytes(4, "little") * 2, (10**9).to_bytes(4, "little") * 2)
    claims.write_bytes(content)
    none = tmp_path / "none.pt"
    none.write_bytes(b"PK\3\4" + bytes(100))
    order = [("nubench.importing.safe_loading:load_arrays", [path]) for path in (packed, claims, none)]
    reasons = (r"its record archive/data\.pkl is compressed", "bytes unpacked; at most", "not a zip file")
    ends = ends_of(order, megabytes=150, seconds=30, libraries=["torch"])
    for (_, (path,)), end, reason in zip(order, ends, reasons, strict=True):
        assert re.match(rf"DataError: .*{path.name} is refused: .*{reason}", end or ""), end
    whole = torch_file(tmp_path / "whole.pt", zipfile.ZIP_STORED, reco_hits=torch.arange(3))
    assert load_arrays(whole)["reco_hits"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_numpy_archives_packed_in_other_ways_are_refused(method: int, tmp_path: Path) -> None:
    saved = io.BytesIO()
    np.save(saved, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as packed:
        packed.writestr("reco_hits.npy", saved.getvalue())
    with pytest.raises(DataError, match=r"a\.npz is no readable .*reco_hits\.npy is neither stored nor deflated"):
        load_arrays(tmp_path / "a.npz")
