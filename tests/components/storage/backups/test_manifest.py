"""Manifests and listings: read back as they were written; damaged, newer and malicious ones are refused."""

import gzip
import json

import pytest

from components.errors import BackupError
from components.storage.backups.manifest import (
    SCHEMA,
    BackupManifest,
    StoredFile,
    count_parts,
    format_listing,
    parse_listing,
    parse_manifest,
)

FILES = {
    "workspace/params.yaml": StoredFile("a" * 64, 3),
    "workspace/run.sh": StoredFile("b" * 64, 5, is_executable=True),
    "dvc/0f.dir": StoredFile("a" * 64, 3),
}


def make_manifest(**changes):
    values = {
        "id": "20260101T000000Z",
        "source": "id",
        "product_version": "9.8",
        "began_at": "2026-01-01T00:00:00+00:00",
        "ended_at": "2026-01-01T00:00:01+00:00",
        "listing": "c" * 64,
        "parts": count_parts(FILES),
        "new_bytes": 8,
        "facts": {"folder": "/x"},
    }
    return BackupManifest(**{**values, **changes})


def test_a_manifest_is_read_back_with_its_counts():
    manifest = make_manifest()
    assert parse_manifest(manifest.to_bytes(), "here") == manifest
    assert (manifest.file_count, manifest.byte_count) == (3, 11)
    assert manifest.parts["workspace"].files == 2


def test_a_manifest_of_a_newer_release_is_refused_by_name():
    content = make_manifest(schema=SCHEMA + 1).to_bytes()
    with pytest.raises(BackupError, match=r"schema 2, written by PrefixFleet 9\.8") as problem:
        parse_manifest(content, "here")
    assert "upgrade PrefixFleet" in problem.value.fix


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"new_bytes": 8', '"new_bytes": 9'),
        lambda text: "[]",
        lambda text: "",
    ],
)
def test_a_damaged_manifest_is_refused(change):
    with pytest.raises(BackupError, match="a damaged file"):
        parse_manifest(change(make_manifest().to_bytes().decode()).encode(), "here")


def test_equal_files_give_an_equal_listing_and_are_read_back():
    content = format_listing(FILES)
    assert content == format_listing(dict(reversed(FILES.items())))
    assert parse_listing(content, "here") == FILES


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "workspace/../../x", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(name):
    content = gzip.compress(json.dumps([[name, "a" * 64, 1, 0]]).encode())
    with pytest.raises(BackupError, match="names of files below one folder"):
        parse_listing(content, "here")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"{", mtime=0), format_listing(FILES)[:-9]], ids=range(4)
)
def test_a_damaged_listing_is_refused(content):
    with pytest.raises(BackupError, match="a damaged file"):
        parse_listing(content, "here")
