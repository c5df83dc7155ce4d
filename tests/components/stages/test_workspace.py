import os
import subprocess
import sys
import textwrap

import pytest

from components.errors import DataError, WorkspaceError
from components.stages.workspace import Workspace


def test_tenants_are_those_with_data_and_a_typo_names_the_nearest(make_root):
    workspace = Workspace(make_root())
    assert workspace.list_tenants() == ["alder", "birch", "cedar"]
    assert workspace.list_tenants(["cedar", "alder", "alder"]) == ["alder", "cedar"]
    with pytest.raises(DataError, match="did you mean 'birch'"):
        workspace.list_tenants(["brich"])


def test_no_data_says_how_to_get_some(make_root):
    with pytest.raises(DataError, match="dvc pull"):
        Workspace(make_root(())).list_tenants()


def test_a_folder_without_params_is_no_workspace(tmp_path):
    with pytest.raises(WorkspaceError, match=r"got a folder without params\.yaml"):
        Workspace(tmp_path)


def test_the_base_is_found_from_any_current_directory(make_root, tmp_path, monkeypatch):
    root = make_root()
    monkeypatch.chdir(tmp_path)
    assert Workspace(root).base_config.path == str(root / "base")


def test_the_second_run_is_refused_and_the_first_one_named(make_root):
    workspace = Workspace(make_root())
    with (
        workspace.lock(),
        pytest.raises(WorkspaceError, match=f"process {os.getpid()}"),
        Workspace(workspace.root).lock(),
    ):
        pass
    with workspace.lock():
        pass


def test_a_killed_run_leaves_no_lock(make_root):
    root = make_root()
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from components.stages.workspace import Workspace
        with Workspace(Path(sys.argv[1])).lock():
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", script, str(root)], check=False).returncode == -9
    with Workspace(root).lock():
        pass
