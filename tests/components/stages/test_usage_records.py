"""Trainings become usage once, whichever run finds them; stored bytes are those of the workspace's versions."""

import json

import pytest
import sqlalchemy as sql

from components.errors import WorkspaceError
from components.registry.registry import RunLog
from components.rollout.store.usage import read_usage
from components.stages import train
from components.stages.stamps import TRAINING_FILE
from components.stages.usage_records import record_stored_bytes, record_trainings
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day


def read_all(workspace):
    return {key.tenant: one for key, one in read_usage(workspace.database, 0, to_day(get_today())).items()}


def test_the_stage_records_each_training_once_with_the_figures_beside_its_artifact(make_root):
    root = make_root(("alder", "birch"))
    for _ in range(2):
        train.run(Workspace(root))
    figures = json.loads((root / "out/train/alder" / TRAINING_FILE).read_text())
    used = read_all(Workspace(root))
    assert used.keys() == {"alder", "birch"}
    assert used["alder"].training_us == round(1e6 * figures["seconds"])
    assert used["alder"].training_tokens == figures["tokens"] > 0


def test_what_a_killed_run_did_not_record_is_recorded_by_the_next_one_also_if_it_trains_again(make_root, set_params):
    root = make_root(("alder",))
    train.run(Workspace(root))
    first = read_all(Workspace(root))["alder"].training_tokens
    workspace = Workspace(root)
    with workspace.database.transaction("to undo it, as if the run had been killed") as connection:
        connection.execute(sql.text("DELETE FROM prefixfleet_trainings"))
    set_params(root, train={"max_steps": 3})
    train.run(Workspace(root))
    assert read_all(workspace)["alder"].training_tokens > first


def test_a_database_that_fails_is_a_warning_and_the_next_run_records(make_root, monkeypatch, caplog):
    root = make_root(("alder",))

    def fail(*_):
        raise WorkspaceError("to record trainings", "no answer", "start it")

    with monkeypatch.context() as patch:
        patch.setattr("components.stages.usage_records.add_trainings", fail)
        assert [one.state for one in train.run(Workspace(root))] == ["done"]
    assert "recorded by the next run" in caplog.text
    record_trainings(Workspace(root), ["alder", "never-trained"])
    assert read_all(Workspace(root))["alder"].training_tokens > 0


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": 1.0, "tokens": 5}', '{"ended_s": "now"}'])
def test_figures_of_an_earlier_release_and_broken_ones_count_nothing(make_root, content):
    root = make_root(("alder",))
    path = root / "out/train/alder" / TRAINING_FILE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    record_trainings(Workspace(root), ["alder"])
    assert read_all(Workspace(root)) == {}


def register(workspace, tenant):
    folder = workspace.get_output_folder("train", tenant)
    workspace.registry.register(tenant, folder, "base", {}, RunLog())
    return sum((folder / name).stat().st_size for name in ("prefix.safetensors", "manifest.json"))


def read_stored(workspace):
    return {tenant: one.stored_bytes for tenant, one in read_all(workspace).items() if one.stored_bytes}


def test_stored_bytes_are_the_sizes_of_all_versions(make_root, set_params):
    root = make_root(("alder", "birch"))
    train.run(Workspace(root))
    workspace = Workspace(root)
    first = register(workspace, "alder")
    record_stored_bytes(workspace)
    assert read_stored(workspace) == {"alder": first}
    own = register(workspace, "birch")
    record_stored_bytes(workspace, once=True)
    assert read_stored(workspace) == {"alder": first}
    set_params(root, train={"prefix_length": 3})
    train.run(Workspace(root), ["alder"])
    second = register(workspace, "alder")
    record_stored_bytes(workspace)
    assert read_stored(workspace) == {"alder": first + second, "birch": own}
