"""A retraining on workers: a real Prefect server, two workers with homes of their own, a folder as exchange."""

import json

import pytest
from next_bases import add_next_base
from worker_processes import fork_shards, make_pool, start_workers

from components.errors import WorkersError
from components.model.base import load
from components.rollout.store.usage import read_usage
from components.stages.base import read_base_facts
from components.stages.next_base_view import NextBaseView, find_moved_tenants
from components.stages.workspace import Workspace
from flows.run_local import run_flow
from flows.worker_pool import SHARD_COMMAND, SHARD_FLOW

POOL = "shards"
TENANTS = ("alder", "birch", "cedar")
NEXT = {"path": "next"}
LAX = {"floors": {}, "non_inferiority": [{"metric": "bleu", "margin": 100.0}]}
SHARED = {"cedar": {"train": {"shared": "alder"}}}


@pytest.fixture(scope="module")
def workers(prefect_api, tmp_path_factory):
    """Two workers of the pool, whose shards are forked."""
    make_pool(POOL)
    folder = tmp_path_factory.mktemp("workers")
    fork_shards(prefect_api, POOL, folder / "engine")
    with start_workers(POOL, [folder / "one", folder / "two"]) as started:
        yield started


def delete_deployment():
    """Delete the shards' deployment in the pool, so that the next run makes its own; returns what it was."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{SHARD_FLOW}/{POOL}")
        client.delete_deployment(deployment.id)
    return deployment


def make_workers_section(root_parent, **values):
    return {"exchange": (root_parent / "exchange").as_uri(), "pools": {"cpu": "default", "gpu": POOL}, **values}


def count_training_tokens(root):
    """Return tenant -> tokens of its trainings that are recorded as usage."""
    used = read_usage(Workspace(root).database, 0, 10**6)
    assert used.keys() == {(tenant, 0) for tenant in TENANTS}
    return {key.tenant: one.training_tokens for key, one in used.items()}


def read_results(root):
    """Return path -> content of all that a run leaves of its tenants; without when and how long it was trained."""
    files = {}
    for stage in ("train", "evaluate"):
        for path in sorted((root / "out" / stage).rglob("*")):
            if path.is_file() and path.name != "train.safetensors":
                files[path.relative_to(root).as_posix()] = path.read_bytes()
    for name in list(files):
        if name.endswith("training.json"):
            files[name] = {
                key: value for key, value in json.loads(files[name]).items() if key not in ("seconds", "ended_s")
            }
    return files


@pytest.mark.slow
@pytest.mark.usefixtures("workers")
def test_workers_make_the_files_of_a_local_run_and_a_parent_loads_no_model(
    make_checkout_in, tmp_path, set_params, run_in, monkeypatch, prefect_api
):
    local = make_checkout_in(tmp_path / "local", TENANTS, tenants=SHARED)
    run_flow("retrain", local, None)

    section = make_workers_section(tmp_path, max_shards=2)
    root = make_checkout_in(tmp_path / "parent", TENANTS, tenants=SHARED, workers=section)
    read_base_facts(Workspace(root))
    add_next_base(root)
    set_params(root, next_base=NEXT)
    read_base_facts(NextBaseView(Workspace(root)))
    set_params(root, tenants=SHARED, workers=section)

    def refuse(*_):
        raise AssertionError("the parent loads the base")

    monkeypatch.setattr(load, "load_base", refuse)
    first = run_flow("retrain", root, None)
    assert first.failures == []
    assert sorted(first.list_done("train")) == sorted(first.list_done("evaluate")) == list(TENANTS)
    assert set(first.promoted) == set(TENANTS)
    assert set(first.workers) == set(TENANTS)
    assert len(set(first.workers.values())) == 3  # a process per shard: cedar's begins when alder's has ended
    assert read_results(root) == read_results(local)
    assert count_training_tokens(root) == count_training_tokens(local)
    assert "up to date" in run_in(root, "dvc", "repro").stdout

    second = run_flow("retrain", root, None)
    assert {one.state for one in second.outcomes} == {"skipped"}
    assert second.workers == {}

    delete_deployment()
    section["max_shards"] = 1
    set_params(root, tenants=SHARED, workers=section, evaluate={"max_new_tokens": 5})
    third = run_flow("retrain", root, None)
    assert third.failures == []
    assert third.list_done("train") == []
    assert sorted(third.list_done("evaluate")) == list(TENANTS)
    assert set(third.workers) == set(TENANTS)
    assert delete_deployment().job_variables == {"command": SHARD_COMMAND}
    fork_shards(prefect_api, POOL, tmp_path / "engine")

    set_params(root, tenants=SHARED, workers=section, evaluate={"max_new_tokens": 5}, gate=LAX, next_base=NEXT)
    wave = run_flow("migrate", root)
    assert (wave.failures, wave.left) == ([], 0)
    assert set(wave.switched) == set(wave.workers) == set(TENANTS)
    assert find_moved_tenants(Workspace(root)) == set(TENANTS)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_worker_that_never_comes_is_an_error_that_names_the_pool_or_the_run_trains_here(make_checkout, set_params):
    make_pool("empty")
    section = {"pools": {"gpu": "empty"}, "start_minutes": 0.05}
    root = make_checkout(("alder",))
    section = make_workers_section(root.parent) | section
    set_params(root, workers=section)
    with pytest.raises(WorkersError, match=r"'empty' within 0\.05 minutes.*no worker of the pool is online") as caught:
        run_flow("retrain", root, None)
    assert "prefixfleet worker start --pool empty" in caught.value.fix
    assert not (root / "out" / "train" / "alder" / "manifest.json").exists()
    set_params(root, workers={**section, "fallback": "here"})
    run = run_flow("retrain", root, None)
    assert (run.failures, run.workers, list(run.promoted)) == ([], {}, ["alder"])


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_all_that_is_missing_is_told_at_once_before_anything_is_trained(make_checkout, set_params, run_in):
    root = make_checkout(("alder",))
    (root.parent / "file").write_text("")
    section = {"exchange": (root.parent / "file" / "x").as_uri(), "pools": {"gpu": "nowhere"}}
    run_in(root, "dvc", "remote", "default", "--unset")
    set_params(root, workers=section, data={"push": False})
    with pytest.raises(WorkersError) as caught:
        run_flow("retrain", root, None)
    text = str(caught.value)
    assert "no Prefect work pool 'nowhere'" in text
    assert "exchange that cannot be used" in text
    assert "no DVC remote" in text
    assert "prefect work-pool create nowhere" in text
    assert not (root / "out" / "train").exists()
