"""A job's data and hyperparameters are put in place, and taken back unless it succeeded."""

import json

import pytest
import yaml

from components.fine_tuning.preparation import prepare, undo_unless_succeeded
from components.fine_tuning.uploads import Uploads
from components.rollout.store.tuning_jobs import create_job, move_job
from components.stages.workspace import Workspace

LINES = "".join(json.dumps({"prompt": f"thing {number}", "completion": "a boat"}) + "\n" for number in range(20))


@pytest.fixture
def workspace(make_root):
    return Workspace(make_root(("alder",)))


@pytest.fixture
def prepare_for(workspace):
    """A function of a tenant to its prepared job."""
    uploads = Uploads(workspace.root, workspace.database, workspace.params.data)

    def run(tenant):
        with uploads.receive(None) as temporary:
            temporary.write_text(LINES)
            file = uploads.store(temporary, "a.jsonl", None, 10)
        job = create_job(
            workspace.database,
            tenant=tenant,
            place="",
            request={"hyperparameters": {"n_epochs": 2, "batch_size": 8}, "seed": None},
            training_file=file.id,
            validation_file="",
            max_waiting=1,
        )
        prepare(workspace, job)
        return job

    return run


def count_lines(folder):
    return {path.stem: len(path.read_text().splitlines()) for path in folder.glob("*.jsonl")}


def test_a_new_tenant_gets_all_splits_and_its_values_and_loses_them_if_the_job_fails(workspace, prepare_for):
    job = prepare_for("cedar")
    override = workspace.get_override_file("cedar")
    assert count_lines(workspace.drops / "cedar") == {"train": 16, "validation": 2, "test": 2}
    assert yaml.safe_load(override.read_text())["train"] == {"batch_size": 8, "max_steps": 4}
    move_job(workspace.database, job, ["validating_files"], status="failed")
    undo_unless_succeeded(workspace)
    assert not (workspace.drops / "cedar").exists()
    assert not override.exists()


def test_a_tenant_with_data_gets_training_data_and_keeps_the_values_if_the_job_succeeds(workspace, prepare_for):
    job = prepare_for("alder")
    assert count_lines(workspace.drops / "alder") == {"train": 20}
    move_job(workspace.database, job, ["validating_files"], status="succeeded")
    undo_unless_succeeded(workspace)
    assert yaml.safe_load(workspace.get_override_file("alder").read_text())["train"]["max_steps"] == 8


def test_an_earlier_override_file_comes_back_and_a_waiting_drop_stays(workspace, prepare_for, write_lines):
    override, drop = workspace.get_override_file("alder"), workspace.drops / "alder"
    override.parent.mkdir(exist_ok=True)
    override.write_text("train: {max_steps: 3}\n")
    write_lines(drop / "train.jsonl", [{"source": "a", "references": ["b"]}])
    prepare_for("alder")
    assert yaml.safe_load(override.read_text())["train"] == {"batch_size": 8, "max_steps": 9}
    undo_unless_succeeded(workspace)
    assert override.read_text() == "train: {max_steps: 3}\n"
    assert count_lines(drop) == {"train": 21}
