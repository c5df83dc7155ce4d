"""A fleet whose databases are PostgreSQL comes back in other databases, with one database for both or one for each."""

import secrets
import shutil
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sql
from stage_chain import run_chain
from workspaces import set_params

from components.errors import BackupError, WorkspaceError
from components.rollout.store.ledger_chain import check_chain
from components.stages.backup.make import make_backup
from components.stages.backup.restore import restore_backup
from components.stages.plan import plan
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def make_database(postgresql_server):
    """A function that makes an empty PostgreSQL database and returns its URL."""
    engine = sql.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def make():
        name = f"fleet_{secrets.token_hex(4)}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return urlsplit(postgresql_server)._replace(path=f"/{name}").geturl()

    yield make
    engine.dispose()


@pytest.mark.parametrize("is_shared", [True, False], ids=["one database", "two databases"])
def test_a_fleet_on_postgresql_comes_back_in_other_databases(
    make_root, make_database, target, tmp_path, monkeypatch, is_shared
):
    root, mlflow = make_root(("alder",)), make_database()
    set_params(root, registry={"tracking_uri": mlflow})
    if not is_shared:
        monkeypatch.setenv("PREFIXFLEET_DATABASE", make_database())
    run_chain(root)
    champion = Workspace(root).registry.find_champions()["alder"]
    manifest = make_backup(Workspace(root), target).manifest
    assert manifest.parts["databases"].files == (1 if is_shared else 2)
    shutil.rmtree(root)

    with pytest.raises(BackupError, match="no --"):
        restore_backup(target, tmp_path / "new")
    with pytest.raises(WorkspaceError, match=r"an empty PostgreSQL database; got .* tables"):
        restore_backup(target, tmp_path / "new", mlflow=mlflow, database=None if is_shared else make_database())
    assert not (tmp_path / "new").exists()
    new_mlflow, new_rollout = make_database(), None if is_shared else make_database()
    result = restore_backup(target, tmp_path / "new", mlflow=new_mlflow, database=new_rollout)
    assert result.finished.champions == 1
    assert any(f"to {new_mlflow}" in text for text in result.finished.by_hand)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow)
    if new_rollout:
        monkeypatch.setenv("PREFIXFLEET_DATABASE", new_rollout)
    workspace = Workspace(tmp_path / "new")
    fetched = workspace.registry.fetch(champion, tmp_path / "fetched")
    assert (fetched / "prefix.safetensors").is_file()
    assert not plan(workspace).items
    assert check_chain(workspace.database).broken is None
    assert not workspace.registry.is_foreign(workspace.registry.find_champions()["alder"])
