"""Commands that torchrun starts twice: artifacts and texts are those of one process, and one process writes files."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from processes import make_environment
from safetensors.torch import load_file

from cli.ranks import check_command
from components.errors import ConfigError

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli.main")
TRAIN = {"prefix_length": 2, "max_steps": 6, "warmup_steps": 1, "batch_size": 4, "validate_every": 2}
SIZES = {"num_key_value_heads": 2, "max_position_embeddings": 128}


def run_twice(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in two processes; the project's folder comes first on the path, as for one that is installed."""
    command = [*TORCHRUN, "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=make_environment())


@pytest.fixture(scope="module")
def roots(make_root_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two workspaces with the same data and a base of grouped heads."""
    train = {**TRAIN, "learning_rate": 0.05}
    alone = make_root_in(tmp_path_factory.mktemp("alone"), ("alder", "birch"), train=train)
    shutil.rmtree(alone / "base")
    tiny_models.give_own_head(model := tiny_models.build_model("llama", **SIZES))
    model.config.tie_word_embeddings = False
    model.save_pretrained(alone / "base")
    tiny_models.make_letters().save_pretrained(alone / "base")
    divided = tmp_path_factory.mktemp("divided") / "workspace"
    shutil.copytree(alone, divided)
    return alone, divided


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the two processes would share a GPU, which NCCL refuses")
def test_two_processes_leave_the_artifacts_and_texts_of_one(call: Any, roots: tuple[Path, Path]) -> None:
    alone, divided = roots
    for stage in ("train", "evaluate"):
        result, done = call(alone, "stage", stage), run_twice(divided, "stage", stage)
        assert (result.exit_code, done.returncode) == (0, 0), done.stderr
        if stage == "train":
            assert done.stderr.count("alder: trained in") == 1
    listed = [sorted(str(file.relative_to(root)) for file in (root / "out").rglob("*")) for root in roots]
    assert listed[0] == listed[1]
    assert (divided / "out/base/base.json").read_text() == (alone / "out/base/base.json").read_text()
    for tenant in ("alder", "birch"):
        folders = [root / "out" / "train" / tenant for root in roots]
        manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
        for manifest in manifests:
            manifest.pop("sha256")
        assert manifests[0] == manifests[1]
        own, other = (load_file(folder / "prefix.safetensors") for folder in folders)
        for name, tensor in own.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)
        written = [(root / "out/evaluate" / tenant / "predictions.jsonl").read_text() for root in roots]
        assert written[0] == written[1]


def test_other_commands_are_refused(call: Any, make_root: Callable[..., Path], monkeypatch: Any) -> None:
    check_command("serve")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_command("stage")
    with pytest.raises(ConfigError, match=r"stage, generate.*retrain, started 2 times by torchrun"):
        check_command("retrain")
    result = call(make_root(("alder",)), "serve")
    assert result.exit_code == 2
    assert "serve, started 2 times by torchrun" in result.stderr
