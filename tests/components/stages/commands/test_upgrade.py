"""What a new workspace would have different is shown as a patch; nothing is changed."""

import subprocess

import pytest

from components.errors import ConfigError
from components.stages.commands.init_workspace import make_workspace
from components.stages.commands.upgrade import find_differences
from components.stages.workspace import Workspace


def read_files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)}


def test_a_new_workspace_has_no_difference_and_changed_files_give_a_patch_but_unknown_params_an_error(tmp_path):
    root = make_workspace(tmp_path / "fleet").root
    assert find_differences(Workspace(root)) == []

    (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text().replace("prefixfleet stage gate", "old command"))
    (root / ".dvc" / "plots" / "page.html").unlink()
    (root / ".gitignore").write_text("/data/\n/out\n*.log")
    before = read_files(root)
    found = find_differences(Workspace(root))
    assert [(one.name, one.is_missing) for one in found] == [
        ("dvc.yaml", False),
        (".dvc/plots/page.html", True),
        (".gitignore", False),
    ]
    assert "-    cmd: old command\n+    cmd: prefixfleet stage gate\n" in found[0].diff
    assert "+/var/" in found[2].diff
    assert "+/data" not in found[2].diff
    assert read_files(root) == before

    patch = "".join(one.diff for one in found)
    subprocess.run(["git", "apply", "-"], cwd=root, input=patch, text=True, check=True)
    assert find_differences(Workspace(root)) == []

    with (root / "params.yaml").open("a") as file:
        file.write("trian: {}\n")
    with pytest.raises(ConfigError, match="trian"):
        find_differences(Workspace(root))
