"""MLflow's database is read directly only where its tables are known; no command that only reads imports MLflow."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.tables import REVISION, DatabaseReader
from components.registry.registry import Registry

READ_IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
from components.config import RegistryConfig
from components.registry.registry import Registry

registry = Registry(RegistryConfig(tracking_uri=f"sqlite:///{sys.argv[1]}"), Path(sys.argv[1]).parent)
assert registry.find_champions() == registry.poll_aliased("champion")["champion"] == {}
assert registry.find_champion("acme") is None
assert registry.find_versions("acme") == []
assert registry.find_by_sha256({"acme": "0" * 64}) == {}
print({"mlflow", "torch", "boto3", "pandas"} & set(sys.modules))
"""


def read_revision(uri: str) -> str | None:
    with DatabaseReader(uri).connect() as connection:
        return (
            None
            if connection is None
            else connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        )


def test_a_database_of_the_installed_mlflow_is_read_without_importing_it(
    empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_revision(f"sqlite:///{empty_mlflow}") == REVISION
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for its process
    command = [sys.executable, "-c", READ_IN_A_FRESH_PROCESS, str(empty_mlflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_missing_file_is_left_to_mlflow_and_not_made(tmp_path: Path) -> None:
    assert read_revision(f"sqlite:///{tmp_path}/mlflow.db") is None
    assert not list(tmp_path.iterdir())


def test_tables_of_another_revision_are_left_to_mlflow(empty_mlflow: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    assert read_revision(f"sqlite:///{file}") is None
    file.write_bytes(empty_mlflow.read_bytes())
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'another'")
    assert read_revision(f"sqlite:///{file}") is None
    registry = Registry(RegistryConfig(tracking_uri=f"sqlite:///{file}"), tmp_path)
    with pytest.raises(RegistryError, match="out-of-date database schema"):
        registry.find_champions()


def test_a_file_that_is_replaced_is_read_anew(empty_mlflow: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_mlflow.read_bytes())
    registry = Registry(RegistryConfig(tracking_uri=f"sqlite:///{file}"), tmp_path)
    assert registry.find_champions() == {}
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(RegistryError, match="not a database"):
        registry.find_champions()
