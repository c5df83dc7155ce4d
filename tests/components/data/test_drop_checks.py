import json
import os
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.drop_checks import check_drop, quarantine_rejects
from components.data.schema import Example
from components.errors import DataError

GOOD = b'{"source": "a", "references": ["b"]}'


def drop(root: Path, tenant: str = "acme", **splits: bytes) -> Path:
    folder = root / tenant
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in splits.items():
        (folder / f"{split}.jsonl").write_bytes(content)
    return folder


def test_valid_lines_are_accepted_and_others_rejected_with_file_line_and_reason(
    tmp_path: Path, limits: DataConfig
) -> None:
    folder = drop(tmp_path, train=GOOD + b"\n\n{oops\n\xff\xfe\n" + GOOD, test=GOOD)
    report = check_drop(folder, limits)
    assert report.tenant == "acme"
    assert report.accepted == {"train": [Example("a", ("b",))] * 2, "test": [Example("a", ("b",))]}
    assert [(reject.file, reject.line, reject.text) for reject in report.rejects] == [
        ("acme/train.jsonl", 3, "{oops"),
        ("acme/train.jsonl", 4, "\\xff\\xfe"),
    ]
    assert "broken JSON" in report.rejects[0].reason
    assert "not UTF-8: byte 0xff at column 1" in report.rejects[1].reason
    assert report.line_count == 5


def test_too_many_rejects_refuse_the_drop_and_name_the_first(tmp_path: Path) -> None:
    folder = drop(tmp_path, train=b"{\n" + b"\n".join([GOOD] * 18) + b"\n[]")
    report = check_drop(folder, DataConfig(max_rejects=0.1))
    report.require_usable(DataConfig(max_rejects=0.1))
    with pytest.raises(DataError, match=r"at most 9% .* got 2 of 20; the first is acme/train\.jsonl:1: broken JSON"):
        report.require_usable(DataConfig(max_rejects=0.09))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_split_refuses_the_drop(tmp_path: Path, limits: DataConfig, content: bytes) -> None:
    report = check_drop(drop(tmp_path, train=GOOD, test=content), limits)
    with pytest.raises(DataError, match=r"none in acme/test\.jsonl"):
        report.require_usable(limits)


def test_the_error_on_a_wrong_name_suggests_the_nearest_right_one(tmp_path: Path, limits: DataConfig) -> None:
    with pytest.raises(DataError, match=r"acme/tests\.jsonl; did you mean 'test\.jsonl'"):
        check_drop(drop(tmp_path, tests=GOOD), limits)


@pytest.mark.parametrize("tenant", ["Acme", "a_b", "a" * 200])
def test_a_folder_whose_name_is_not_a_tenant_id_is_refused(tmp_path: Path, limits: DataConfig, tenant: str) -> None:
    with pytest.raises(DataError, match="DNS label"):
        check_drop(drop(tmp_path, tenant, train=GOOD), limits)


def test_unfinished_deliveries_are_ignored(tmp_path: Path, limits: DataConfig) -> None:
    folder = drop(tmp_path, train=GOOD)
    (folder / ".train.jsonl.1.tmp").write_text("{")
    (folder / "test.jsonl.tmp").write_text("{")
    assert set(check_drop(folder, limits).accepted) == {"train"}


def test_an_empty_and_a_missing_drop_are_refused(tmp_path: Path, limits: DataConfig) -> None:
    with pytest.raises(DataError, match="a split file"):
        check_drop(drop(tmp_path), limits)
    with pytest.raises(DataError, match="as a folder"):
        check_drop(tmp_path / "other", limits)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_link_a_folder_and_a_pipe_are_refused_without_blocking(tmp_path: Path, limits: DataConfig, kind: str) -> None:
    folder = drop(tmp_path)
    path = folder / "train.jsonl"
    if kind == "link":
        (tmp_path / "secret").write_text("not the tenant's")
        path.symlink_to(tmp_path / "secret")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    got = "a symbolic link" if kind == "link" else "not a regular file"
    with pytest.raises(DataError, match=rf"acme/train\.jsonl: {got}"):
        check_drop(folder, limits)


def test_quarantine_keeps_earlier_rejects_and_repeats_none(tmp_path: Path, limits: DataConfig) -> None:
    report = check_drop(drop(tmp_path / "drops", train="{é\u2028\r".encode(), test=b"[]"), limits)
    quarantine_rejects(report, tmp_path / "quarantine")
    quarantine_rejects(report, tmp_path / "quarantine")
    later = check_drop(drop(tmp_path / "drops", train=b"3"), limits)
    quarantine_rejects(later, tmp_path / "quarantine")
    lines = (tmp_path / "quarantine" / "acme" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["{é\u2028\r", "3"]
    assert set(json.loads(lines[0])) == {"file", "line", "reason", "text"}
    assert (tmp_path / "quarantine" / "acme" / "test.jsonl").exists()
