"""A tenant's rows are deleted from every table but the ledger."""

import pytest
import sqlalchemy as sql

from components.rollout.store.answers import StoredAnswer, write_answers
from components.rollout.store.event_outbox import add_event
from components.rollout.store.evidence_writer import Evidence, EvidenceKey, write_observations
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.findings_cache import TrialFindings, read_findings, save_findings
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.pending_moves import read_pending_move, save_pending_move
from components.rollout.store.quota_leases import LeaseRequest, QuotaLeases
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.tenant_state import read_states, write_states
from components.rollout.types import LedgerEntry, Observation, RolloutState

TABLES = (
    "answers",
    "counted",
    "counted_opinions",
    "feedback",
    "intents",
    "judged",
    "keys",
    "quotas",
    "seen",
    "seen_latencies",
    "standings",
    "untold",
)


@pytest.fixture
def filled(database):
    """Rows of acme and birch in every table."""
    with database.transaction("the keys, of another part") as connection:
        keys = sql.Table("prefixfleet_keys", sql.MetaData(), sql.Column("tenant", sql.String(63)))
        keys.create(connection)
        connection.execute(sql.insert(keys), [{"tenant": "acme"}, {"tenant": "birch"}])
    for tenant in ("acme", "birch"):
        entry = LedgerEntry(tenant=tenant, by="ada", action="rollback")
        state = RolloutState(tenant=tenant, champion="1")
        with database.transaction("rows") as connection:
            write_states(connection, [state])
            save_pending_move(connection, (state, entry))
            add_event(connection, entry)
        append_entries(database, entry)
        save_findings(database, [TrialFindings(tenant, "trial", 9, [])])
        seen = Observation(tenant=tenant, version="1", arm="champion", minute=7, requests=1, latencies={4: 1})
        write_observations(database, [seen], [Evidence(EvidenceKey(tenant, 60, "answer", 7), [seen])])
        answer = {"tenant": tenant, "version": "1", "arm": "champion"}
        save_feedback(database, Feedback(**answer, request="r", rating=1.0), counts="once")
        QuotaLeases(database, "server").take([LeaseRequest(key=(tenant, "tokens"), per_minute=1)], beats=True)
        write_answers(database, [StoredAnswer(**answer, id=f"of {tenant}", sources=["x"], at_s=0)])
    return database


def test_nothing_but_ledger_entries_remains_of_a_tenant_and_all_of_the_others(filled):
    remaining = [row.split(" rows of ")[1] for row in list_remaining_rows(filled, "acme")]
    assert remaining == [f"prefixfleet_{name}" for name in TABLES]
    of_birch = list_remaining_rows(filled, "birch")
    remove_rows(filled, "acme")
    remove_rows(filled, "acme")
    assert list_remaining_rows(filled, "acme") == []
    assert list_remaining_rows(filled, "birch") == of_birch
    assert [len(read_history(filled, tenant)) for tenant in ("acme", "birch")] == [1, 1]
    assert list(read_states(filled)) == list(read_findings(filled)) == ["birch"]
    with filled.connect("the pending moves") as connection:
        assert read_pending_move(connection, "acme") is None
