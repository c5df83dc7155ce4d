"""A workspace that revision 43f0e9b made (see make_workspace.py) works unchanged with the present code."""

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from cli.main import app
from components.access.api_keys import ApiKeys
from components.registry.artifact import load_artifact
from components.registry.manifest import ARTIFACT_SCHEMA, read_manifest
from components.rollout.store.ledger import read_history
from components.rollout.store.tenant_state import read_state
from components.stages import evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import run_cycle
from components.stages.workspace import Workspace

ARCHIVE = Path(__file__).with_name("workspace_43f0e9b.tar.xz")
TENANTS = ("alder", "birch")


class OldWorkspace:
    """The unpacked archive: the workspace's folder, and what the old commands printed."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        self.root = folder / "workspace"
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        _move_mlflow(self.root / "var/mlflow/mlflow.db", self.expected["root"], str(self.root))

    @property
    def workspace(self) -> Workspace:
        """As a new process would open it."""
        return Workspace(self.root)

    def run(self, *arguments: str) -> str:
        """Run a command in this process and return its stdout."""
        result = CliRunner().invoke(app, ["-C", str(self.root), *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout


def _move_mlflow(database: Path, old: str, new: str) -> None:
    """Replace the workspace's old folder, which MLflow stores in its URIs, by its new one."""
    with closing(sqlite3.connect(database)) as connection:
        script = "\n".join(connection.iterdump()).replace(old, new)
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(script)


@pytest.fixture(autouse=True)
def _no_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI", "PREFIXFLEET_DATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> OldWorkspace:
    """For tests that change nothing in it."""
    return OldWorkspace(tmp_path_factory.mktemp("old"))


@pytest.fixture
def old(tmp_path: Path) -> Iterator[OldWorkspace]:
    """For tests that change it."""
    yield OldWorkspace(tmp_path)
    shutil.rmtree(tmp_path)


def test_nothing_needs_training(unchanged: OldWorkspace) -> None:
    todo = plan(unchanged.workspace)
    assert [item.tenant for item in todo.skipped] == list(TENANTS)
    assert todo.items == ()


def test_status_has_the_same_facts(unchanged: OldWorkspace) -> None:
    rows = {one["tenant"]: one for one in json.loads(unchanged.run("status", "--json"))["tenants"]}
    for tenant, examples, digest, champion, bleu, verdict, _stale in _read_rows(unchanged.expected["status"]):
        row = rows[tenant]
        assert " / ".join(map(str, row["examples"].values())) == examples
        assert (row["data_digest"][:12], row["champion"], f"{row['bleu']:.1f}") == (digest, champion, bleu)
        assert row["verdict"]["sentence"] == verdict


def _read_rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]


def test_the_aliases_are_read(unchanged: OldWorkspace) -> None:
    registry = unchanged.workspace.registry
    assert {tenant: one.version for tenant, one in registry.find_champions().items()} == {"alder": "1", "birch": "1"}
    challenger = registry.find_challenger("alder")
    assert challenger is not None
    assert (challenger.version, challenger.tags["verdict"]) == ("2", "accepted")
    assert [one.version for one in registry.find_versions("birch")] == ["2", "1"]


def test_the_ledger_and_the_trial_are_read(unchanged: OldWorkspace) -> None:
    for tenant in TENANTS:
        lines = unchanged.run("history", tenant, "--json").splitlines()
        expected = [{**one, "origin": ""} for one in unchanged.expected["history"][tenant]]
        assert [json.loads(line) for line in lines] == expected
    state = read_state(unchanged.workspace.database, "alder")
    assert (state.champion, state.challenger, bool(state.paused_s)) == ("1", "2", True)


def test_an_api_key_still_grants_its_tenant(unchanged: OldWorkspace) -> None:
    key = ApiKeys(unchanged.workspace.database, lambda: 0.0).verify(unchanged.expected["key"])
    assert key is not None
    assert (key.tenant, key.note) == ("alder", "an application")


def test_every_artifact_loads(unchanged: OldWorkspace, tmp_path: Path) -> None:
    workspace = unchanged.workspace
    for tenant in TENANTS:
        train_config = read_manifest(workspace.get_output_folder("train", tenant)).parse_train_config(workspace.root)
        assert train_config == workspace.params.for_tenant(tenant).train
        for version in workspace.registry.find_versions(tenant):
            folder = workspace.registry.fetch(version, tmp_path / version.sha256)
            _, manifest = load_artifact(folder, workspace.base)
            assert (manifest.schema_version, manifest.tenant) == (ARTIFACT_SCHEMA, tenant)


def test_champions_generate_the_same_texts(unchanged: OldWorkspace) -> None:
    for tenant, texts in unchanged.expected["generated"].items():
        assert [unchanged.run("generate", tenant, source) for source in unchanged.expected["sources"]] == [
            f"{text}\n" for text in texts
        ]


def test_mlflow_loads_the_registered_versions_with_their_copied_code(
    unchanged: OldWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFIXFLEET_BASE", str(unchanged.root / "base"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", unchanged.workspace.registry.uri)
    for name, texts in unchanged.expected["predicted"].items():
        assert mlflow.pyfunc.load_model(name).predict(unchanged.expected["sources"]) == texts


def test_the_tuning_study_is_continued(old: OldWorkspace) -> None:
    options = ("--trials", "3", "--metric", "validation-loss", "--lengths", "1,3", "--learning-rates", "1..9")
    rows = _read_rows(old.run("tune", "alder", *options, "--dry-run"))
    assert sorted(row[0] for row in rows) == ["1", "2", "3"]
    with closing(sqlite3.connect(old.root / "var/tune/alder/study.db")) as study:
        assert study.execute("SELECT count(*) FROM trials").fetchone() == (3,), "a study of another key was begun"


def test_a_trial_goes_on_after_its_pause(old: OldWorkspace) -> None:
    manual.hold(old.workspace, "alder", "resume", by=Actor("ada"))
    results, failures = run_cycle(old.workspace)
    assert failures == []
    assert [(one.tenant, one.action, one.challenger) for one in results] == [("alder", "wait", "2")]
    assert manual.roll_back(old.workspace, "alder", by=Actor("ada")) == ("2", "1")
    assert old.workspace.registry.find_aliases("alder") == {"champion": "1"}


def test_retraining_registers_a_further_version_that_can_be_rolled_back(old: OldWorkspace) -> None:
    params = old.root / "params.yaml"
    params.write_text(params.read_text().replace("seed: 1", "seed: 2"))
    todo = plan(old.workspace)
    assert [(item.tenant, item.reason) for item in todo.items] == [("birch", "train.seed changed")]
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(old.workspace))
    fingerprints = {item.tenant: item.fingerprint for item in (*todo.items, *todo.skipped)}
    versions, failures = register.register(old.workspace, fingerprints)
    promoted, more = register.roll_out(old.workspace, versions, ["birch"])
    assert (failures, more, promoted) == ([], [], {"birch": "3"})
    assert manual.roll_back(old.workspace, "birch", by=Actor("ada")) == ("3", "1")
    moves = [(one.action, one.from_version, one.to_version) for one in read_history(old.workspace.database, "birch")]
    assert moves == [
        ("promote", "", "1"),
        ("promote", "1", "2"),
        ("rollback", "2", "1"),
        ("promote", "1", "3"),
        ("rollback", "3", "1"),
    ]
    assert old.workspace.registry.find_aliases("birch") == {"champion": "1"}
