import os
import shutil
from pathlib import Path

import pytest
from fake_dvc import fake_add, fake_is_clean, fake_push
from processes import run_in

from components.config import DataConfig
from components.data import dvc
from components.data.schema import SPLITS, Example, write_split


@pytest.fixture
def limits() -> DataConfig:
    return DataConfig(max_source_chars=200, max_reference_chars=100, max_references=3, push=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("PREFIXFLEET_TEST_DATA")
    if not folder:
        pytest.skip("set PREFIXFLEET_TEST_DATA to a folder with the published data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("template")
    (parent / "workspace").mkdir()
    for command in (
        ("git", "init", "-q"),
        ("dvc", "init", "-q"),
        ("dvc", "remote", "add", "-q", "-d", "local", "../remote"),
        ("git", "add", "."),
        ("git", "commit", "-q", "-m", "start"),
    ):
        run_in(parent / "workspace", *command)
    return parent


@pytest.fixture
def workspace(_template: Path, tmp_path: Path) -> Path:
    """A git and DVC checkout whose default remote is the folder `remote` beside it."""
    shutil.copytree(_template, tmp_path, dirs_exist_ok=True)
    return tmp_path / "workspace"


@pytest.fixture
def fake_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a fake of DVC, two tenants with a drop each (one has an invalid line), and a drop to refuse."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a killed process loses nothing without it, and it takes long
    monkeypatch.setattr(dvc, "add", fake_add)
    monkeypatch.setattr(dvc, "push", fake_push)
    monkeypatch.setattr(dvc, "is_clean", fake_is_clean)
    workspace = tmp_path / "start"
    for tenant in ("a", "b"):
        for split in SPLITS:
            write_split(workspace / "data" / tenant / f"{split}.jsonl", [Example(f"{tenant} {split} old", ("x",))])
            write_split(workspace / "drops" / tenant / f"{split}.jsonl", [Example(f"{tenant} {split} new", ("x",))])
    with (workspace / "drops" / "a" / "train.jsonl").open("a") as file:
        file.write("{oops\n")
    write_split(workspace / "drops" / "half" / "train.jsonl", [Example("c", ("x",))])
    fake_add(workspace, "data")
    (workspace / ".gitignore").write_text("/data\n")
    return workspace
