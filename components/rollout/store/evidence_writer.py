"""Which answers are evidence: of each key the first in each stretch of one share, whichever servers give them.

A user sits in one arm whole, and may be unlike the others; sixty-four answers to one user are not sixty-four draws. So
one of them counts, and who has been counted stands in the database: a server that starts again, or another one, goes on
where the last left off. A user is kept as a hash of 64 bits, another in each trial, until the trial ends. The key of
one request comes once and is not kept here: who hands it in sees to that. Knows no request and no check.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from sqlalchemy.engine import Connection

from components.rollout.store.database import Database, insert_into
from components.rollout.store.observations import add
from components.rollout.store.tables import COUNTED
from components.rollout.types import Observation, Ticket

Kind = Literal["answer", "opinion"]

_AT_ONCE = 1_000
_HALF = 2**63


@dataclass(frozen=True, slots=True, order=True)
class Voice:
    """A user in one section of a trial, as one who is answered there, or as one who has an opinion."""

    tenant: str
    section: int
    kind: Kind
    place: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One answer or opinion (in a shadow, both answers) that counts if its voice has not been counted before."""

    voice: Voice | None
    """None: nobody's who comes again, so it counts."""
    observations: Sequence[Observation]


def to_evidence(ticket: Ticket, *observations: Observation) -> Evidence:
    """What one key was answered, or said, as evidence in the section of its ticket."""
    first, section = observations[0], ticket.section
    kind: Kind = "opinion" if first.liked or first.disliked else "answer"
    voice = None if ticket.place is None else Voice(first.tenant, section, kind, ticket.place)
    return Evidence(voice, [replace(one, section=section) for one in observations])


def write_down(database: Database, observations: Iterable[Observation], evidence: Iterable[Evidence] = ()) -> None:
    """Add counts, and the evidence whose voice nobody has counted yet, in one transaction. Raises WorkspaceError."""
    with database.writing("to write down what serving saw") as connection:
        count(connection, observations, evidence)


def count(connection: Connection, observations: Iterable[Observation], evidence: Iterable[Evidence]) -> None:
    """The same within a transaction."""
    by_voice: dict[Voice, Evidence] = {}
    counting = list(observations)
    for one in evidence:
        if one.voice is None:
            counting += one.observations
        else:
            by_voice.setdefault(one.voice, one)
    for voice in _new(connection, sorted(by_voice)):
        counting += by_voice[voice].observations
    add(connection, counting)


def _new(connection: Connection, voices: Sequence[Voice]) -> Iterator[Voice]:
    """Note these as counted; those that were not. In a fixed order, so that two servers never wait for each other."""
    for start in range(0, len(voices), _AT_ONCE):
        some = voices[start : start + _AT_ONCE]
        rows = [{**asdict(one), "place": one.place - _HALF} for one in some]
        noting = insert_into(connection, COUNTED).values(rows).on_conflict_do_nothing().returning(*COUNTED.c)
        for tenant, section, kind, place in connection.execute(noting).all():
            yield Voice(tenant, section, kind, place + _HALF)
