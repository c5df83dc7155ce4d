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

from components.rollout.store.observations import add_observations
from components.rollout.store.tables import COUNTED_KEYS
from components.rollout.types import EvidenceTicket, Observation
from components.storage.database import Database, make_insert

EvidenceKind = Literal["answer", "opinion"]

_KEYS_PER_STATEMENT = 1_000
_PLACE_OFFSET = 2**63


@dataclass(frozen=True, slots=True, order=True)
class EvidenceKey:
    """A user in one section of a trial, as one who is answered there, or as one who has an opinion."""

    tenant: str
    section: int
    kind: EvidenceKind
    place: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One answer or opinion (in a shadow, both answers) that counts if its voice has not been counted before."""

    key: EvidenceKey | None
    """None: nobody's who comes again, so it counts."""
    observations: Sequence[Observation]


def to_evidence(ticket: EvidenceTicket, *observations: Observation) -> Evidence:
    """What one key was answered, or said, as evidence in the section of its ticket."""
    first, section = observations[0], ticket.section
    kind: EvidenceKind = "opinion" if first.liked or first.disliked else "answer"
    voice = None if ticket.place is None else EvidenceKey(first.tenant, section, kind, ticket.place)
    return Evidence(voice, [replace(one, section=section) for one in observations])


def write_observations(
    database: Database, observations: Iterable[Observation], evidence: Iterable[Evidence] = ()
) -> None:
    """Add counts, and the evidence whose voice nobody has counted yet, in one transaction. Raises WorkspaceError."""
    with database.transaction("to write down what serving saw") as connection:
        add_observations_and_evidence(connection, observations, evidence)


def add_observations_and_evidence(
    connection: Connection, observations: Iterable[Observation], evidence: Iterable[Evidence]
) -> None:
    """The same within a transaction."""
    by_voice: dict[EvidenceKey, Evidence] = {}
    counting = list(observations)
    for one in evidence:
        if one.key is None:
            counting += one.observations
        else:
            by_voice.setdefault(one.key, one)
    for voice in _insert_new_keys(connection, sorted(by_voice)):
        counting += by_voice[voice].observations
    add_observations(connection, counting)


def _insert_new_keys(connection: Connection, keys: Sequence[EvidenceKey]) -> Iterator[EvidenceKey]:
    """Note these as counted; those that were not. In a fixed order, so that two servers never wait for each other."""
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        some = keys[start : start + _KEYS_PER_STATEMENT]
        rows = [{**asdict(one), "place": one.place - _PLACE_OFFSET} for one in some]
        noting = make_insert(connection, COUNTED_KEYS).values(rows).on_conflict_do_nothing().returning(*COUNTED_KEYS.c)
        for tenant, section, kind, place in connection.execute(noting).all():
            yield EvidenceKey(tenant, section, kind, place + _PLACE_OFFSET)
