"""infra/kubernetes: what the jobs run. The base is copied once and whole; the tables are made on a real PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from kubernetes_overlays import FOLDER, ROOT, find_workloads, list_containers, render
from sqlalchemy.engine import URL, make_url

from components.rollout.store.migrations import SCHEMA

SCRIPT = FOLDER / "base" / "fetch_base.py"
FILES = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights", "chat_template.jinja": "{{ x }}"}


def make_source(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return f"file://{folder}"


def fetch(source: str, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), source, str(target)], capture_output=True, text=True, check=False
    )


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_a_base_is_copied_without_what_it_does_not_need(tmp_path):
    source = make_source(tmp_path / "source", {**FILES, "pytorch_model.bin": "pickle", "modeling.py": "code"})
    (tmp_path / "source" / "onnx").mkdir()
    done = fetch(source, tmp_path / "bases" / "base")
    assert (done.returncode, done.stderr) == (0, "")
    assert read(tmp_path / "bases" / "base") == FILES
    assert [path.name for path in (tmp_path / "bases").iterdir()] == ["base"]


def test_a_base_that_is_there_stays_as_it_is(tmp_path):
    source = make_source(tmp_path / "source", FILES)
    target = tmp_path / "bases" / "base"
    fetch(source, target)
    (tmp_path / "source" / "config.json").write_text("other", encoding="utf-8")
    done = fetch(source, target)
    assert "stays as it is" in done.stdout
    assert read(target) == FILES


def test_what_a_killed_job_left_is_replaced(tmp_path):
    source = make_source(tmp_path / "source", FILES)
    (tmp_path / "bases" / ".base.incoming").mkdir(parents=True)
    (tmp_path / "bases" / ".base.incoming" / "half.safetensors").write_text("half", encoding="utf-8")
    assert fetch(source, tmp_path / "bases" / "base").returncode == 0
    assert read(tmp_path / "bases" / "base") == FILES


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_base_is_refused_and_nothing_is_left(tmp_path, missing):
    source = make_source(tmp_path / "source", {name: text for name, text in FILES.items() if name != missing})
    done = fetch(source, tmp_path / "bases" / "base")
    assert done.returncode == 1
    assert "wanted: a base with config.json and safetensors" in done.stderr
    assert "fix: correct the job's BASE_SOURCE" in done.stderr
    assert not (tmp_path / "bases" / "base").exists()


def test_the_built_in_base_has_what_the_script_copies(tmp_path):
    done = fetch(f"file://{ROOT / 'base'}", tmp_path / "base")
    assert done.returncode == 0
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= read_names(
        tmp_path / "base"
    )


def read_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[URL]:
    """A PostgreSQL server with empty databases `mlflow` and `prefect`."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from harness.postgresql_server import is_installed, run_postgresql

    if not is_installed():
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    with run_postgresql() as url:
        engine = sql.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("mlflow", "prefect"):
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        yield make_url(url)


@pytest.mark.slow
def test_the_job_makes_all_tables_again_changes_nothing_and_prints_no_password(postgresql, tmp_path):
    (tmp_path / "params.yaml").write_text("base: {path: /bases/base}\n", encoding="utf-8")
    mlflow, prefect = (postgresql.set(database=name, password="a-password") for name in ("mlflow", "prefect"))
    addresses = {
        "PREFIXFLEET_DATABASE": mlflow.set(drivername="postgresql+psycopg2"),
        "MLFLOW_BACKEND_STORE_URI": mlflow.set(drivername="postgresql+psycopg2"),
        "PREFECT_API_DATABASE_CONNECTION_URL": prefect.set(drivername="postgresql+asyncpg"),
    }
    job = find_workloads(render("local"))["migrate"]
    for _ in range(2):
        for container in list_containers(job):
            given = {each["name"]: each.get("value", "") for each in container["env"]}
            given |= {name: addresses[name].render_as_string(False) for name in given.keys() & addresses.keys()}
            environment = {**given, "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
            done = subprocess.run(
                container["command"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "a-password" not in done.stdout + done.stderr
    assert {"alembic_version", "runs", "model_versions", SCHEMA.version_table} <= list_tables(mlflow)
    assert {"flow_run", "work_pool"} <= list_tables(prefect)


def list_tables(url: URL) -> set[str]:
    engine = sql.create_engine(url)
    try:
        return set(sql.inspect(engine).get_table_names())
    finally:
        engine.dispose()
