import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from components.data.importers import sources
from components.data.importers.sources import find_split, read_csv, read_files
from components.errors import DataError

FILES = {"b/train/x.xml": b"one", "../../escape/train/x.xml": b"two"}


def test_a_tar_archive_is_read_without_unpacking(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar.xz", "w:xz") as archive:
        for name, content in {**FILES, "b/notes.txt": b"no"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert list(read_files(str(tmp_path / "set.tar.xz"), ".xml").items()) == sorted(FILES.items())
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.xz"]


def test_a_zip_archive_is_read_without_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, content in {**FILES, "b/notes.txt": b"no"}.items():
            archive.writestr(name, content)
    assert list(read_files(str(tmp_path / "set.zip"), ".xml").items()) == sorted(FILES.items())
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.tar.xz").write_bytes(b"\xfd7zXZ\x00 cut short")
    with pytest.raises(DataError, match="download the file again"):
        read_files(str(tmp_path / "set.tar.xz"), ".xml")


@pytest.mark.parametrize("content", [b"mr,ref\na,b,c\n", b"mr,ref\n\xff,b\n", b'mr,ref\n"a,b\n'])
def test_an_error_names_a_broken_csv_file(content: bytes) -> None:
    with pytest.raises(DataError, match=r"trainset\.csv"):
        read_csv("trainset.csv", content)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("devset.csv", "validation"),
        ("dart-v1.1.1-full-train.json", "train"),
        ("TEST.jsonl", "test"),
        ("train-test.jsonl", None),
        ("testing.csv", None),
    ],
)
def test_a_split_is_found_in_a_file_name(name: str, split: str | None) -> None:
    assert find_split(name) == split


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sources, "_MAX_ARCHIVE_BYTES", 1 << 20)
    path, content = tmp_path / f"set.{kind}", bytes(2 << 20)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.xml", content)
    else:
        with tarfile.open(path, f"w:{kind.removeprefix('tar.')}") as tar:
            member = tarfile.TarInfo("train.xml")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="at most 1 MiB when unpacked"):
        read_files(str(path), ".xml")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("train.xml", b"x")
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[6] |= 1  # the flag of encryption, in the file's header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        read_files(str(tmp_path / "set.zip"), ".xml")
