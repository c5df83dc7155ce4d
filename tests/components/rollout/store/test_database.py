"""The rollout's database: its URL, and all that its tables keep, on a real SQLite and a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
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
def _no_variables(monkeypatch):
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def database(database_url):
    opened = open_database_url(database_url)
    yield opened
    opened.close()


def test_the_url_is_the_variable_s_or_mlflow_s_postgresql_or_a_file(tmp_path, monkeypatch):
    own = f"sqlite:///{tmp_path}/var/prefixfleet.db"
    assert find_database_url(params(), tmp_path) == own
    assert find_database_url(params("http://mlflow:5000"), tmp_path) == own
    assert find_database_url(params("postgresql://u:p@db/mlflow"), tmp_path) == "postgresql://u:p@db/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:p@other/mlflow")
    assert find_database_url(params(), tmp_path) == "postgresql+psycopg2://u:p@other/mlflow"
    monkeypatch.setenv(DATABASE_VARIABLE, "sqlite:///elsewhere.db")
    assert find_database_url(params(), tmp_path) == f"sqlite:///{tmp_path}/elsewhere.db"


def test_a_database_that_does_not_answer_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://ada:secret@127.0.0.1:1/x")
    with pytest.raises(WorkspaceError, match=DATABASE_VARIABLE) as caught:
        open_database(params(), tmp_path)
    assert "secret" not in str(caught.value)


def test_the_ledger_is_append_only(database):
    append_entries(database, ENTRY)
    changes = ["UPDATE {} SET tenant = 'eve'", "DELETE FROM {}"]
    if database.engine.dialect.name == "postgresql":
        changes.append("TRUNCATE {}")
    for change in changes:
        with pytest.raises(WorkspaceError, match="append-only"), database.transaction("a change") as connection:
            connection.exec_driver_sql(change.format(LEDGER.name))
    assert read_history(database, "acme") == [ENTRY]
    assert read_history(database, "birch") == []


def test_states_are_replaced_and_unknown_ones_are_empty(database):
    with database.transaction("states") as connection:
        write_states(connection, [RolloutState(tenant="acme", champion="1"), RolloutState(tenant="birch")])
        write_states(connection, [RolloutState(tenant="acme", champion="2", paused_s=60.0)])
    assert read_state(database, "acme") == RolloutState(tenant="acme", champion="2", paused_s=60.0)
    assert read_state(database, "unknown") == RolloutState(tenant="unknown")


def test_counts_of_many_writers_add_up_until_they_are_deleted(database):
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
