"""The files of a workspace in a backup: nothing that matters is left out, no cache and no secret is in it."""

import pytest
from workspaces import set_params, write_lines

from components.errors import ConfigError
from components.stages.backup.git_state import read_git_state
from components.stages.backup.workspace_files import (
    list_outside,
    list_uploads,
    list_workspace_files,
    refuse_passwords,
)
from components.stages.workspace import Workspace


def list_names(root):
    found = list(list_workspace_files(Workspace(root), read_git_state(root)))
    assert len({one.name for one in found}) == len(found)
    return {one.name.removeprefix("workspace/"): one for one in found}


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}" if name.endswith(".yaml") else "x")


KEPT = (
    "overrides/alder.yaml",
    "out/train/alder/state/state.pt",
    "drops/alder/.train.jsonl.taken.tmp",
    "quarantine/alder/train.jsonl",
    "var/tune/alder/trial.json",
    "var/failures/alder.json",
    "var/next-base/train/alder/manifest.json",
    "var/workspace.json",
    "var/training-rates.json",
    "data.dvc",
    "params.yaml",
    "data/alder/train.jsonl",
    "base/model.safetensors",
)
LEFT_OUT = (
    "var/tokens/alder/train.safetensors",
    "var/prefixes/abc/manifest.json",
    "var/champions/abc/manifest.json",
    "var/prefect/prefect.db",
    "var/digests",
    "var/lock",
    "var/log/vllm.log",
    "out/train/alder/.loss.csv.1.2.tmp",
    "notes.txt",
    ".env",
)


def test_what_can_be_made_again_is_left_out_and_the_rest_is_in(make_root):
    root = make_root(("alder",))
    write(root, *(name for name in (*KEPT, *LEFT_OUT) if not (root / name).exists()))
    names = list_names(root)
    assert set(KEPT) <= names.keys()
    assert not names.keys() & set(LEFT_OUT)
    assert names["drops/alder/.train.jsonl.taken.tmp"].may_vanish
    assert not names["params.yaml"].may_vanish


@pytest.mark.slow
def test_of_a_repository_only_what_is_not_committed_is_in(make_checkout):
    root = make_checkout(("alder",))
    (root / "base" / "config.json").write_text((root / "base" / "config.json").read_text() + "\n")
    (root / ".dvc" / "config.local").write_text("secret")
    names = list_names(root)
    assert "base/config.json" in names
    assert "base/model.safetensors" not in names
    assert {".dvc/config", "data.dvc", "dvc.yaml"} <= names.keys()
    assert ".dvc/config.local" not in names
    assert list_outside(Workspace(root)) == [".dvc/config.local, which may hold secrets"]


def test_files_that_params_names_are_in_and_what_lies_elsewhere_is_named(make_root, tmp_path):
    root = make_root(("alder",))
    write(root, "texts/start.txt", "texts/other.txt")
    outside = tmp_path / "drops"
    set_params(root, train={"init_text": {"file": "texts/start.txt"}}, data={"drops": str(outside)})
    write_lines(outside / "alder" / "train.jsonl", [])
    names = list_names(root)
    assert "texts/start.txt" in names
    assert "texts/other.txt" not in names
    assert list_outside(Workspace(root)) == [f"the drops in {outside}"]
    set_params(root, base={"path": "an/id"})
    assert list_outside(Workspace(root)) == ["the base an/id"]


def test_a_password_in_the_settings_stops_the_backup(make_root):
    root = make_root(("alder",))
    with (root / "params.yaml").open("a") as file:
        file.write("# mlflow: https://ada:secret@host/\n")
    refuse_passwords(root)
    set_params(root, registry={"tracking_uri": "postgresql://ada:secret@host/mlflow"})
    with pytest.raises(ConfigError, match=r"a URL with a password in params\.yaml, line \d+") as problem:
        refuse_passwords(root)
    assert "secret@" not in str(problem.value)


def test_uploads_are_listed_without_those_that_still_arrive(make_root):
    root = make_root(("alder",))
    write(root, "var/uploads/alder/file-1.jsonl", "var/uploads/alder/.f00.tmp")
    assert [one.name for one in list_uploads(Workspace(root))] == ["workspace/var/uploads/alder/file-1.jsonl"]
