"""Callers' corrections, which become examples of the next dataset version: those that wait, and where each came from.

Knows no drop and no limit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sql

from components.rollout.store.feedback import Feedback
from components.rollout.store.tables import FEEDBACK, IS_WAITING
from components.storage.database import Database

CorrectionState = Literal["waiting", "delivered", "left out"]
DeliveredLine = tuple[int, str, str | None]
"""Id of a correction, its text as it was delivered, and the SHA-256 of its training line; None: it was left out."""


@dataclass(frozen=True, kw_only=True)
class CorrectionOrigin:
    """Who sent a correction, for which answer, and which training line it became."""

    at: str
    key_id: str | None
    """Id of the API key; "": the server had no keys; None: saved by an older release."""
    end_user: str | None
    request: str
    choice: int
    version: str
    state: CorrectionState
    line_sha256: str | None
    """SHA-256 of the line in train.jsonl, without its line feed."""


def list_tenants_with_corrections(database: Database) -> list[str]:
    """Return the tenants with corrections that wait for their delivery, sorted. Raises WorkspaceError."""
    with database.connect("the tenants with corrections") as connection:
        tenants = connection.execute(sql.select(FEEDBACK.c.tenant).where(IS_WAITING).distinct())
        return sorted(tenants.scalars())


def read_corrections(database: Database, tenant: str) -> Sequence[tuple[int, Feedback]]:
    """Return (id, feedback) of a tenant's corrections that wait for their delivery, oldest first.

    Raises WorkspaceError.
    """
    wanted = (IS_WAITING, FEEDBACK.c.tenant == tenant)
    names = list(Feedback.__dataclass_fields__)
    query = sql.select(FEEDBACK.c.id, *(FEEDBACK.c[name] for name in names)).where(*wanted).order_by(FEEDBACK.c.id)
    with database.connect("the corrections by callers") as connection:
        rows = connection.execute(query).all()
    return [(row[0], _to_feedback(dict(zip(names, row[1:], strict=True)))) for row in rows]


def mark_delivered(database: Database, lines: Iterable[DeliveredLine]) -> None:
    """Mark corrections as delivered into a drop. Raises WorkspaceError.

    The texts of a delivered one are deleted: the drop has them. One that was left out keeps its texts. A correction
    that was replaced meanwhile stays waiting.
    """
    row = (FEEDBACK.c.id == sql.bindparam("row"), FEEDBACK.c.corrected == sql.bindparam("text"))
    delivered: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for number, text, digest in lines:
        if digest is None:
            left_out.append({"row": number, "text": text})
        else:
            delivered.append({"row": number, "text": text, "digest": digest})
    cleared = {"delivered": True, "line_sha256": sql.bindparam("digest"), "source": None, "corrected": None}
    with database.transaction("to mark corrections as delivered") as connection:
        for values, rows in ((cleared, delivered), ({"delivered": True}, left_out)):
            if rows:
                connection.execute(sql.update(FEEDBACK).where(*row).values(values), rows)


def read_correction_origins(database: Database, tenant: str) -> list[CorrectionOrigin]:
    """Return where each of a tenant's corrections came from, oldest first. Raises WorkspaceError."""
    columns = FEEDBACK.c
    is_correction = sql.or_(columns.corrected.is_not(None), columns.delivered)
    query = sql.select(FEEDBACK).where(columns.tenant == tenant, is_correction).order_by(columns.id)
    names = [name for name in CorrectionOrigin.__dataclass_fields__ if name != "state"]
    with database.connect("the corrections by callers") as connection:
        rows = connection.execute(query).mappings().all()
    return [CorrectionOrigin(**{name: row[name] for name in names}, state=_to_state(row)) for row in rows]


def _to_feedback(row: Mapping[str, Any]) -> Feedback:
    return Feedback(**{**row, "key_id": row["key_id"] or ""})


def _to_state(row: Mapping[Any, Any]) -> CorrectionState:
    if not row["delivered"]:
        return "waiting"
    was_left_out = row["line_sha256"] is None and row["key_id"] is not None  # an older release kept no digest
    return "left out" if was_left_out else "delivered"
