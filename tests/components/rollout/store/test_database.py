"""The rollout's tables on a real SQLite and a real PostgreSQL: made once, guarded, and found where params say."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from seen import observed

from components.config import BaseConfig, Params, RegistryConfig
from components.errors import WorkspaceError
from components.rollout.store.database import DATABASE_VARIABLE, find_database_url, open_database, open_database_url
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.observations import delete_observations_before, write_counts
from components.rollout.store.tables import LEDGER
from components.rollout.store.tenant_state import read_state, write_states
from components.rollout.types import LedgerEntry, Observation, RolloutState

ENTRY = LedgerEntry(tenant="acme", by="ada@desk", action="promote", from_version="1", to_version="2", figures={"n": 3})


def params(uri="sqlite:///var/mlflow/mlflow.db"):
    return Params(base=BaseConfig(path="base"), registry=RegistryConfig(tracking_uri=uri))


@pytest.fixture(autouse=True)
def _own_places(monkeypatch):
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_its_place(tmp_path, monkeypatch):
    own = f"sqlite:///{tmp_path}/var/prefixfleet.db"
    assert find_database_url(params(), tmp_path) == own
    assert find_database_url(params("http://mlflow:5000"), tmp_path) == own
    assert find_database_url(params("postgresql://u:p@db/mlflow"), tmp_path) == "postgresql://u:p@db/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:p@other/mlflow")
    assert find_database_url(params(), tmp_path) == "postgresql+psycopg2://u:p@other/mlflow"
    monkeypatch.setenv(DATABASE_VARIABLE, "sqlite:///elsewhere.db")
    assert find_database_url(params(), tmp_path) == f"sqlite:///{tmp_path}/elsewhere.db"


def test_what_cannot_be_opened_is_told_without_its_password(tmp_path, monkeypatch):
    for url in ("mysql://ada:secret@db/x", "nonsense", "postgresql://ada:secret@127.0.0.1:1/x"):
        monkeypatch.setenv(DATABASE_VARIABLE, url)
        with pytest.raises(WorkspaceError) as told:
            open_database(params(), tmp_path)
        assert "secret" not in str(told.value)


def test_sqlite_is_made_once_by_many_at_a_time(tmp_path):
    url = f"sqlite:///{tmp_path}/deep/inside/prefixfleet.db"
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: open_database_url(url), range(6)))
    for database in opened:
        append_entries(database, ENTRY)
    assert [entry.figures for entry in read_history(opened[0], "acme")] == [{"n": 3}] * 6
    with opened[0].connect("the mode") as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def check_everything(database):
    append_entries(database, ENTRY)
    for change in (sql.update(LEDGER).values(by="eve"), sql.delete(LEDGER)):
        with pytest.raises(WorkspaceError, match="append-only"), database.transaction("to change it") as connection:
            connection.execute(change)
    assert read_history(database, "acme") == [ENTRY]
    assert read_history(database, "birch") == []
    with database.transaction("standings") as connection:
        write_states(connection, [RolloutState(tenant="acme", champion="1"), RolloutState(tenant="birch")])
        write_states(connection, [RolloutState(tenant="acme", champion="2", paused_s=60.0)])
    assert read_state(database, "acme") == RolloutState(tenant="acme", champion="2", paused_s=60.0)
    assert read_state(database, "nobody") == RolloutState(tenant="nobody")
    cell = Observation(tenant="acme", version="2", arm="challenger", minute=7, requests=3, latencies={4: 2, 5: 1})
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: write_counts(database, [cell]), range(8)))
    assert observed(database, "acme", ["1", "2"], 7, 8) == [
        Observation(tenant="acme", version="2", arm="challenger", minute=7, requests=24, latencies={4: 16, 5: 8})
    ]
    delete_observations_before(database, 7)
    assert len(observed(database, "acme", ["2"], 0, 99)) == 1
    delete_observations_before(database, 8)
    assert observed(database, "acme", ["2"], 0, 99) == []


def test_sqlite_holds_it_all(database):
    check_everything(database)


@pytest.mark.slow
def test_postgresql_holds_it_all_beside_others(postgresql_url):
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: open_database_url(postgresql_url), range(4)))
    check_everything(opened[0])
    with pytest.raises(WorkspaceError, match="append-only"), opened[0].transaction("to empty it") as connection:
        connection.exec_driver_sql(f"TRUNCATE {LEDGER.name}")
    for database in opened:
        database.close()
