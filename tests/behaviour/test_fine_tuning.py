"""A team comes from OpenAI with its client and its files: jobs retrain tenants of a real server on a tiny base."""

import json
import os
import signal

import openai
import pytest
from waiting import LIMIT_S, wait_until
from workspaces import examples_of

pytestmark = pytest.mark.slow
STRICT = {"strict": {"gate": {"floors": {"bleu": 101.0}}}}
LONG = {"n_epochs": 50, "batch_size": 1}
OPEN = ("validating_files", "queued", "running")


@pytest.fixture(scope="module")
def root(make_checkout_in, prefect_api, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return make_checkout_in(folder, ("alder",), tenants=STRICT, serve={"follow_seconds": 600.0})


@pytest.fixture(scope="module")
def key(root, call):
    return call(root, "keys", "create", "--admin").stdout.strip()


@pytest.fixture
def server(root, key, start_server):
    made = start_server(root)
    made.wait_ready()
    return made


def connect(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=LIMIT_S)


def upload(client, tenant, start=0):
    lines = examples_of(tenant, 30, start)
    rows = [{"prompt": one["source"], "completion": one["references"][0]} for one in lines]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return client.files.create(file=("train.jsonl", content), purpose="fine-tune").id


def create(client, tenant, **more):
    return client.fine_tuning.jobs.create(model="base", training_file=upload(client, tenant), suffix=tenant, **more).id


def wait_for(client, job, *states):
    def find():
        found = client.fine_tuning.jobs.retrieve(job)
        assert found.status in (*OPEN, *states), found
        return found if found.status in states else None

    return wait_until(find, f"a job that is {states}")


def test_two_jobs_one_whose_model_is_used_at_once_and_one_that_the_gate_refuses(server, key, root, call):
    client = connect(server, key)
    jobs = client.fine_tuning.jobs
    good, refused = create(client, "birch", hyperparameters={"n_epochs": 1}), create(client, "strict")
    wait_for(client, good, "running")
    assert jobs.retrieve(refused).status in ("validating_files", "queued")
    assert jobs.retrieve(refused).estimate["tokens"] > 0
    made = wait_for(client, good, "succeeded")
    assert made.fine_tuned_model == "birch@1"
    assert made.trained_tokens > 0
    for model in ("birch@1", "birch"):
        answer = client.completions.with_raw_response.create(model=model, prompt="thing: boat", max_tokens=4)
        assert (answer.headers["x-prefixfleet-tenant"], answer.headers["x-prefixfleet-version"]) == ("birch", "1")
    assert next(event.message for event in jobs.list_events(good)).startswith("succeeded: birch@1")
    assert jobs.checkpoints.list(good).data[0].step_number > 0
    assert jobs.retrieve(refused).status == "failed" or jobs.retrieve(refused).estimated_finish
    error = wait_for(client, refused, "failed").error
    assert error.code == "gate_rejected"
    assert "BLEU" in error.message or "bleu" in error.message
    listed = {one["id"]: one for one in map(json.loads, call(root, "causes", "--json").stdout.splitlines())}
    assert (listed[good]["tenant"], listed[good]["kind"]) == ("birch", "fine-tuning")
    assert listed[good]["result"] == "succeeded: version 1"
    assert listed[refused]["result"] == f"failed: {error.message}"
    assert f"fine-tuning job {good} asked for it" in call(root, "history", "birch").stdout.replace("\n", " ")


def test_a_cancelled_job_ends_its_retraining_and_a_killed_one_fails(server, key, root):
    client = connect(server, key)
    cancelled, killed = create(client, "birch", hyperparameters=LONG), create(client, "birch", hyperparameters=LONG)
    wait_for(client, cancelled, "running")
    assert client.fine_tuning.jobs.cancel(cancelled).status == "cancelled"
    wait_for(client, killed, "running")
    lock = root / "var" / "fine_tuning" / "process.lock"
    os.killpg(int(wait_until(lambda: lock.read_text().partition(f"{killed} ")[2], "its process")), signal.SIGKILL)
    assert wait_for(client, killed, "failed").error.code == "process_ended"
    assert client.fine_tuning.jobs.retrieve(cancelled).status == "cancelled"


def test_a_job_outlives_a_restart_of_the_server(server, key, root, start_server):
    client = connect(server, key)
    job = create(client, "cedar")
    wait_for(client, job, "running")
    assert server.stop() == 0
    restarted = start_server(root)
    restarted.wait_ready()
    client = connect(restarted, key)
    assert wait_for(client, job, "succeeded").fine_tuned_model == "cedar@1"
    assert client.completions.create(model="cedar@1", prompt="thing: boat", max_tokens=4).choices
