"""A schema of one table, `notes`, with two revisions: the second adds a column; and object stores of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flaky_proxy import FlakyProxy, run_flaky_proxy
from s3_server import S3Server

from components.storage.migrations import Schema
from components.storage.object_store import ObjectStore

FIRST = """
import sqlalchemy as sql

revision, down_revision = "0001", None

def upgrade(operations):
    operations.create_table("notes", sql.Column("text", sql.Text, nullable=False), if_not_exists=True)
"""
SECOND = """
import sqlalchemy as sql

revision, down_revision = "0002", "0001"

def upgrade(operations):
    operations.add_column("notes", sql.Column("stars", sql.Integer, nullable=False, server_default="3"))
"""


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    folder = tmp_path / "revisions"
    folder.mkdir()
    (folder / "revision_0001.py").write_text(FIRST)
    (folder / "revision_0002.py").write_text(SECOND)
    return Schema(folder=folder, head="0002", version_table="notes_version")


@pytest.fixture
def s3_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder in a new bucket, with the keys in the environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.make_bucket()}/night"


@pytest.fixture(params=["file", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty folder in each kind of store."""
    return (tmp_path / "store").as_uri() if request.param == "file" else request.getfixturevalue("s3_url")


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return ObjectStore(store_url)


@pytest.fixture
def proxy(s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A proxy through which this process reaches the server of `s3_url`."""
    with run_flaky_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy
