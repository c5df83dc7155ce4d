"""A schema of one table, `notes`, with two revisions: the second adds a column; and object stores of each kind."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flaky_proxy import FlakyProxy, run_flaky_proxy
from gcp_storage_emulator.server import create_server
from processes import find_free_port
from s3_server import S3Server

from components.storage.migrations import Schema
from components.storage.object_store import ObjectStore

FIRST = """
import sqlalchemy as sql

revision, down_revision, kind = "0001", None, "expand"

def upgrade(operations):
    operations.create_table("notes", sql.Column("text", sql.Text, nullable=False), if_not_exists=True)
"""
SECOND = """
import sqlalchemy as sql

revision, down_revision, kind = "0002", "0001", "expand"

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


@pytest.fixture(scope="session")
def google_storage() -> Iterator[str]:
    """The address of a server with the API of Google Cloud Storage, which keeps objects in memory."""
    server = create_server("127.0.0.1", port := find_free_port(), in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def gs_url(google_storage: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder in a new bucket of it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google_storage)
    bucket = f"bucket-{secrets.token_hex(8)}"
    httpx.post(f"{google_storage}/storage/v1/b?project=fleet", json={"name": bucket}).raise_for_status()
    return f"gs://{bucket}/night"


@pytest.fixture(params=["file", "s3", "gs"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty folder in each kind of store."""
    name: str = request.param
    return (tmp_path / "store").as_uri() if name == "file" else request.getfixturevalue(f"{name}_url")


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return ObjectStore(store_url)


@pytest.fixture
def proxy(s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A proxy through which this process reaches the server of `s3_url`."""
    with run_flaky_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy
