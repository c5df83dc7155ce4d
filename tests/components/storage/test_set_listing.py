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
    listing = SetListing("0123456789abcdef", {"a/b": StoredFile("f" * 64, 0), ".c": StoredFile("0" * 64, 7)})
    assert parse_listing(listing.to_bytes()) == listing


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"\xff", b"{" * 100_000, make_listing()[:-5], make_listing(schema=2)),
        *(make_listing(generation="../../a"), make_listing(generation=3), make_listing(files=["a"]), b'{"schema": 1}'),
        *(make_listing(files={"a": facts}) for facts in (None, "x", {}, {"sha256": "0" * 64}, {**FILE, "size": -1})),
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
    ("current", "replaced", "abandoned"),
    [
        ("new", "former", {"former/1", "former/2", "dead/1"}),
        ("new", None, {"dead/1"}),
        (None, None, {"dead/1"}),
        ("dead", "former", {"former/1", "former/2"}),
    ],
)
def test_objects_that_no_reader_needs(current: str | None, replaced: str | None, abandoned: set[str]) -> None:
    young, old = NOW - timedelta(hours=23), NOW - timedelta(hours=25)
    written = {"new/1": NOW, "former/1": young, "former/2": old, "dead/1": old, "alive/1": old, "alive/2": young}
    assert set(find_abandoned({**written, "listing.json": old}, current, replaced, NOW)) == abandoned
