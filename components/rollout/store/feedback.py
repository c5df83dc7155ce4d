"""Callers' feedback on answers: ratings and corrections, which become examples of the next dataset version.

A rating below one half, and every correction, counts against the version that gave the answer. Knows no HTTP and no
drop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sql

from components.errors import DataError
from components.rollout.store.evidence_writer import add_observations_and_evidence, to_evidence
from components.rollout.store.tables import FEEDBACK
from components.rollout.types import Arm, EvidenceTicket, Observation
from components.storage.database import Database


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One caller's feedback on one answer: a rating in [0, 1], a corrected text, or both."""

    tenant: str
    version: str
    arm: Arm
    request: str
    """The request's id."""
    rating: float | None = None
    source: str | None = None
    """The model's input; with `corrected` it makes an example."""
    corrected: str | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def save_feedback(
    database: Database, feedback: Feedback, *, counts: bool = True, ticket: EvidenceTicket | None = None
) -> None:
    """Save feedback, and count it in the same transaction.

    Without `counts` it is only saved: an opinion on the same answer was counted before. With the answer's `ticket` it
    is evidence, if it is the user's first opinion in that section of the trial.

    Raises:
        DataError: a text has characters that a database cannot store.
        WorkspaceError: the database does not answer.
    """
    for text in (feedback.request, feedback.source or "", feedback.corrected or ""):
        if "\0" in text or text.encode("utf-8", "replace").decode() != text:
            raise DataError(
                "text of whole characters", "a NUL, or half of a surrogate pair", "remove it and send again"
            )
    with database.transaction("to save feedback") as connection:
        connection.execute(sql.insert(FEEDBACK), {**asdict(feedback), "delivered": False})
        if counts:
            opinion = to_observation(feedback)
            add_observations_and_evidence(connection, [opinion], [to_evidence(ticket, opinion)] if ticket else [])


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


def read_corrections(database: Database) -> Sequence[tuple[int, Feedback]]:
    """Return (id, feedback) of corrections that can become examples and have not yet, oldest first.

    Raises WorkspaceError.
    """
    wanted = (FEEDBACK.c.delivered.is_(False), FEEDBACK.c.corrected.is_not(None), FEEDBACK.c.source.is_not(None))
    names = [column for column in FEEDBACK.c if column.name not in ("id", "delivered")]
    with database.connect("the corrections by callers") as connection:
        rows = connection.execute(sql.select(FEEDBACK.c.id, *names).where(*wanted).order_by(FEEDBACK.c.id)).all()
    return [(row[0], Feedback(**dict(zip((name.name for name in names), row[1:], strict=True)))) for row in rows]


def mark_delivered(database: Database, ids: Iterable[int]) -> None:
    """Mark corrections as delivered into a drop. Raises WorkspaceError."""
    with database.transaction("to mark corrections as delivered") as connection:
        connection.execute(sql.update(FEEDBACK).where(FEEDBACK.c.id.in_(list(ids))).values(delivered=True))
