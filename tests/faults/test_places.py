"""A workspace that is moved, and an alias on a version that is not ours: the chain of stages, with real MLflow."""

import hashlib

import mlflow
import pytest
from registered_versions import open_mlflow
from stage_chain import get_states, run_chain

from components.errors import OwnershipError
from components.stages.commands.forget import forget
from components.stages.commands.generate import generate
from components.stages.plan import plan
from components.stages.reports import results_table
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow


def test_a_moved_workspace_is_retrained_at_its_new_place(make_root, write_tenant, monkeypatch):
    root = make_root(("alder",))
    run_chain(root)
    moved = root.rename(root.parent / "moved ws ü")
    write_tenant(moved / "data", "alder", start=5)
    outcomes, promoted = run_chain(moved)
    assert {one.state for one in outcomes} == {"done"}
    assert promoted == {"alder": "2"}
    assert not root.exists()
    assert plan(Workspace(moved)).items == ()
    assert len(generate(Workspace(moved), "alder", ["thing: boat"])) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Workspace(moved).registry.uri)
    for version in ("1", "2"):
        assert len(mlflow.pyfunc.load_model(f"models:/prefix-alder/{version}").predict(["thing: boat"])) == 1


def test_a_champion_that_is_not_ours_stops_no_retraining(make_root, write_tenant, call):
    root = make_root(("alder", "birch"))
    run_chain(root)
    client = open_mlflow(Workspace(root).registry)
    client.create_model_version("prefix-alder", str(root / "var"))
    client.set_registered_model_alias("prefix-alder", "champion", "2")
    write_tenant(root / "data", "birch", start=5)
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "evaluate") == {"alder": "skipped", "birch": "done"}
    assert promoted == {"birch": "2"}
    failed = call(root, "generate", "alder", "thing: boat")
    assert failed.exit_code == 2
    assert "version 2: it was not registered by PrefixFleet" in " ".join(failed.stderr.split())

    write_tenant(root / "data", "alder", start=9)
    outcomes, promoted = run_chain(root)
    assert promoted == {"alder": "3"}
    verdicts = {row.tenant: row.verdict for row in results_table.read_results(Workspace(root))}
    assert verdicts == {"alder": "accepted", "birch": "accepted"}
    assert hashlib.sha256((root / "out/train/alder/prefix.safetensors").read_bytes()).hexdigest() == (
        Workspace(root).registry.find_champion("alder").sha256
    )


def test_two_workspaces_with_one_mlflow_do_not_replace_each_others_champions(
    make_root_in, tmp_path, write_tenant, call
):
    one = make_root_in(tmp_path / "one", ("alder",))
    run_chain(one)
    uri = Workspace(one).registry.uri
    two = make_root_in(tmp_path / "two", ("alder", "birch"), registry={"tracking_uri": uri})
    write_tenant(two / "data", "alder", start=5)
    outcomes, promoted = run_chain(two)
    assert get_states(outcomes, "evaluate") == {"alder": "failed", "birch": "done"}
    assert promoted == {"birch": "1"}
    detail = next(outcome.detail for outcome in outcomes if outcome.state == "failed")
    assert all(words in detail for words in (str(one), Workspace(one).registry.ownership.owner, "adopt alder"))
    with pytest.raises(OwnershipError, match="forget alder"):
        forget(Workspace(two), "alder")
    assert (two / "data/alder").is_dir()

    assert call(two, "adopt", "alder").exit_code == 0
    outcomes, promoted = run_chain(two)
    assert promoted == {"alder": "2"}
    refused = call(one, "promote", "alder", "--version", "1")
    assert refused.exit_code == 2
    assert str(two) in "".join(refused.stderr.split())
    assert call(one, "adopt", "birch").exit_code == 0
    assert call(one, "adopt", "birch").exit_code == 2
