"""The alias in MLflow decides: moved by hand, as on MLflow's page, every part follows it and none moves it back.

All runs in this process to save time; a test of the registry loads a champion in a process without the workspace.
"""

import json
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from components.errors import RegistryError
from components.registry.artifact import load_artifact
from components.stages.commands.generate import generate
from components.stages.reports.status import read_status
from components.stages.rollout.manual import promote
from components.stages.workspace import Workspace
from flows.run_local import run_flow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
NAME, SOURCE = "prefix-alder", "thing: boat | colour: red"
STRONG = {"initialization": "random", "learning_rate": 5.0}  # or two prefixes would hardly differ on a random base


def move_alias(root: Path, version: str) -> None:
    """Do what a person does on MLflow's page."""
    MlflowClient(tracking_uri=Workspace(root).registry.uri).set_registered_model_alias(NAME, "champion", version)


def find_champion(root: Path) -> str:
    client = MlflowClient(tracking_uri=Workspace(root).registry.uri)
    return str(client.get_model_version_by_alias(NAME, "champion").version)


def predict(root: Path) -> str:
    """The champion's text from MLflow alone."""
    mlflow.set_tracking_uri(Workspace(root).registry.uri)
    try:
        return str(mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict([SOURCE])[0])
    finally:
        mlflow.set_tracking_uri(None)  # also in the environment, where it would win over params.yaml


def read_verdict(root: Path) -> dict:
    return json.loads((root / "out/gate/alder/verdict.json").read_text())


def test_everything_follows_an_alias_moved_by_hand(make_checkout, set_params, call):
    root = make_checkout(("alder",), train=STRONG)
    assert run_flow("retrain", root, None).promoted == {"alder": "1"}
    set_params(root, train={**STRONG, "seed": 1})
    assert run_flow("retrain", root, None).promoted == {"alder": "2"}
    digests = {one.version: one.sha256 for one in Workspace(root).registry.find_versions("alder")}
    texts = {}
    for version in "12":
        promote(Workspace(root), "alder", version)
        texts[version] = generate(Workspace(root), "alder", [SOURCE])[0]
    assert texts["1"] != texts["2"]

    move_alias(root, "1")
    row = call(root, "status").stdout.splitlines()[1]
    assert row.split()[:3] == ["alder", "rolled-back", "1"]
    assert "champion 2 -> 1, moved in MLflow" in row
    assert call(root, "generate", "alder", SOURCE).stdout == texts["1"] + "\n"

    shown = call(root, "retrain")
    assert "0 trained, 0 promoted of 1 tenants" in shown.stdout
    assert "version 2 was champion before and is not promoted again" in shown.stderr
    assert find_champion(root) == "1"
    assert read_verdict(root)["champion_digest"] == digests["1"]

    shutil.rmtree(root / "out")
    assert (run_flow("retrain", root, None).list_done("train"), find_champion(root)) == (["alder"], "1")

    set_params(root, train={**STRONG, "seed": 2})
    assert run_flow("retrain", root, None).promoted == {"alder": "3"}
    assert (read_verdict(root)["champion_version"], read_verdict(root)["champion_digest"]) == ("1", digests["1"])

    move_alias(root, "2")
    assert predict(root) == texts["2"]
    set_params(root, train={**STRONG, "seed": 3}, gate={"floors": {"bleu": 99.0}})
    rejected = run_flow("retrain", root, None)
    assert (rejected.list_done("train"), rejected.promoted) == (["alder"], {})
    assert not read_verdict(root)["accepted"]
    assert (read_verdict(root)["champion_version"], read_verdict(root)["champion_digest"]) == ("2", digests["2"])
    assert find_champion(root) == "2"
    versions = Workspace(root).registry.find_versions("alder")
    assert [(one.version, one.aliases) for one in versions] == [("3", ()), ("2", ("champion",)), ("1", ())]
    fetched = Workspace(root).registry.fetch(versions[1], root.parent / "fetched")
    assert load_artifact(fetched, None)[1].sha256 == digests["2"]
    assert run_flow("retrain", root, None).sentence == "0 trained, 0 promoted, 1 rejected (alder) of 1 tenants"
    assert generate(Workspace(root), "alder", [SOURCE]) == [texts["2"]]


def test_a_champion_taken_away_by_hand_stays_away(make_checkout):
    root = make_checkout(("alder",))
    assert run_flow("retrain", root, None).promoted == {"alder": "1"}
    MlflowClient(tracking_uri=Workspace(root).registry.uri).delete_registered_model_alias(NAME, "champion")
    assert [(row.champion, row.state) for row in read_status(Workspace(root)).tenants] == [("", "rolled-back")]
    with pytest.raises(RegistryError, match="a champion of alder"):
        generate(Workspace(root), "alder", [SOURCE])
    assert run_flow("retrain", root, None).promoted == {}
    assert Workspace(root).registry.find_champions() == {}
