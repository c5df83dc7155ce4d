"""Files and jobs of the fine-tuning API, and the events of the jobs."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0010"
down_revision = "0009"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the three tables."""
    operations.create_table(
        "prefixfleet_uploaded_files",
        sql.Column("id", sql.String(40), primary_key=True),
        sql.Column("tenant", sql.String(63), nullable=True, index=True),
        sql.Column("name", sql.String(255), nullable=False),
        sql.Column("size_bytes", sql.BigInteger, nullable=False),
        sql.Column("examples", sql.Integer, nullable=False),
        sql.Column("created_s", sql.Float, nullable=False),
    )
    operations.create_table(
        "prefixfleet_tuning_jobs",
        sql.Column("id", sql.String(40), primary_key=True),
        sql.Column("number", sql.Integer, nullable=False, unique=True),
        sql.Column("tenant", sql.String(63), nullable=False, index=True),
        sql.Column("place", sql.String(64), nullable=False),
        sql.Column("status", sql.String(20), nullable=False, index=True),
        sql.Column("request", sql.Text, nullable=False),
        sql.Column("training_file", sql.String(40), nullable=False),
        sql.Column("validation_file", sql.String(40), nullable=False),
        sql.Column("created_s", sql.Float, nullable=False),
        sql.Column("began_s", sql.Float, nullable=False),
        sql.Column("ended_s", sql.Float, nullable=False),
        sql.Column("version", sql.String(20), nullable=False),
        sql.Column("trained_tokens", sql.BigInteger, nullable=False),
        sql.Column("steps", sql.Integer, nullable=False),
        sql.Column("error_code", sql.String(64), nullable=False),
        sql.Column("error_message", sql.Text, nullable=False),
    )
    operations.create_table(
        "prefixfleet_tuning_events",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("job", sql.String(40), nullable=False, index=True),
        sql.Column("tenant", sql.String(63), nullable=False),
        sql.Column("at_s", sql.Float, nullable=False),
        sql.Column("level", sql.String(8), nullable=False),
        sql.Column("message", sql.Text, nullable=False),
    )
