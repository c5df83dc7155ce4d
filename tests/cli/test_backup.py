"""The commands `backup` and `restore`: their output, the section of params.yaml, and wrong uses."""

import pytest
from stage_chain import run_chain
from workspaces import set_params


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, make_root_in):
    root = make_root_in(tmp_path_factory.mktemp("fleet"), ("alder",))
    run_chain(root)
    return root


def test_backup_list_verify_and_restore_say_what_they_did(fleet, call, tmp_path):
    set_params(fleet, backup={"target": str(tmp_path / "backups"), "keep": 1})
    assert "no backup at" in call(fleet, "backup", "--list").stdout
    for _ in range(2):
        made = call(fleet, "backup")
        assert made.exit_code == 0, made.output
        assert "files, " in made.stdout
        assert "; verified" in made.stdout
    assert "removed older backups: " in made.stdout
    listed = call(tmp_path, "backup", str(tmp_path / "backups"), "--list").stdout.splitlines()
    assert listed[0].split()[:2] == ["backup", "complete"]
    assert len(listed) == 2
    assert listed[1].endswith(str(fleet))
    assert call(fleet, "backup", "--verify").stdout.startswith("1 backup with ")
    result = call(tmp_path, "restore", str(tmp_path / "backups"), str(tmp_path / "new"))
    assert result.exit_code == 0, result.output
    assert "1 tenants with a champion; ledger: 1 lines" in result.stdout
    assert "- secrets are not in a backup" in result.stdout


def test_wrong_uses_say_what_to_do(fleet, call, tmp_path):
    set_params(fleet)
    without = call(fleet, "backup")
    assert without.exit_code == 2
    assert "set backup.target in params.yaml" in without.stderr
    assert call(fleet, "backup", str(tmp_path), "--keep", "0").exit_code == 2
    assert call(fleet, "backup", str(tmp_path), "--list", "--verify").exit_code == 2
    nothing = call(tmp_path, "restore", str(tmp_path / "none"), str(tmp_path / "new"))
    assert (nothing.exit_code, "a backup at file://" in nothing.stderr) == (2, True)
    assert not (tmp_path / "new").exists()
