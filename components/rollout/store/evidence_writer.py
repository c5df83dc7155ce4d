"""Decides which answers are evidence: the first answer to each key in each section, over all servers.

A user is in one arm only, and may differ from other users: 64 answers to one user are not 64 independent samples. So
one answer counts, and the counted keys are in the database, which all servers share and which outlasts a restart. A
user is stored as a 64-bit hash, a different one in each trial, and deleted when the trial ends. The key of a single
request is not stored: the caller must pass it only once. Knows no request and no check.
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
_PLACE_OFFSET = 2**63  # places are unsigned, the database's integers are signed


@dataclass(frozen=True, slots=True, order=True)
class EvidenceKey:
    """A user in one section of a trial; answers and opinions are counted separately."""

    tenant: str
    section: int
    kind: EvidenceKind
    place: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One answer or opinion (in a shadow, both arms' answers), which counts unless its key was counted before."""

    key: EvidenceKey | None
    """None: not deduplicated, so it always counts."""
    observations: Sequence[Observation]


def to_evidence(ticket: EvidenceTicket, *observations: Observation) -> Evidence:
    """Return one user's answer (in a shadow both arms'), or one opinion, as evidence in the ticket's section."""
    first, section = observations[0], ticket.section
    kind: EvidenceKind = "opinion" if first.liked or first.disliked else "answer"
    key = None if ticket.place is None else EvidenceKey(first.tenant, section, kind, ticket.place)
    return Evidence(key, [replace(one, section=section) for one in observations])


def write_observations(
    database: Database, observations: Iterable[Observation], evidence: Iterable[Evidence] = ()
) -> None:
    """Add counts, and the evidence whose key was not counted before, in one transaction. Raises WorkspaceError."""
    with database.transaction("to save observations") as connection:
        add_observations_and_evidence(connection, observations, evidence)


def add_observations_and_evidence(
    connection: Connection, observations: Iterable[Observation], evidence: Iterable[Evidence]
) -> None:
    """As `write_observations`, within the caller's transaction."""
    by_key: dict[EvidenceKey, Evidence] = {}
    counted = list(observations)
    for one in evidence:
        if one.key is None:
            counted += one.observations
        else:
            by_key.setdefault(one.key, one)
    for key in _insert_new_keys(connection, sorted(by_key)):
        counted += by_key[key].observations
    add_observations(connection, counted)


def _insert_new_keys(connection: Connection, keys: Sequence[EvidenceKey]) -> Iterator[EvidenceKey]:
    """Insert the keys and yield those that were not there; the keys are sorted, so that servers cannot deadlock."""
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        some = keys[start : start + _KEYS_PER_STATEMENT]
        rows = [{**asdict(one), "place": one.place - _PLACE_OFFSET} for one in some]
        insert = make_insert(connection, COUNTED_KEYS).values(rows).on_conflict_do_nothing().returning(*COUNTED_KEYS.c)
        for tenant, section, kind, place in connection.execute(insert).all():
            yield EvidenceKey(tenant, section, kind, place + _PLACE_OFFSET)
