"""A listing is parsed as untrusted input: no name in it leads out of a folder. Abandoned objects are found by age."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.storage.set_listing import SetListing, StoredFile, check_file_names, find_abandoned, parse_listing

FILE = {"sha256": "0" * 64, "size": 3}
NOW = datetime(2026, 1, 10, tzinfo=UTC)


def make_listing(**changes: Any) -> bytes:
    return json.dumps({"schema": 1, "generation": "0" * 16, "files": {"a": FILE}, **changes}).encode()


def test_a_listing_is_read_back() -> None:
    files = {"a/b": StoredFile("f" * 64, 0), ".c": StoredFile("0" * 64, 7), "d": StoredFile("1" * 64, 2, 1)}
    for listing in (
        SetListing("0123456789abcdef", {**files}, StoredFile("2" * 64, 3)),
        SetListing("0123456789abcdef", {"a/b": files["a/b"]}),
        SetListing("0123456789abcdef", {}),
    ):
        assert parse_listing(listing.to_bytes()) == listing


def test_the_objects_of_a_set_are_its_large_files_and_its_pack() -> None:
    files = {"a": StoredFile("0" * 64, 7), "b": StoredFile("0" * 64, 7), "c": StoredFile("1" * 64, 2, 1)}
    assert SetListing("9", files, StoredFile("2" * 64, 3)).objects == [f"9/{'0' * 64}", f"9/{'2' * 64}"]
    assert SetListing("9", {}).objects == []


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"\xff", b"{" * 100_000, make_listing()[:-5], make_listing(schema=2)),
        *(make_listing(generation="../../a"), make_listing(generation=3), make_listing(files=["a"]), b'{"schema": 1}'),
        *(make_listing(files={"a": facts}) for facts in (None, "x", {}, {"sha256": "0" * 64}, {**FILE, "size": -1})),
        *(make_listing(pack=FILE, files={"a": {**FILE, "offset": offset}}) for offset in (1, -1, "0", 0.0)),
        *(make_listing(pack=pack, files={"a": {**FILE, "offset": 0}}) for pack in (None, {}, {**FILE, "size": 2})),
        *(make_listing(files={"a": {**FILE, "sha256": text}}) for text in ("../" + "0" * 61, "A" * 64, 0)),
    ],
)
def test_another_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  of several parsers
        parse_listing(content)


@pytest.mark.parametrize(
    "names",
    [
        *([""], ["/etc/passwd"], ["../a"], ["a/../b"], ["a/.."], ["."], ["a//b"], ["a/"], ["a\\b"], ["a\0"], ["a\nb"]),
        *(["a", "a/b"], ["a/b/c", "a"], ["~/../a"], [".incoming-state/a"], ["é"], ["a" * 256]),
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="file name"):
        check_file_names(names)
    with pytest.raises(ValueError, match="file name"):
        parse_listing(make_listing(files=dict.fromkeys(names, FILE)))


@given(st.text(max_size=12) | st.text("ab./~\\\0", max_size=10))
def test_no_name_leaves_a_folder(name: str) -> None:
    try:
        check_file_names([name])
    except ValueError:
        return
    path = Path("/a/b", name)
    assert path.parts == ("/", "a", "b", *name.split("/"))
    assert ".." not in path.parts


@pytest.mark.parametrize(
    ("current", "abandoned"), [("new", {"dead/1", "dead/2"}), (None, {"dead/1", "dead/2"}), ("dead", set())]
)
def test_objects_that_no_reader_needs(current: str | None, abandoned: set[str]) -> None:
    young, old = NOW - timedelta(hours=23), NOW - timedelta(hours=25)
    written = {"new/1": NOW, "dead/1": old, "dead/2": old, "alive/1": old, "alive/2": young}
    assert set(find_abandoned({**written, "listing.json": old}, current, NOW)) == abandoned
