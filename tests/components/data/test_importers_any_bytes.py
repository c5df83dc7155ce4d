"""Any bytes in any importer give examples or a DataError, never another exception."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.config import DataConfig
from components.data.importers import import_dataset
from components.errors import DataError

ENTRY = (
    "<benchmark><entries><entry category='A'><modifiedtripleset><mtriple>a | b | c</mtriple></modifiedtripleset>"
    "<lex comment='good'>x</lex></entry></entries></benchmark>"
)
TABLE = {"source_field": "q", "reference_field": "a"}
FILES = {
    "csv": ("train.csv", b"q,a\n1,2\n", TABLE),
    "tsv": ("train.tsv", b"q\ta\n1\t2\n", TABLE),
    "jsonl": ("train.jsonl", b'{"q": "1", "a": ["2"]}\n', TABLE),
    "hub": ("train.json", b'[{"q": "1", "a": "2"}]', TABLE),
    "e2e": ("trainset.csv", b"mr,ref\nname[Blue],text\n", {}),
    "webnlg": ("train.xml", ENTRY.encode(), {}),
    "dialogsum": ("train.jsonl", b'{"dialogue": "a", "summary": "b"}\n', {}),
    "dart": ("train.json", b'[{"tripleset": [["a", "b", "c"]], "annotations": [{"text": "t"}]}]', {}),
}


def pack(name: str, content: bytes, kind: str) -> bytes:
    """Return an archive with one file and a member that points out of the archive."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
            archive.writestr(f"../../{name}", content)
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{kind}") as tar:
            for member_name in (name, f"../../{name}"):
                member = tarfile.TarInfo(member_name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def damage(content: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Overwrite bytes at places that are taken modulo the length."""
    changed = bytearray(content)
    for place, piece in edits:
        start = place % (len(changed) + 1)
        changed[start : start + len(piece)] = piece
    return bytes(changed)


def import_any(kind: str, path: Path, options: dict[str, str]) -> None:
    try:
        splits = import_dataset(kind, str(path), DataConfig(), **options)
    except DataError:
        return
    assert any(splits.values())


EDITS = st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=5)


@pytest.mark.parametrize("kind", list(FILES))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.none() | st.binary(max_size=300), edits=EDITS)
def test_any_file(tmp_path: Path, kind: str, content: bytes | None, edits: list[tuple[int, bytes]]) -> None:
    name, good, options = FILES[kind]
    (tmp_path / name).write_bytes(damage(good, edits) if content is None else content)
    import_any(kind, tmp_path / name, options)
    import_any(kind, tmp_path, options)


@pytest.mark.parametrize("archive", ["zip", "gz", "xz", "bz2", ""])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, cut=st.none() | st.integers(0, 10_000))
def test_any_archive(tmp_path: Path, archive: str, edits: list[tuple[int, bytes]], cut: int | None) -> None:
    content = damage(pack("train.xml", ENTRY.encode(), archive), edits)
    path = tmp_path / f"set.{archive or 'tar'}"
    path.write_bytes(content[: None if cut is None else cut % (len(content) + 1)])
    import_any("webnlg", path, {})
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_any_parquet_file(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    from datasets import Dataset

    path = tmp_path / "train.parquet"
    if not path.exists():
        Dataset.from_dict({"q": ["1"], "a": ["2"]}).to_parquet(path)
    (tmp_path / "damaged").mkdir(exist_ok=True)
    (tmp_path / "damaged" / "train.parquet").write_bytes(damage(path.read_bytes(), edits))
    import_any("parquet", tmp_path / "damaged", TABLE)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"q":' * 200_000,
        b'{"q": ' + b"9" * 5_000 + b', "a": "x"}',
        b'{"q": "' + b"x" * 2_000_000 + b'", "a": "x"}',
        json.dumps({"q": "\ud800", "a": "x"}).encode(),
        b"mr,ref\n" + b"a" * 1_000_000 + b",x\n",
        b"mr,ref\n" + b" " * 1_000_000 + b",x\n",
        b"<a>" * 100_000,
    ],
    ids=lambda content: f"{content[:8]!r}",
)
@pytest.mark.parametrize("kind", list(FILES))
def test_deep_nesting_long_numbers_and_huge_cells(tmp_path: Path, kind: str, content: bytes) -> None:
    name, _, options = FILES[kind]
    (tmp_path / name).write_bytes(content)
    import_any(kind, tmp_path, options)
