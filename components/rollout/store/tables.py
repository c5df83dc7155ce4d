"""The rollout's tables for queries: decisions, the state of each tenant, and what serving observed.

The revisions in `migrations` make them; a change here needs a new revision there. All names begin with `prefixfleet_`,
because the tables may be in MLflow's own database. The ledger is append-only: triggers in the database refuse every
update and delete. Knows no policy.
"""

from typing import Any

import sqlalchemy as sql

METADATA = sql.MetaData()

LEDGER = sql.Table(
    "prefixfleet_ledger",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("at", sql.String(32), nullable=False),  # ISO 8601, UTC
    sql.Column("tenant", sql.String(63), nullable=False, index=True),
    sql.Column("by", sql.String(200), nullable=False),
    sql.Column("action", sql.String(32), nullable=False, index=True),
    sql.Column("from_version", sql.String(20), nullable=False),
    sql.Column("to_version", sql.String(20), nullable=False),
    sql.Column("why", sql.Text, nullable=False),
    sql.Column("figures", sql.Text, nullable=False),  # JSON
    sql.Column("chain", sql.String(64), nullable=False, server_default=""),  # "": by a release without the chain
    sql.Column("origin", sql.String(200), nullable=False, server_default=""),  # "": made by no person, or unknown
)

ROLLOUT_STATES = sql.Table(
    "prefixfleet_standings",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("champion", sql.String(20), nullable=False),
    sql.Column("challenger", sql.String(20), nullable=False),
    sql.Column("mode", sql.String(16), nullable=False),
    sql.Column("step", sql.Integer, nullable=False),
    sql.Column("share", sql.Float, nullable=False),
    sql.Column("started_s", sql.Float, nullable=False),
    sql.Column("step_started_s", sql.Float, nullable=False),
    sql.Column("changes", sql.Text, nullable=False),  # JSON
    sql.Column("paused_s", sql.Float, nullable=False),
    sql.Column("pinned", sql.Boolean, nullable=False),
)

PENDING_MOVES = sql.Table(
    "prefixfleet_intents",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("standing", sql.Text, nullable=False),  # JSON
    sql.Column("entry", sql.Text, nullable=False),  # JSON
)

EVENT_OUTBOX = sql.Table(
    "prefixfleet_untold",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("tenant", sql.String(63), nullable=False),
    sql.Column("entry", sql.Text, nullable=False),  # JSON
)

DELIVERIES = sql.Table(
    "prefixfleet_deliveries",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("target", sql.String(63), nullable=False),
    sql.Column("event", sql.String(40), nullable=False),
    sql.Column("type", sql.String(40), nullable=False),
    sql.Column("tenant", sql.String(63), nullable=False, index=True),  # "": several
    sql.Column("payload", sql.Text, nullable=False),  # JSON; "": it is not needed any more
    sql.Column("created_s", sql.Float, nullable=False),  # since 1970
    sql.Column("next_try_s", sql.Float, nullable=False),
    sql.Column("tries", sql.Integer, nullable=False),
    sql.Column("problem", sql.Text, nullable=False),
    sql.Column("state", sql.String(16), nullable=False),
)
"""Events that channels and webhooks get: one row for each event and target."""

sql.Index("ix_prefixfleet_deliveries_due", *(DELIVERIES.c[name] for name in ("state", "target", "next_try_s")))

TRIAL_FINDINGS = sql.Table(
    "prefixfleet_judged",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("trial", sql.String(100), nullable=False),
    sql.Column("seen", sql.BigInteger, nullable=False),
    sql.Column("findings", sql.Text, nullable=False),  # JSON
)

COUNT_COLUMNS = ("requests", "errors", "empty", "repeated", "over_long", "tokens", "agreed", "liked", "disliked")


def _make_key_columns() -> list[sql.Column[Any]]:
    return [
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("version", sql.String(20), primary_key=True),
        sql.Column("arm", sql.String(16), primary_key=True),
        sql.Column("minute", sql.Integer, primary_key=True),  # since 1970
        # Second since 1970 in which the section began; 0: all answers, not only evidence.
        sql.Column("section", sql.BigInteger, primary_key=True),
    ]


OBSERVATIONS = sql.Table(
    "prefixfleet_seen",
    METADATA,
    *_make_key_columns(),
    *(sql.Column(name, sql.BigInteger, nullable=False) for name in COUNT_COLUMNS),
)

LATENCIES = sql.Table(
    "prefixfleet_seen_latencies",
    METADATA,
    *_make_key_columns(),
    sql.Column("bucket", sql.Integer, primary_key=True),
    sql.Column("answers", sql.BigInteger, nullable=False),
)

COUNTED_KEYS = sql.Table(
    "prefixfleet_counted",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("section", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.String(16), primary_key=True),
    sql.Column("place", sql.BigInteger, primary_key=True, autoincrement=False),  # hash minus 2**63, never a name
)
"""Keys whose first answer or opinion was counted as evidence."""

FEEDBACK = sql.Table(
    "prefixfleet_feedback",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("at", sql.String(32), nullable=False),
    sql.Column("tenant", sql.String(63), nullable=False, index=True),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("arm", sql.String(16), nullable=False),
    sql.Column("request", sql.String(200), nullable=False),
    sql.Column("rating", sql.Float),
    sql.Column("source", sql.Text),
    sql.Column("corrected", sql.Text),
    sql.Column("delivered", sql.Boolean, nullable=False),
    sql.Column("choice", sql.Integer, nullable=False, server_default="0"),  # index of the choice
    sql.Column("key_id", sql.String(16)),  # "": a server without keys; NULL: saved by an older release
    sql.Column("end_user", sql.String(512)),  # as the caller named it
    sql.Column("line_sha256", sql.String(64)),  # of the training line that the correction became
)

IS_WAITING = sql.and_(
    FEEDBACK.c.delivered.is_(False), FEEDBACK.c.corrected.is_not(None), FEEDBACK.c.source.is_not(None)
)
"""Whether feedback is a correction that was neither delivered nor left out."""

sql.Index(
    "ux_prefixfleet_feedback_choice",
    *(FEEDBACK.c[name] for name in ("tenant", "request", "choice", "key_id")),
    unique=True,
)
sql.Index("ix_prefixfleet_feedback_waiting", FEEDBACK.c.tenant, sqlite_where=IS_WAITING, postgresql_where=IS_WAITING)

CAUSES = sql.Table(
    "prefixfleet_causes",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("id", sql.String(100), primary_key=True),
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("why", sql.Text, nullable=False),
    sql.Column("opened_at", sql.String(32), nullable=False),  # ISO 8601, UTC
    sql.Column("tries", sql.Integer, nullable=False),
    sql.Column("tried_s", sql.Float, nullable=False),
    sql.Column("closed_at", sql.String(32), nullable=False),  # "": open
    sql.Column("result", sql.Text, nullable=False),
)

ARRIVALS = sql.Table(
    "prefixfleet_arrivals",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("source", sql.String(64), primary_key=True),  # SHA-256 of the watched folder's URL
    sql.Column("name", sql.String(255), primary_key=True),
    sql.Column("modified", sql.String(40), nullable=False),  # ISO 8601, by the store's clock
    sql.Column("since_s", sql.Float, nullable=False),
    sql.Column("taken", sql.String(40), nullable=False),  # `modified` of the content that was taken; "": none
)

INPUT_PROFILES = sql.Table(
    "prefixfleet_input_profiles",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("sha256", sql.String(64), primary_key=True),  # of the version's tensors
    sql.Column("profile", sql.Text, nullable=False),  # JSON
)


def _make_input_key() -> list[sql.Column[Any]]:
    return [
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("sha256", sql.String(64), primary_key=True),
        sql.Column("hour", sql.Integer, primary_key=True),  # since 1970
    ]


INPUT_COUNT_COLUMNS = ("inputs", "words", "unknown_words", "fields", "unknown_fields")
INPUTS = sql.Table(
    "prefixfleet_inputs",
    METADATA,
    *_make_input_key(),
    *(sql.Column(name, sql.BigInteger, nullable=False) for name in INPUT_COUNT_COLUMNS),
)
INPUT_LENGTHS = sql.Table(
    "prefixfleet_input_lengths",
    METADATA,
    *_make_input_key(),
    sql.Column("bucket", sql.Integer, primary_key=True),
    sql.Column("inputs", sql.BigInteger, nullable=False),
)

RUNS = sql.Table(
    "prefixfleet_runs",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("began_at", sql.String(32), nullable=False),  # ISO 8601, UTC
    sql.Column("ended_at", sql.String(32), nullable=False),  # "": still running, or stopped without a result
    sql.Column("trigger", sql.String(200), nullable=False),
    sql.Column("by", sql.String(200), nullable=False),
    sql.Column("dataset_version", sql.String(64), nullable=False),
    sql.Column("unchanged", sql.Integer, nullable=False),  # tenants with nothing to do
    sql.Column("code_version", sql.String(100), nullable=False, server_default=""),
    sql.Column("base_digest", sql.String(100), nullable=False, server_default=""),
)

RUN_TENANTS = sql.Table(
    "prefixfleet_run_tenants",
    METADATA,
    sql.Column("run", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("result", sql.String(16), nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("detail", sql.Text, nullable=False),
    sql.Column("shard", sql.String(64), nullable=False),
    sql.Column("worker", sql.String(200), nullable=False),
    sql.Column("device", sql.String(200), nullable=False),
    sql.Column("began_s", sql.Float, nullable=False),
    sql.Column("ended_s", sql.Float, nullable=False),
    sql.Column("device_seconds", sql.Float, nullable=False),
    sql.Column("training_tokens", sql.BigInteger, nullable=False, server_default="0"),
    *(sql.Column(f"{metric}_{when}", sql.Float) for metric in ("bleu", "rouge") for when in ("before", "after")),
    sql.Column("compared_with", sql.String(40), nullable=False, server_default=""),
)

FLOW_ENDS = sql.Table(
    "prefixfleet_flow_ends",
    METADATA,
    sql.Column("flow", sql.String(32), primary_key=True),
    sql.Column("began_s", sql.Float, nullable=False),  # since 1970
    sql.Column("ended_s", sql.Float, nullable=False),
    sql.Column("failed_tenants", sql.Integer, nullable=False),
)
"""The last execution of each flow that came to its end, also where it had nothing to do."""

ANSWERS = sql.Table(
    "prefixfleet_answers",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("tenant", sql.String(63), nullable=False, index=True),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("arm", sql.String(16), nullable=False),
    sql.Column("at_s", sql.Float, nullable=False, index=True),
    sql.Column("section", sql.BigInteger),  # of the ticket; NULL: the answer has none
    sql.Column("place", sql.BigInteger),  # of the ticket, minus 2**63
    sql.Column("content", sql.Text, nullable=False),  # JSON: the sources, and the user
)

COUNTED_OPINIONS = sql.Table(
    "prefixfleet_counted_opinions",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("request", sql.String(200), primary_key=True),
    sql.Column("choice", sql.Integer, primary_key=True, autoincrement=False),  # -1: evidence of the whole answer
    sql.Column("at", sql.String(32), nullable=False),
)
"""Choices of answers whose first feedback was counted."""

QUOTAS = sql.Table(
    "prefixfleet_quotas",
    METADATA,
    sql.Column("tenant", sql.String(63), primary_key=True),
    sql.Column("unit", sql.String(16), primary_key=True),
    sql.Column("level", sql.Float, nullable=False),
    sql.Column("filled_s", sql.Float, nullable=False),  # since 1970, when the level was computed
)

SERVERS = sql.Table(
    "prefixfleet_servers",
    METADATA,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("seen_s", sql.Float, nullable=False),  # since 1970
)
"""Servers that share quotas and are alive."""
