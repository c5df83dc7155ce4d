"""The rollout's database: its URL, and all that its tables keep, on a real SQLite and a real PostgreSQL."""

import pytest

from components.config import RegistryConfig
from components.errors import WorkspaceError
from components.rollout.store.database import DATABASE_VARIABLE, find_database_url, open_database


def config(uri="sqlite:///var/mlflow/mlflow.db"):
    return RegistryConfig(tracking_uri=uri)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_url_is_the_variable_s_or_mlflow_s_postgresql_or_a_file(tmp_path, monkeypatch):
    own = f"sqlite:///{tmp_path}/var/prefixfleet.db"
    assert find_database_url(config(), tmp_path) == own
    assert find_database_url(config("http://mlflow:5000"), tmp_path) == own
    assert find_database_url(config("postgresql://u:p@db/mlflow"), tmp_path) == "postgresql://u:p@db/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:p@other/mlflow")
    assert find_database_url(config(), tmp_path) == "postgresql+psycopg2://u:p@other/mlflow"
    monkeypatch.setenv(DATABASE_VARIABLE, "sqlite:///elsewhere.db")
    assert find_database_url(config(), tmp_path) == f"sqlite:///{tmp_path}/elsewhere.db"


def test_a_database_that_does_not_answer_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://ada:secret@127.0.0.1:1/x")
    with pytest.raises(WorkspaceError, match=DATABASE_VARIABLE) as caught:
        open_database(config(), tmp_path)
    assert "secret" not in str(caught.value)
