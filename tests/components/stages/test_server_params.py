"""The servers' own params.yaml beside the workspace's: what counts as a difference, and who is told."""

import pytest

from components.stages.commands.upgrade_check import check_upgrade
from components.stages.server_params import FILE_VARIABLE, compare_with_servers, warn_about_servers
from components.stages.workspace import Workspace

GATEWAY = """
base: {path: /elsewhere}
serve: {drain_seconds: 7}
access: {max_files: 0, max_tuning_jobs: 0}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The servers' file, which says the same as a workspace with defaults."""
    made = tmp_path / "gateway.yaml"
    made.write_text(GATEWAY)
    monkeypatch.setenv(FILE_VARIABLE, str(made))
    return made


def test_what_servers_need_alone_is_no_difference_and_all_else_is_named_with_both_values(make_root, file):
    root = make_root(("alder", "birch"))
    own = "base: {path: base}\ntrain: {seed: 1}\n"
    (root / "params.yaml").write_text(own)
    assert compare_with_servers(Workspace(root), file) == []
    (root / "params.yaml").write_text(own + "tenants: {birch: {evaluate: {num_beams: 3}, train: {seed: 7}}}\n")
    file.write_text(GATEWAY + "evaluate: {max_new_tokens: 9}\ntenants: {alder: {rollout: {split: request}}}\n")
    assert compare_with_servers(Workspace(root), file) == [
        "evaluate.max_new_tokens: 96 here, 9 there",
        "tenants.alder.rollout.split: 'user' here, 'request' there",
        "tenants.birch.evaluate.num_beams: 3 here, 1 there",
    ]


def test_a_retraining_and_the_check_of_an_upgrade_tell_it(make_root, file, caplog, monkeypatch):
    workspace = Workspace(make_root(("alder",)))
    file.write_text(GATEWAY + "evaluate: {max_new_tokens: 9}\n")
    (part,) = [one for one in check_upgrade(workspace) if one.name.startswith("the servers' ")]
    assert "9 there" in part.present
    assert part.todo.startswith("let both say the same")
    warn_about_servers(workspace)
    assert f"{file}, which the servers read, is not as the workspace's params.yaml: " in caplog.text
    file.write_text(GATEWAY + "evaluate: {max_tokens: 9}\n")
    (part,) = [one for one in check_upgrade(workspace) if one.name.startswith("the servers' ")]
    assert "unknown key 'max_tokens'" in part.present
    assert part.todo == f"correct the file, or {FILE_VARIABLE}, which names it"
    warn_about_servers(workspace)
    assert "the servers' settings cannot be compared with the workspace's: " in caplog.text
    caplog.clear()
    monkeypatch.delenv(FILE_VARIABLE)
    warn_about_servers(workspace)
    assert caplog.text == ""
