"""What a job will take: by its file, its hyperparameters and the tenant's data; nothing with a broken override file."""

import json

import pytest

from components.fine_tuning.estimates import estimate_job
from components.fine_tuning.supervisor import JobSupervisor
from components.fine_tuning.uploads import Uploads
from components.rollout.store.uploaded_files import UploadedFile
from components.stages.base import read_base_facts
from components.stages.sharding.cost import RATES_FILE, TrainingRates
from components.stages.workspace import Workspace

PRICES = {"currency": "EUR", "training_device_hour": "7.20"}
FILE = UploadedFile(id="file-1", tenant=None, name="train.jsonl", size_bytes=8000, examples=20, created_s=0.0)


def make_request(**hyperparameters):
    return {"hyperparameters": {"batch_size": "auto", "n_epochs": "auto", **hyperparameters}, "seed": None}


def test_tokens_are_those_of_the_steps_and_money_that_of_the_device_seconds(make_root):
    root = make_root(("alder",), prices=PRICES, train={"max_steps": 4, "batch_size": 2})
    workspace = Workspace(root)
    assert estimate_job(workspace, "cedar", make_request(), FILE) == {"tokens": 4 * 2 * 100, "device_seconds": None}
    parameters = read_base_facts(workspace)["parameters"]
    operations = 10 * 4 * 100 * 4 * parameters  # steps, rows, tokens of a row, forwards and backwards
    TrainingRates(root / "var" / RATES_FILE).record("cpu", operations, 5.0)
    found = estimate_job(workspace, "cedar", make_request(n_epochs=2, batch_size=4), FILE)
    assert found == {"tokens": 4000, "device_seconds": 5.0, "cost": "0.0100", "currency": "EUR"}


def test_the_data_of_the_tenant_count_too(make_root):
    root = make_root(("alder",), train={"max_steps": 4, "batch_size": 2})
    content = (root / "data/alder/train.jsonl").read_bytes()
    lines = content.count(b"\n")
    tokens = (len(content) + 8000) / 4 / (lines + 20)
    found = estimate_job(Workspace(root), "alder", make_request(n_epochs=1, batch_size=lines + 20), FILE)
    assert found["tokens"] == pytest.approx((lines + 20) * tokens, abs=1)


def test_a_broken_override_file_leaves_the_job_without_an_estimate(make_root):
    root = make_root(("alder",))
    workspace = Workspace(root)
    limits = workspace.params.data
    (root / "overrides").mkdir(exist_ok=True)
    (root / "overrides" / "alder.yaml").write_text(json.dumps({"train": {"max_stepz": 3}}))
    supervisor = JobSupervisor(workspace, workspace.database, Uploads(root, workspace.database, limits))
    assert supervisor.estimate("alder", make_request(), FILE) == {}
