"""Usage: what was served by tenant and day, trainings (with those of earlier runs), stored bytes, writers."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0013"
down_revision = "0012"
kind = "expand"

_SECONDS_PER_DAY = 86_400


def upgrade(operations: Operations) -> None:
    """Make the four tables, and copy the trainings that runs have recorded."""
    operations.create_table(
        "prefixfleet_usage",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("day", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("requests", sql.BigInteger, nullable=False),
        sql.Column("input_tokens", sql.BigInteger, nullable=False),
        sql.Column("output_tokens", sql.BigInteger, nullable=False),
        sql.Column("serving_us", sql.BigInteger, nullable=False),
    )
    operations.create_table(
        "prefixfleet_usage_writers",
        sql.Column("id", sql.String(40), primary_key=True),
        sql.Column("batch", sql.BigInteger, nullable=False),
        sql.Column("day", sql.Integer, nullable=False),
    )
    trainings = operations.create_table(
        "prefixfleet_trainings",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("id", sql.String(40), primary_key=True),
        sql.Column("day", sql.Integer, nullable=False, index=True),
        sql.Column("device_us", sql.BigInteger, nullable=False),
        sql.Column("tokens", sql.BigInteger, nullable=False),
    )
    operations.create_table(
        "prefixfleet_stored_bytes",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("day", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("bytes", sql.BigInteger, nullable=False),
    )
    known = operations.get_bind().exec_driver_sql(
        "SELECT run, tenant, ended_s, device_seconds, training_tokens FROM prefixfleet_run_tenants "
        "WHERE device_seconds > 0"
    )
    rows = [
        {
            "tenant": tenant,
            "id": f"run-{run}",
            "day": int(ended_s // _SECONDS_PER_DAY),
            "device_us": round(1e6 * seconds),
            "tokens": tokens,
        }
        for run, tenant, ended_s, seconds, tokens in known
    ]
    operations.bulk_insert(trainings, rows)
