"""Commands that torchrun starts twice: files, texts and answers are those of one process, and one process writes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
import torch
from forked_process import PROJECT, start_process
from forked_script import write_forked_python
from processes import find_free_port, make_environment
from safetensors.torch import load_file
from server_process import ServerProcess
from stage_chain import run_chain
from waiting import LIMIT_S

from cli.ranks import check_command
from components.errors import ConfigError

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli.main")
TRAIN = {"prefix_length": 2, "max_steps": 6, "warmup_steps": 1, "batch_size": 4, "validate_every": 2}
TENANTS, PROMPTS = ("alder", "birch"), ("thing: boat | colour: red", "thing: cup", "abc")
SIZES = {"num_key_value_heads": 2, "max_position_embeddings": 128}


def in_two_processes(test: Any) -> Any:
    """Mark a test that torchrun needs."""
    for mark in (
        pytest.mark.slow,
        pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo"),
        pytest.mark.skipif(torch.cuda.is_available(), reason="two processes would share a GPU, which NCCL refuses"),
    ):
        test = mark(test)
    return test


def run_twice(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in two processes with the variables that torchrun sets."""
    sizes = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environment = {**make_environment(), **sizes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    command = [sys.executable, "-m", "cli.main", "-C", str(root), *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        start_process(command, PROJECT, {**environment, "RANK": rank, "LOCAL_RANK": rank}, **pipes) for rank in "01"
    ]
    stdout, stderr = ("".join(texts) for texts in zip(*(one.communicate(LIMIT_S) for one in started), strict=True))
    return subprocess.CompletedProcess(command, max((one.returncode for one in started), key=abs), stdout, stderr)


@pytest.fixture(scope="module")
def roots(make_root_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two workspaces with the same data and a base of grouped heads."""
    train = {**TRAIN, "learning_rate": 0.05}
    alone = make_root_in(tmp_path_factory.mktemp("alone"), TENANTS, train=train)
    shutil.rmtree(alone / "base")
    tiny_models.give_own_head(model := tiny_models.build_model("llama", **SIZES))
    model.config.tie_word_embeddings = False
    model.save_pretrained(alone / "base")
    tiny_models.make_letters().save_pretrained(alone / "base")
    divided = tmp_path_factory.mktemp("divided") / "workspace"
    shutil.copytree(alone, divided)
    outcomes, _ = run_chain(alone)
    assert not [one for one in outcomes if one.state == "failed"]
    return alone, divided


@in_two_processes
def test_two_processes_leave_the_artifacts_and_texts_of_one(roots: tuple[Path, Path]) -> None:
    alone, divided = roots
    for stage in ("train", "evaluate"):
        done = run_twice(divided, "stage", stage)
        assert done.returncode == 0, done.stderr
        if stage == "train":
            assert done.stderr.count("alder: trained in") == 1
    for stage in ("train", "evaluate"):
        folders = [root / "out" / stage for root in roots]
        listed = [sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) for folder in folders]
        assert listed[0] == listed[1]
    assert (divided / "out/base/base.json").read_text() == (alone / "out/base/base.json").read_text()
    for tenant in TENANTS:
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


@in_two_processes
def test_two_processes_answer_as_one(call: Any, roots: tuple[Path, Path]) -> None:
    root = roots[0]
    wanted = {
        (tenant, prompt): call(root, "generate", tenant, prompt).stdout for tenant in TENANTS for prompt in PROMPTS
    }
    assert len(set(wanted.values())) > len(PROMPTS), "the tenants' texts differ"
    assert run_twice(root, "generate", *next(iter(wanted))).stdout == next(iter(wanted.values()))
    server = ServerProcess(root, (), {"PYTHON_EXEC": str(write_forked_python())}, None, TORCHRUN)
    try:
        server.wait_ready()
        with ThreadPoolExecutor(len(wanted)) as threads:
            answers = list(threads.map(lambda one: ask(server, *one), wanted))
        assert answers == list(wanted.values())
    finally:
        server.stop()
    assert "Traceback" not in server.read_log().partition("stopping")[0]


def ask(server: ServerProcess, tenant: str, prompt: str) -> str:
    """Return a server's answer as `generate` prints it."""
    answer = httpx.post(f"{server.url}/v1/completions", json={"model": tenant, "prompt": prompt}, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"]).strip() + "\n"


def test_other_commands_are_refused(call: Any, make_root: Callable[..., Path], monkeypatch: Any) -> None:
    check_command("tune")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_command("stage")
    with pytest.raises(ConfigError, match=r"stage, generate, serve.*retrain, started 2 times by torchrun"):
        check_command("retrain")
    result = call(make_root(("alder",)), "tune")
    assert result.exit_code == 2
    assert "tune, started 2 times by torchrun" in result.stderr
