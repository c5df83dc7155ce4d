"""A full disk, and MLflow or Prefect that do not answer: commands fail at once, and existing files are unchanged."""

import os

import pytest
from processes import PREFIXFLEET

CLOSED_ADDRESS = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("limit_bytes", "where"), [(0, "to lock"), pytest.param(1024, "to write", marks=pytest.mark.slow)]
)
def test_a_full_disk_leaves_the_old_prefix_intact(
    call, make_root, set_params, tree, check_beats, run_on_full_disk, limit_bytes, where
):
    root = make_root(("alder",))
    assert call(root, "stage", "train").exit_code == 0
    before = tree(root)
    set_params(root, train={"seed": 1})
    result = run_on_full_disk(root, limit_bytes, "stage", "train")
    check_beats(result.returncode, result.stderr, where, "free space on this disk")
    after = tree(root)
    assert {**after, "params.yaml": b""} == {**before, "params.yaml": b""}
    assert call(root, "stage", "train").exit_code == 0
    assert tree(root)["out/train/alder/prefix.safetensors"] != before["out/train/alder/prefix.safetensors"]


def test_without_mlflow_commands_fail_at_once(call, refused, served, tree, monkeypatch):
    before = tree(served)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_ADDRESS)
    for arguments in (
        ["status"],
        ["stage", "evaluate"],
        ["generate", "alder", "x"],
        ["promote", "alder"],
        ["rollback", "alder"],
    ):
        refused(served, arguments, "Connection refused", f"MLflow at {CLOSED_ADDRESS}", "start MLflow")
    assert tree(served) == before
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (served / "var/mlflow/mlflow.db").write_bytes(os.urandom(5000))
    refused(served, ["status"], "file is not a database")


def test_without_prefects_server_a_retraining_fails_at_once(make_checkout, run_in, check_beats, tree, monkeypatch):
    root = make_checkout(("alder",))
    before = tree(root)
    monkeypatch.setenv("PREFECT_API_URL", f"{CLOSED_ADDRESS}/api")
    result = run_in(root, PREFIXFLEET, "retrain", check=False)
    check_beats(result.returncode, result.stderr, f"a Prefect server at {CLOSED_ADDRESS}/api", "unset PREFECT_API_URL")
    assert tree(root) == before


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_retraining_without_mlflow_trains_nothing(make_checkout, refused, monkeypatch):
    root = make_checkout(("alder",))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_ADDRESS)
    refused(root, ["retrain"], "every tenant's champion", "start MLflow")
    assert not (root / "out/train").exists()
