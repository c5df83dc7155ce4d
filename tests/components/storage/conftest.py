"""A schema of one table, `notes`, with two revisions: the second adds a column."""

from pathlib import Path

import pytest

from components.storage.migrations import Schema

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
