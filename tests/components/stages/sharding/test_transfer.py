"""Sending a shard's inputs and placing its results, through a folder as the exchange: the files of a local run."""

import json
import shutil

import pytest
from evaluated_tenants import run_evaluation

from components.errors import DamagedError
from components.stages import train
from components.stages.plan import plan
from components.stages.sharding.exchange_sets import (
    INPUT_SET,
    TRAINED_SET,
    list_tenant_files,
    locate_shard,
    locate_tenant,
    make_evaluated_set,
)
from components.stages.sharding.request import parse_request
from components.stages.sharding.request_building import RequestBuilder, remove_login
from components.stages.sharding.transfer import (
    place_evaluated,
    place_state,
    place_trained,
    send_base,
    send_shard,
)
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore


@pytest.fixture
def exchange(tmp_path):
    return Exchange(ObjectStore((tmp_path / "exchange").as_uri()))


def build(root, *tenants):
    workspace = Workspace(root)
    current = plan(workspace)
    items = [item for item in (*current.items, *current.skipped) if item.tenant in tenants]
    builder = RequestBuilder(workspace, current.base, {})
    return workspace, items, builder.build(items, "shard-1")


def list_set(exchange, folder, request, tenant, name):
    fetched = exchange.open(*locate_tenant(tenant, request.run_keys[tenant])).fetch(name, folder)
    return (
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) if fetched else None
    )


def test_a_new_tenant_needs_only_the_request_and_the_base(make_checkout, exchange, tmp_path):
    root = make_checkout(("alder", "birch"), tenants={"birch": {"train": {"seed": 3}}})
    (root / "base" / "chat_template.jinja").write_text("{{ messages }}")
    workspace, items, request = build(root, "alder")
    send_base(workspace, exchange, request)
    send_shard(workspace, exchange, request, items)
    assert list_set(exchange, tmp_path / "fetched", request, "alder", INPUT_SET) is None
    assert exchange.open("bases", f"{request.base['digest']}-{request.base['tokenizer_files_digest']}").has("files")
    read = parse_request(exchange.open(*locate_shard("shard-1")).get_json("request"), "shard-1")
    assert read == request
    assert set(read.reasons) == {"alder"}
    assert read.params["tenants"] == {}  # birch's values are no business of this shard
    assert read.params["base"]["dtype"] == "float32"
    assert read.params["base"]["chat_template"] == "{{ messages }}"
    assert read.dvc.options["url"] == str(root.parent / "remote")
    assert read.params["registry"]["tracking_uri"] == f"sqlite:///{root}/var/mlflow/mlflow.db"
    assert read.params["registry"]["owner"] == workspace.registry.ownership.owner


def test_what_was_trained_and_evaluated_elsewhere_is_placed_as_a_local_run_leaves_it(make_checkout, exchange, tmp_path):
    root = make_checkout(("alder",))
    train.run(Workspace(root))
    run_evaluation(root)
    workspace, items, request = build(root, "alder")
    folder = exchange.open(*locate_tenant("alder", request.run_keys["alder"]))
    name = make_evaluated_set(request, "alder")
    out = root / "out"
    folder.put(TRAINED_SET, out, list_tenant_files(out, "train", "alder"))
    folder.put(name, out, list_tenant_files(out, "evaluate", "alder"))
    shutil.copytree(out, tmp_path / "made")
    shutil.rmtree(out / "train" / "alder")
    (out / "evaluate" / "alder" / "champion").mkdir()
    (out / "evaluate" / "alder" / "champion" / "report.json").write_text("of a former champion")
    (out / "evaluate" / "alder" / "report.json").write_text("old")

    digest = request.base["digest"]
    assert place_trained(workspace, exchange, items[0], request.run_keys["alder"], digest)
    assert place_evaluated(workspace, exchange, "alder", request.run_keys["alder"], name)
    for stage in ("train", "evaluate"):
        files = list_tenant_files(tmp_path / "made", stage, "alder")
        assert list_tenant_files(out, stage, "alder") == files
        assert all((out / file).read_bytes() == (tmp_path / "made" / file).read_bytes() for file in files)
    assert not (root / "var" / "incoming" / "alder").exists()
    assert plan(Workspace(root)).items == ()
    assert not place_state(workspace, exchange, "alder", request.run_keys["alder"])


def test_damaged_or_unplanned_files_change_nothing_in_out(make_checkout, exchange, tmp_path, set_params):
    root = make_checkout(("alder",))
    train.run(Workspace(root))
    workspace, items, request = build(root, "alder")
    key, digest = request.run_keys["alder"], request.base["digest"]
    folder, out = exchange.open(*locate_tenant("alder", key)), root / "out"
    folder.put(TRAINED_SET, out, list_tenant_files(out, "train", "alder"))
    shutil.rmtree(out / "train" / "alder")
    for path in (tmp_path / "exchange" / "tenants").rglob("*"):
        if path.is_file() and path.name != "listing.json":
            path.write_bytes(b"damaged")
    with pytest.raises(DamagedError):
        place_trained(workspace, exchange, items[0], key, digest)
    assert not (out / "train" / "alder").exists()

    train.run(Workspace(root))
    manifest = out / "train" / "alder" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fingerprint": "0" * 64}))
    folder.put(TRAINED_SET, out, list_tenant_files(out, "train", "alder"))
    with pytest.raises(DamagedError, match="as planned"):
        place_trained(workspace, exchange, items[0], key, digest)
    assert not folder.has(TRAINED_SET)


def test_an_interrupted_training_and_scores_of_present_data_are_sent_and_others_are_not(
    make_checkout, exchange, tmp_path, set_params, write_tenant
):
    root = make_checkout(("alder",))
    train.run(Workspace(root))
    run_evaluation(root)
    (root / "out/train/alder/prefix.safetensors").unlink()  # as if the training had been interrupted
    workspace, items, request = build(root, "alder")
    send_shard(workspace, exchange, request, items)
    sent = list_set(exchange, tmp_path / "one", request, "alder", INPUT_SET)
    assert "train/alder/state/train.safetensors" in sent
    assert "train/alder/manifest.json" not in sent
    assert {"evaluate/alder/report.json", "evaluate/alder/base/predictions.jsonl"} <= set(sent)

    train.run(Workspace(root))
    workspace, items, request = build(root, "alder")  # nothing to train: only evaluated
    send_shard(workspace, exchange, request, items)
    sent = list_set(exchange, tmp_path / "two", request, "alder", INPUT_SET)
    assert {"train/alder/prefix.safetensors", "train/alder/manifest.json"} <= set(sent)
    assert not any("/state/" in name for name in sent)

    write_tenant(root / "data", "alder", start=100)
    workspace, items, request = build(root, "alder")
    send_shard(workspace, exchange, request, items)
    assert list_set(exchange, tmp_path / "three", request, "alder", INPUT_SET) is None


def test_a_shared_prefix_is_sent_once_with_the_key_of_its_own_training(make_checkout, exchange, tmp_path):
    root = make_checkout(("alder", "birch"), tenants={"birch": {"train": {"shared": "alder"}}})
    train.run(Workspace(root), ["alder"])
    workspace, items, request = build(root, "birch")
    send_shard(workspace, exchange, request, items)
    shared = request.shared["birch"]
    assert shared.tenant == "alder"
    assert exchange.open(*locate_tenant("alder", shared.run_key)).fetch(TRAINED_SET, tmp_path / "fetched")
    assert (tmp_path / "fetched/train/alder/manifest.json").is_file()
    assert request.run_keys["birch"].count("-") == 2  # fingerprint, tokenizer, shared prefix


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:secret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
    ],
)
def test_no_login_is_sent(url, expected):
    assert remove_login(url) == expected
