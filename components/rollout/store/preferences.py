"""People's choices in blind comparisons of two versions, saved as feedback on the newer version.

A choice is one row of the feedback: its rating is 1 if the person preferred the newer version, 0 if the older one, and
0.5 without a preference; its user is the person, its request names the versions and the example. It is no evidence in
a trial, because the person is no caller and saw both outputs. The same person's later choice on the same example
replaces the earlier one. Knows no output text.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from components.evaluation.preference import Choice, PreferenceTally
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.tables import FEEDBACK
from components.rollout.types import Arm
from components.storage.database import Database

_START = "blind"
_REQUEST_PARTS = 4
_DIGEST_CHARS = 16
_RATINGS: dict[Choice, float] = {"first": 0.0, "neither": 0.5, "second": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """One person's choice between two versions' outputs for one example; `second` is the version it is feedback on."""

    tenant: str
    first: str
    second: str
    second_arm: Arm
    example: str
    """The example's source and references, as any text that identifies it; only its digest is saved."""
    choice: Choice
    person: str
    key_id: str = ""
    """Id of the person's API key; "": without keys."""


def save_preference(database: Database, preference: Preference) -> None:
    """Save a choice, or replace the same person's on the same example.

    Raises:
        DataError: the person's name has characters that a database cannot store.
        WorkspaceError: the database does not answer.
    """
    feedback = Feedback(
        tenant=preference.tenant,
        version=preference.second,
        arm=preference.second_arm,
        request=_make_request(preference),
        key_id=preference.key_id,
        end_user=preference.person,
        rating=_RATINGS[preference.choice],
    )
    save_feedback(database, feedback, counts=False)


def read_tally(database: Database, tenant: str, first: str, second: str) -> PreferenceTally:
    """Return all people's choices between two versions. Raises WorkspaceError."""
    query = (
        sql.select(FEEDBACK.c.rating, sql.func.count())
        .where(*_match_pair(tenant, first, second))
        .group_by(FEEDBACK.c.rating)
    )
    with database.connect(f"the choices between versions of {tenant}") as connection:
        counts = {rating: int(count) for rating, count in connection.execute(query).all()}
    return PreferenceTally(**{choice: counts.get(rating, 0) for choice, rating in _RATINGS.items()})


def describe_choice(feedback: Feedback) -> str:
    """Return what a person chose in a blind comparison, for people; "" for feedback of another kind."""
    start, *parts = feedback.request.split(":")
    if start != _START or len(parts) != _REQUEST_PARTS or feedback.rating is None:
        return ""
    older = parts[0]
    if feedback.rating == _RATINGS["neither"]:
        return f"blind comparison with version {older}: no preference"
    preferred = feedback.version if feedback.rating == _RATINGS["second"] else older
    return f"blind comparison with version {older}: version {preferred} preferred"


def find_chosen(
    database: Database, tenant: str, first: str, second: str, person: str, examples: Sequence[str]
) -> set[str]:
    """Return those of `examples` on which the person has chosen between the two versions. Raises WorkspaceError."""
    query = sql.select(FEEDBACK.c.request).where(*_match_pair(tenant, first, second), FEEDBACK.c.end_user == person)
    with database.connect(f"the choices of {person}") as connection:
        digests = {request.split(":")[3] for request in connection.execute(query).scalars()}
    return {example for example in examples if _shorten_digest(example) in digests}


def _match_pair(tenant: str, first: str, second: str) -> tuple[sql.ColumnElement[bool], ...]:
    start = f"{_START}:{first}:{second}:"
    return (
        FEEDBACK.c.tenant == tenant,
        FEEDBACK.c.version == second,
        FEEDBACK.c.request.startswith(start, autoescape=True),
    )


def _make_request(preference: Preference) -> str:
    digests = _shorten_digest(preference.example), _shorten_digest(preference.person)
    return ":".join((_START, preference.first, preference.second, *digests))


def _shorten_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
