"""The flows `backup` and `restore`, on a fleet without git and DVC."""

from types import SimpleNamespace

import pytest
from stage_chain import run_chain
from waiting import wait_until
from workspaces import set_params

from components.errors import BackupError, ConfigError, LockHeldError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def test_the_flows_copy_to_the_target_in_params_and_restore_it_and_each_is_a_trace(make_root, tmp_path, otlp):
    from flows.backup import backup, restore
    from flows.states import read_result

    root = make_root(("alder",))
    run_chain(root)
    state = backup(str(root), return_state=True)
    assert (state.name, state.message) == ("Completed", "no backup.target in params.yaml")
    set_params(root, backup={"target": str(tmp_path / "backups"), "keep": 1})
    for _ in range(2):
        state = backup(str(root), return_state=True)
        assert state.is_completed()
        result = read_result(state)
    assert len(result.removed) == 1
    assert result.manifest.id in state.message
    state = restore(str(tmp_path / "backups"), str(tmp_path / "new"), return_state=True)
    assert read_result(state).finished.champions == 1
    assert "by hand: " in state.message
    state = restore(str(tmp_path / "backups"), str(tmp_path / "x"), mlflow="postgresql://a:b@host/x", return_state=True)
    with pytest.raises(ConfigError, match=r"postgresql://a:\*\*\*@host/x"):
        read_result(state)
    with pytest.raises(BackupError):
        read_result(restore(str(tmp_path / "nowhere"), str(tmp_path / "x"), return_state=True))
    made = otlp.wait_for("backup", backup=result.manifest.id, files=result.manifest.file_count)
    steps = ["copy artifacts", "copy under the locks", "publish", "remove older backups"]
    assert otlp.list_children(made) == steps
    assert otlp.list_children(otlp.find("copy under the locks")[1]) == ["copy databases", "copy dataset versions"]
    assert otlp.list_children(otlp.wait_for("restore", backup=result.manifest.id)) == [
        "fetch objects",
        "place files",
        "finish",
    ]
    failed = wait_until(lambda: [one for one in otlp.spans if one.is_failed], "the failed restore")
    assert [(one.name, one.attributes) for one in failed] == [("restore", {"error.type": "BackupError"})]
    assert not any(str(tmp_path).encode() in body for body in otlp.bodies)


@pytest.mark.parametrize(("problem", "calls"), [(LockHeldError, 2), (ConfigError, 1)])
def test_a_backup_is_tried_again_only_while_that_may_help(make_root, tmp_path, monkeypatch, problem, calls):
    from flows import backup as module

    tried = []

    def fail_once(*arguments):
        tried.append(arguments)
        if len(tried) == 1:
            raise problem("wanted", "got", "fix")
        return SimpleNamespace(manifest=SimpleNamespace(id="1", file_count=0, byte_count=0, new_bytes=0), removed=[])

    monkeypatch.setattr(module, "make_backup", fail_once)
    monkeypatch.setattr(module, "copy_fleet", module.copy_fleet.with_options(retry_delay_seconds=0))
    state = module.backup(str(make_root(("alder",))), str(tmp_path), return_state=True)
    assert (len(tried), state.is_completed()) == (calls, calls == 2)
