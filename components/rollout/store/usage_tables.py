"""The tables of usage: what was served by tenant and day, trainings, stored bytes, and the writers' last batches."""

import sqlalchemy as sql

from components.rollout.store.tables import METADATA

SERVED_COLUMNS = ("requests", "input_tokens", "output_tokens", "serving_us")
SERVED = sql.Table(
    "prefixfleet_usage",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("day", sql.Integer, primary_key=True, autoincrement=False),  # since 1970, UTC
    *(sql.Column(name, sql.BigInteger, nullable=False) for name in SERVED_COLUMNS),
)

USAGE_WRITERS = sql.Table(
    "prefixfleet_usage_writers",
    METADATA,
    sql.Column("id", sql.String(40), primary_key=True),  # of a process; names no tenant
    sql.Column("batch", sql.BigInteger, nullable=False),  # number of its last batch that was added
    sql.Column("day", sql.Integer, nullable=False),  # of that batch
)

TRAININGS = sql.Table(
    "prefixfleet_trainings",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("id", sql.String(40), primary_key=True),
    sql.Column("day", sql.Integer, nullable=False, index=True),  # on which it ended
    sql.Column("device_us", sql.BigInteger, nullable=False),
    sql.Column("tokens", sql.BigInteger, nullable=False),
)

STORED_BYTES = sql.Table(
    "prefixfleet_stored_bytes",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("day", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),  # at the day's last look; as long as no later row differs
)
