"""Any bytes under any name in a drop give a checked drop or a DataError, never another exception."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.config import DataConfig
from components.data.drop_checks import check_drop, quarantine_rejects
from components.data.intake import take_drops
from components.data.merge import merge_drop
from components.errors import DataError, PrefixFleetError

LIMITS = DataConfig(max_rejects=1.0, push=False)
PIECES = [
    '{"source": "a", "references": ["b"]}',
    '{"messages": [{"role": "user"}]}',
    *('{"source": ', '"a"', ', "references": [', '"\\ud800"', "]", "}", '"slice": ', "null", "1e999", "NaN", "'", ","),
    *("\n", "\r\n", "\t", "[" * 1000, '{"a":' * 1000, "9" * 4400, "\ufeff", "\u2028", "\x00"),
]
CONTENT = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=12).map(lambda p: "".join(p).encode())


def run_check(folder: Path) -> None:
    try:
        report = check_drop(folder, LIMITS)
    except DataError:
        return
    counts = merge_drop(report, None, LIMITS).facts.counts
    assert all(one.new + one.duplicates == one.examples for one in counts.values())
    quarantine_rejects(report, folder.parent / "quarantine")
    kept = sum(map(len, report.accepted.values()))
    assert report.line_count == kept + len(report.rejects)
    json.dumps([reject.reason for reject in report.rejects]).encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(train=CONTENT, test=CONTENT)
def test_any_content(tmp_path: Path, train: bytes, test: bytes) -> None:
    folder = tmp_path / "acme"
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_bytes(train)
    (folder / "test.jsonl").write_bytes(test)
    run_check(folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.binary(min_size=1, max_size=60).filter(
        lambda name: b"/" not in name and b"\x00" not in name and name not in (b".", b"..")
    ),
    as_folder=st.booleans(),
)
def test_any_name(tmp_path: Path, name: bytes, as_folder: bool) -> None:
    workspace = tmp_path / "workspace"
    place = workspace / "drops" if as_folder else workspace / "drops" / "acme"
    place.mkdir(parents=True, exist_ok=True)
    path = place / os.fsdecode(name)
    (path / "train.jsonl" if as_folder else path).parent.mkdir(parents=True, exist_ok=True)
    target = path / "train.jsonl" if as_folder else path
    if not target.is_dir():
        target.write_bytes(b'{"source": "a", "references": ["b"]}')
    try:
        result = take_drops(workspace, LIMITS)
    except PrefixFleetError as problem:
        str(problem).encode()
    else:
        assert not result.changed
        for tenant, reason in result.refused.items():
            f"{tenant}: {reason}".encode()
    if target.is_file():
        target.unlink()
    if as_folder:
        path.rmdir()


def test_a_line_of_many_megabytes_is_one_reject(tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    huge = json.dumps({"source": "x" * 20_000_000, "references": ["y"]})
    (folder / "train.jsonl").write_text(f'{{"source": "a", "references": ["b"]}}\n{huge}\n')
    report = check_drop(folder, LIMITS)
    assert [reject.reason[:40] for reject in report.rejects] == ["source has 20000000 characters, more tha"]


@pytest.mark.parametrize("name", [b"tr\xe9in.jsonl", b"a\nb", b"\x1b[31m"])
def test_a_name_that_is_no_text_is_shown_with_escapes(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=r"acme/.*\\") as problem:
        check_drop(folder, LIMITS)
    assert problem.value.got.isprintable()
