"""Answers that accept feedback at every server of a fleet, for a limited time.

A server writes its answers in batches, and deletes those that it no longer remembers itself. A text is kept only here
and in `feedback`, in rows of its tenant. Knows no request and no memory.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sql
from sqlalchemy.engine import Connection, RowMapping

from components.rollout.store.tables import ANSWERS
from components.rollout.types import Arm, EvidenceTicket
from components.storage.database import Database, make_insert

_ROWS_PER_STATEMENT = 100
_PLACE_OFFSET = 2**63  # places are unsigned, the database's integers are signed


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """What feedback on an answer needs."""

    id: str
    tenant: str
    version: str
    arm: Arm
    sources: Sequence[str]
    """The source of each choice."""
    at_s: float
    """Seconds since 1970."""
    user: str | None = None
    ticket: EvidenceTicket | None = None


def write_answers(database: Database, added: Iterable[StoredAnswer], removed: Iterable[str] = ()) -> None:
    """Save answers and delete those with the ids `removed`, in one transaction. Raises WorkspaceError."""
    rows, ids = [_to_row(one) for one in added], sorted(removed)
    with database.transaction("to save answers for feedback") as connection:
        for some in _split(rows):
            connection.execute(make_insert(connection, ANSWERS).values(some).on_conflict_do_nothing())
        for some_ids in _split(ids):
            connection.execute(sql.delete(ANSWERS).where(ANSWERS.c.id.in_(some_ids)))


def find_answer(database: Database, answer_id: str) -> StoredAnswer | None:
    """Return the answer with this id. Raises WorkspaceError."""
    with database.connect("the answer that feedback is on") as connection:
        row = _read(connection, answer_id)
    if row is None:
        return None
    content = json.loads(row["content"])
    place = None if row["place"] is None else row["place"] + _PLACE_OFFSET
    return StoredAnswer(
        id=row["id"],
        tenant=row["tenant"],
        version=row["version"],
        arm=row["arm"],
        sources=[content["texts"][number] for number in content["choices"]],
        at_s=row["at_s"],
        user=content["user"],
        ticket=None if row["section"] is None else EvidenceTicket(row["section"], place),
    )


def delete_answers_before(database: Database, second: float) -> None:
    """Delete the answers from before a second since 1970. Raises WorkspaceError."""
    with database.transaction("to delete old answers") as connection:
        connection.execute(sql.delete(ANSWERS).where(ANSWERS.c.at_s < second))


def _read(connection: Connection, answer_id: str) -> RowMapping | None:
    return connection.execute(sql.select(ANSWERS).where(ANSWERS.c.id == answer_id)).mappings().first()


def _to_row(answer: StoredAnswer) -> dict[str, object]:
    numbers: dict[str, int] = {}  # samples of one prompt share its text
    choices = [numbers.setdefault(text, len(numbers)) for text in answer.sources]
    ticket = answer.ticket
    return {
        "id": answer.id,
        "tenant": answer.tenant,
        "version": answer.version,
        "arm": answer.arm,
        "at_s": answer.at_s,
        "section": ticket.section if ticket else None,
        "place": ticket.place - _PLACE_OFFSET if ticket and ticket.place is not None else None,
        "content": json.dumps({"texts": list(numbers), "choices": choices, "user": answer.user}),
    }


def _split(rows: Sequence[object]) -> Iterable[Sequence[object]]:
    return (rows[start : start + _ROWS_PER_STATEMENT] for start in range(0, len(rows), _ROWS_PER_STATEMENT))
