"""A base that two processes of torchrun divide computes, trains and writes what it does in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import divided_base
import pytest
import tiny_models
import torch
from forked_process import start_process
from forked_script import write_forked_python

from components.config import BaseConfig

HELPER = Path(divided_base.__file__)
DIVIDED = ("llama", "qwen2", "gpt_neox", "gemma2", "gemma3_text", "cohere2", "exaone4", "mistral", "ministral")
REFUSED = {
    "gpt2": "no tensor parallel plan",
    "bart": "an encoder and a decoder",
    "olmo3": "a plan that does not divide its 2 key/value heads",
    "phi3": "a plan that does not divide its 2 key/value heads",
    "llama4_text": "whose rows are padded",
    "gemma4_text": "layers without keys and values of their own",
    "deepseek_v3": "keys and values of different sizes",
    "qwen3_next": "layers without keys and values of their own",
    "odd": "num_attention_heads 3 and 2 processes",
    "quantised": "quantised weights",
    "mapped": "one way to divide the base",
}
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {"vocab_size": 68}),
    "odd": ("llama", {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3}),
    "large": (
        "llama",
        {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "num_key_value_heads": 4},
    ),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the two processes would share a GPU, which NCCL refuses"),
]


def save(folder: Path, kind: str) -> BaseConfig:
    name, sizes = SIZES.get(kind, (kind if kind not in ("quantised", "mapped") else "llama", {}))
    model = tiny_models.build_model(name, **sizes)
    if kind == "llama":
        model = tiny_models.give_own_head(model)
        model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    tiny_models.make_letters().save_pretrained(folder)
    more: dict[str, Any] = {"quantised": {"quantize": "torchao-int8"}, "mapped": {"device_map": "auto"}}.get(kind, {})
    return BaseConfig(path=str(folder), **more)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseConfig]:
    return {kind: save(tmp_path_factory.mktemp(kind), kind) for kind in (*DIVIDED, *REFUSED, "large")}


@pytest.fixture(scope="module")
def results(configs: dict[str, BaseConfig], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that is computed in two processes, which one start of them serves."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "configs.json").write_text(json.dumps([one.model_dump(mode="json") for one in configs.values()]))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    files = [str(folder / "results.pt"), str(folder / "configs.json")]
    environment = {**os.environ, "PYTHON_EXEC": str(write_forked_python())}
    with start_process([*start, str(HELPER), *files], Path.cwd(), environment, stderr=subprocess.PIPE) as torchrun:
        _, errors = torchrun.communicate()
    assert torchrun.returncode, "rank 1 has ended with an error, and torchrun tells"
    assert Path(files[0]).is_file(), errors.decode()
    made: dict[str, Any] = torch.load(files[0], weights_only=False)
    made["bases"] = dict(zip((*DIVIDED, *REFUSED), made["bases"], strict=True))
    return made


@pytest.mark.parametrize("kind", DIVIDED)
def test_losses_gradients_slots_and_texts_are_those_of_one_process(
    configs: dict[str, BaseConfig], results: dict[str, Any], kind: str
) -> None:
    alone, divided = divided_base.compute(configs[kind]), results["bases"][kind]
    assert not isinstance(divided, str), divided
    for name in ("facts", "texts", "pass tokens"):
        assert divided[name] == alone[name]
    assert divided["nats_U"] == pytest.approx(alone["nats_U"], rel=1e-5)
    for name in ("gradients", "gradients with checkpointing", "slots of tokens"):
        for own, other in zip(divided[name], alone[name], strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=2e-5)
        assert max(float(one.abs().max()) for one in alone[name]) > 0.01


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_divided_is_refused_by_name(results: dict[str, Any], kind: str) -> None:
    assert REFUSED[kind] in results["bases"][kind]


def test_methods_and_operations_that_need_the_whole_base_are_refused(results: dict[str, Any]) -> None:
    problems = results["problems"]
    for method in divided_base.METHODS:
        assert f"train.method: {method}" in problems.pop(method)
    assert "set engine.processes to 1" in problems.pop("processes")
    assert "a soft prompt" in problems.pop("soft prompt")
    assert all("an operation that only one of them does" in problem for problem in problems.values())
    assert len(problems) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_a_process_reads_its_own_part_of_the_weights(results: dict[str, Any], configs: dict[str, BaseConfig]) -> None:
    size = (Path(configs["large"].path) / "model.safetensors").stat().st_size
    assert size > 100_000_000
    for grown, held in results["memory"]:
        assert 0.49 * size < held < 0.52 * size
        assert grown < 0.75 * size, "the part that is held, and what the checks of the load compute"


def test_the_end_of_one_process_ends_the_others_with_an_error(results: dict[str, Any]) -> None:
    first, second = results["end"]
    assert "every process of torchrun at work" in first
    assert "one that has failed before" in second
