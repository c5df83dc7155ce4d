"""Callers' feedback on answers: ratings and corrections.

Feedback on one choice by one API key is one row: later feedback replaces the earlier. A rating below one half, and
every correction, counts against the version that gave the answer. Knows no HTTP and no drop.
"""

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.errors import DataError
from components.rollout.store.evidence_writer import add_observations_and_evidence, to_evidence
from components.rollout.store.tables import COUNTED_OPINIONS, FEEDBACK, IS_WAITING
from components.rollout.types import Arm, EvidenceTicket, Observation
from components.storage.database import Database, make_insert

SaveResult = Literal["saved", "delivered", "full"]
"""saved; or not saved, as an earlier correction was delivered, or as too many of the tenant's corrections wait."""

_WHOLE_ANSWER = -1
"""In place of a choice, in the table of counted opinions."""
_ROW_KEY = ("tenant", "request", "choice", "key_id")


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One caller's feedback on one choice of an answer: a rating in [0, 1], a corrected text, or both."""

    tenant: str
    version: str
    arm: Arm
    request: str
    """The answer's id."""
    choice: int = 0
    """Index of the choice."""
    key_id: str = ""
    """Id of the API key; "": the server had no keys."""
    end_user: str | None = None
    """The user that the caller named."""
    rating: float | None = None
    source: str | None = None
    """The model's input; with `corrected` it makes an example."""
    corrected: str | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def save_feedback(
    database: Database,
    feedback: Feedback,
    *,
    counts: bool | Literal["once"] = True,
    ticket: EvidenceTicket | None = None,
    max_waiting: int | None = None,
) -> SaveResult:
    """Save feedback, and count it in the same transaction.

    With `counts=False` the feedback is saved and not counted; with "once" it is counted if it is the first on its
    choice, over all servers, and as evidence if it is the first counted one on the answer. With the answer's `ticket`
    it also counts as evidence, if it is the user's first opinion in the ticket's section of the trial. `max_waiting`
    limits how many corrections of the tenant wait to be delivered; a correction that replaces a waiting one adds none.

    Raises:
        DataError: a text has characters that a database cannot store.
        WorkspaceError: the database does not answer.
    """
    for text in (feedback.request, feedback.source or "", feedback.corrected or "", feedback.end_user or ""):
        if "\0" in text or text.encode("utf-8", "replace").decode() != text:
            raise DataError(
                "text of whole characters", "a NUL, or half of a surrogate pair", "remove it and send again"
            )
    with database.transaction("to save feedback") as connection:
        if max_waiting is not None and _is_full(connection, feedback, max_waiting):
            return "full"
        if not _insert_or_replace(connection, feedback):
            return "delivered"
        if counts == "once":
            counts = _claim(connection, feedback, feedback.choice)
            if counts and ticket is not None and not _claim(connection, feedback, _WHOLE_ANSWER):
                ticket = None
        if counts:
            opinion = to_observation(feedback)
            add_observations_and_evidence(connection, [opinion], [to_evidence(ticket, opinion)] if ticket else [])
    return "saved"


def read_newest_feedback(database: Database, tenant: str, limit: int) -> list[Feedback]:
    """Return the feedback that a tenant got last, newest first. Raises WorkspaceError."""
    query = sql.select(FEEDBACK).where(FEEDBACK.c.tenant == tenant).order_by(FEEDBACK.c.id.desc()).limit(limit)
    names = [one.name for one in fields(Feedback)]
    with database.connect(f"the feedback on {tenant}") as connection:
        rows = connection.execute(query).mappings().all()
    return [Feedback(**{name: row[name] for name in names}) for row in rows]


def to_observation(feedback: Feedback) -> Observation:
    """Return feedback as an observation, with one like or dislike in the minute in which it was given."""
    disliked = feedback.corrected is not None or (feedback.rating is not None and feedback.rating < 0.5)
    return Observation(
        tenant=feedback.tenant,
        version=feedback.version,
        arm=feedback.arm,
        minute=int(datetime.fromisoformat(feedback.at).timestamp() // 60),
        liked=int(not disliked),
        disliked=int(disliked),
    )


def delete_ratings_before(database: Database, minute: int) -> None:
    """Delete ratings without a correction, and claims, from before a minute since 1970. Raises WorkspaceError."""
    until = datetime.fromtimestamp(60 * minute, UTC).isoformat(timespec="seconds")
    is_rating = (FEEDBACK.c.corrected.is_(None), FEEDBACK.c.delivered.is_(False))
    with database.transaction("to delete old ratings") as connection:
        connection.execute(sql.delete(FEEDBACK).where(FEEDBACK.c.at < until, *is_rating))
        connection.execute(sql.delete(COUNTED_OPINIONS).where(COUNTED_OPINIONS.c.at < until))


def _claim(connection: Connection, feedback: Feedback, choice: int) -> bool:
    """Return whether no server has counted an opinion on this choice before. Another server's claim is waited for."""
    row = {"tenant": feedback.tenant, "request": feedback.request, "choice": choice, "at": feedback.at}
    insert = make_insert(connection, COUNTED_OPINIONS).values(row).on_conflict_do_nothing()
    return connection.execute(insert.returning(COUNTED_OPINIONS.c.choice)).first() is not None


def _is_full(connection: Connection, feedback: Feedback, max_waiting: int) -> bool:
    if feedback.corrected is None:
        return False
    same = sql.and_(*(FEEDBACK.c[name] == getattr(feedback, name) for name in _ROW_KEY))
    others = (IS_WAITING, FEEDBACK.c.tenant == feedback.tenant, sql.or_(sql.not_(same), FEEDBACK.c.key_id.is_(None)))
    waiting: int = connection.execute(sql.select(sql.func.count()).select_from(FEEDBACK).where(*others)).scalar_one()
    return waiting >= max_waiting


def _insert_or_replace(connection: Connection, feedback: Feedback) -> bool:
    """Return False, without a change, if a correction of the same choice by the same key was delivered."""
    row = {**asdict(feedback), "delivered": False}
    given = [name for name in ("rating", "source", "corrected", "end_user") if row[name] is not None]
    insert = make_insert(connection, FEEDBACK).values(row)
    statement = insert.on_conflict_do_update(
        index_elements=_ROW_KEY,
        set_={name: insert.excluded[name] for name in ("at", *given)},
        where=None if feedback.corrected is None else FEEDBACK.c.delivered.is_(False),
    )
    return connection.execute(statement.returning(FEEDBACK.c.id)).first() is not None
