import os
from pathlib import Path

import pytest

from components.data.digests import compute_tenant_digest, read_dataset_version
from components.errors import DataError


def test_a_tenant_digest_depends_on_content_only(tmp_path: Path) -> None:
    for tenant in ("a", "b"):
        (tmp_path / tenant).mkdir()
        (tmp_path / tenant / "train.jsonl").write_text("x")
        (tmp_path / tenant / "test.jsonl").write_text("y")
    os.utime(tmp_path / "a" / "train.jsonl", (1, 1))
    (tmp_path / "a" / "notes.txt").write_text("ignored")
    first = compute_tenant_digest(tmp_path, "a")
    assert first == compute_tenant_digest(tmp_path, "b")
    assert len(first) == 64
    (tmp_path / "b" / "test.jsonl").write_text("z")
    assert compute_tenant_digest(tmp_path, "b") != first


def test_a_renamed_split_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.jsonl").write_text("x")
    first = compute_tenant_digest(tmp_path, "a")
    (tmp_path / "a" / "train.jsonl").rename(tmp_path / "a" / "test.jsonl")
    second = compute_tenant_digest(tmp_path, "a")
    (tmp_path / "a" / "train.jsonl").touch()
    assert len({first, second, compute_tenant_digest(tmp_path, "a")}) == 3


@pytest.mark.parametrize("tenant", ["../a", "none"])
def test_an_unknown_tenant_has_no_digest(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(DataError):
        compute_tenant_digest(tmp_path / "data", tenant)


def test_the_dataset_version_is_read_from_the_pointer(tmp_path: Path) -> None:
    pointer = tmp_path / "data.dvc"
    pointer.write_text("outs:\n- md5: d8413.dir\n  size: 3\n  path: data\n")
    assert read_dataset_version(pointer) == "d8413.dir"


@pytest.mark.parametrize("text", ["", "outs: []", "outs: [", "outs:\n- path: data\n", "- 3", "\x00"])
def test_a_broken_pointer_is_refused(tmp_path: Path, text: str) -> None:
    pointer = tmp_path / "data.dvc"
    with pytest.raises(DataError, match=r"no .*data\.dvc"):
        read_dataset_version(pointer)
    pointer.write_text(text)
    with pytest.raises(DataError, match="restore it from git"):
        read_dataset_version(pointer)
