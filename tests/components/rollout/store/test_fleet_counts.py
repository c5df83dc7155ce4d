"""Counts of the ledger, trials, causes and runs, on both databases."""

from components.rollout.store.causes import Cause, close_causes, open_causes
from components.rollout.store.fleet_counts import read_fleet_counts
from components.rollout.store.ledger import append_entries
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.store.tenant_state import write_states
from components.rollout.types import LedgerEntry, RolloutState


def test_an_empty_database_has_counts_of_nothing(database):
    counts = read_fleet_counts(database)
    assert (counts.actions, counts.trials, counts.paused, counts.pinned, counts.open_causes) == ({}, {}, 0, 0, 0)
    assert (counts.runs, counts.last_run, counts.open_run_began_at, counts.oldest_trial_s) == (0, None, None, None)


def test_moves_trials_and_causes_are_counted(database):
    moves = [("alder", "promote"), ("birch", "promote"), ("alder", "rollback")]
    append_entries(database, *(LedgerEntry(tenant=tenant, by="ada", action=action) for tenant, action in moves))
    states = [
        RolloutState(tenant="alder", champion="1", challenger="2", mode="canary", started_s=300.0),
        RolloutState(tenant="birch", champion="1", challenger="2", mode="canary", started_s=100.0, paused_s=200.0),
        RolloutState(tenant="cedar", champion="1", challenger="2", mode="shadow", started_s=400.0),
        RolloutState(tenant="dale", champion="1", pinned=True),
    ]
    causes = [Cause(tenant="alder", id=str(number), kind="arrival", why="data", opened_at="2026") for number in (1, 2)]
    with database.transaction("trials and causes") as connection:
        write_states(connection, states)
        open_causes(connection, causes)
    close_causes(database, causes[:1], ["done"])
    counts = read_fleet_counts(database)
    assert counts.actions == {"promote": 2, "rollback": 1}
    assert counts.trials == {"canary": 2, "shadow": 1}
    assert (counts.paused, counts.pinned, counts.open_causes, counts.oldest_trial_s) == (1, 1, 1, 300.0)


def test_the_last_run_is_the_one_that_ended_and_a_newer_one_without_an_end_is_open(database):
    ended = begin_run_entry(database, "schedule", "ada", "2026-01-01T00:00:00+00:00")
    tenants = [
        RunTenant(tenant="a", result="promoted", reason="data", shard="s1", worker="w1", began_s=10.0, ended_s=40.0),
        RunTenant(tenant="b", result="accepted", reason="data", shard="s1", worker="w1", began_s=10.0, ended_s=40.0),
        RunTenant(tenant="c", result="failed", reason="data", shard="s2", worker="w2", began_s=10.0, ended_s=70.0),
        RunTenant(tenant="d", result="rejected"),
    ]
    end_run_entry(database, ended, "2026-01-01T01:00:00+00:00", "abc.dir", 7, tenants)
    counts = read_fleet_counts(database)
    last = counts.last_run
    assert (counts.runs, counts.open_run_began_at) == (1, None)
    assert (last.to_train, last.shards, last.workers, last.longest_shard_seconds) == (3, 2, 2, 60.0)
    assert last.entry.counts == {"promoted": 1, "accepted": 1, "failed": 1, "rejected": 1}
    begin_run_entry(database, "hand", "ada", "2026-01-02T00:00:00+00:00")
    counts = read_fleet_counts(database)
    assert (counts.runs, counts.last_run.entry.id) == (1, ended)
    assert counts.open_run_began_at == "2026-01-02T00:00:00+00:00"
