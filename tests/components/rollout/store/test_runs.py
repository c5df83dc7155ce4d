"""Runs and what they did with their tenants; a forgotten tenant is no longer among them."""

from components.rollout.store.removal import remove_rows
from components.rollout.store.runs import (
    RunTenant,
    begin_run_entry,
    count_runs,
    end_run_entry,
    read_run,
    read_run_tenants,
    read_runs,
)

ALDER = RunTenant(
    tenant="alder",
    result="promoted",
    reason="data changed",
    detail="version 2",
    shard="s1",
    worker="host:1",
    device="cpu",
    began_s=10.0,
    ended_s=30.0,
    device_seconds=12.5,
    training_tokens=5_000_000_000,
)
BIRCH = RunTenant(
    tenant="birch", result="rejected", detail="BLEU is below its floor", device_seconds=2.0, training_tokens=7
)


def test_a_run_that_ended_has_its_counts_and_one_that_was_killed_has_no_end(database):
    first = begin_run_entry(database, "schedule", "ada", "2026-01-01T00:00:00+00:00")
    end_run_entry(database, first, "2026-01-01T01:00:00+00:00", "abc.dir", 7, [BIRCH, ALDER])
    second = begin_run_entry(database, "hand", "ada", "2026-01-02T00:00:00+00:00")
    newest, older = read_runs(database, 10)
    assert (newest.id, newest.ended_at, newest.counts) == (second, "", {})
    assert (older.dataset_version, older.unchanged, older.device_seconds) == ("abc.dir", 7, 14.5)
    assert older.training_tokens == 5_000_000_007
    assert older.counts == {"promoted": 1, "rejected": 1}
    assert read_run_tenants(database, first) == [ALDER, BIRCH]
    assert [one.id for one in read_runs(database, 1)] == [second]


def test_runs_are_counted_read_in_parts_and_found_by_their_id(database):
    ids = [begin_run_entry(database, "hand", "ada", "2026-01-01T00:00:00+00:00") for _ in range(5)]
    end_run_entry(database, ids[0], "2026-01-01T01:00:00+00:00", "abc.dir", 0, [ALDER])
    assert count_runs(database) == 5
    assert [one.id for one in read_runs(database, 2, skip=2)] == [ids[2], ids[1]]
    oldest = read_run(database, ids[0])
    assert oldest == read_runs(database, 1, skip=4)[0]
    assert oldest.counts == {"promoted": 1}
    assert read_run(database, 99) is None


def test_a_forgotten_tenant_leaves_the_runs(database):
    run = begin_run_entry(database, "hand", "ada", "2026-01-01T00:00:00+00:00")
    end_run_entry(database, run, "2026-01-01T01:00:00+00:00", "abc.dir", 0, [BIRCH, ALDER])
    remove_rows(database, "alder")
    assert read_run_tenants(database, run) == [BIRCH]
