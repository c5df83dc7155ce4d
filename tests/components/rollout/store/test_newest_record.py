from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries
from components.rollout.store.newest_record import find_newest_record
from components.rollout.store.runs import begin_run_entry
from components.rollout.types import LedgerEntry


def test_the_newest_of_moves_and_runs(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/x.db")
    assert find_newest_record(database) is None
    append_entries(database, LedgerEntry(tenant="acme", by="ada", action="pin", at="2026-01-01T00:01:00+00:00"))
    begin_run_entry(database, "hand", "ada", "2026-01-01T00:00:30+00:00")
    assert find_newest_record(database) == 1_767_225_660.0
    database.close()
