"""The tables of the fine-tuning API: uploaded files, jobs, what happened to the jobs, and notices of their ends."""

import sqlalchemy as sql

from components.rollout.store.tables import METADATA

UPLOADED_FILES = sql.Table(
    "prefixfleet_uploaded_files",
    METADATA,
    sql.Column("id", sql.String(40), primary_key=True),
    sql.Column("tenant", sql.String(63), nullable=True, index=True),  # NULL: uploaded with an admin key
    sql.Column("name", sql.String(255), nullable=False),
    sql.Column("size_bytes", sql.BigInteger, nullable=False),
    sql.Column("examples", sql.Integer, nullable=False),
    sql.Column("created_s", sql.Float, nullable=False),
)

TUNING_JOBS = sql.Table(
    "prefixfleet_tuning_jobs",
    METADATA,
    sql.Column("id", sql.String(40), primary_key=True),
    sql.Column("number", sql.Integer, nullable=False, unique=True),  # order of creation
    sql.Column("tenant", sql.String(63), nullable=False, index=True),
    sql.Column("place", sql.String(64), nullable=False),  # SHA-256 of the machine and workspace that run it
    sql.Column("status", sql.String(20), nullable=False, index=True),
    sql.Column("request", sql.Text, nullable=False),  # JSON
    sql.Column("training_file", sql.String(40), nullable=False),
    sql.Column("validation_file", sql.String(40), nullable=False),  # "": none
    sql.Column("created_s", sql.Float, nullable=False),
    sql.Column("began_s", sql.Float, nullable=False),  # 0: it has not begun
    sql.Column("ended_s", sql.Float, nullable=False),  # 0: it has not ended
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("trained_tokens", sql.BigInteger, nullable=False),
    sql.Column("steps", sql.Integer, nullable=False),
    sql.Column("error_code", sql.String(64), nullable=False),
    sql.Column("error_message", sql.Text, nullable=False),
)

TUNING_EVENTS = sql.Table(
    "prefixfleet_tuning_events",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("job", sql.String(40), nullable=False, index=True),
    sql.Column("tenant", sql.String(63), nullable=False),
    sql.Column("at_s", sql.Float, nullable=False),
    sql.Column("level", sql.String(8), nullable=False),
    sql.Column("message", sql.Text, nullable=False),
)

TUNING_NOTICES = sql.Table(
    "prefixfleet_tuning_notices",
    METADATA,
    sql.Column("job", sql.String(40), primary_key=True),
    sql.Column("tenant", sql.String(63), nullable=False),
    sql.Column("told_s", sql.Float, nullable=False),  # when the receiver accepted the notice
)
