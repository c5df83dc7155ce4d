"""LoRA artifacts beside prefixes: each tenant's texts, however vLLM schedules, and what is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from engines import Artifact, Asked, Served, make_ids
from tiny_models import Matrices, Model

IDS = make_ids(40, 5)
ALL_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = (("q_proj", "v_proj"), ALL_LAYERS, ("o_proj", "down_proj"), ("k_proj", "up_proj"))
LORA: dict[str, Any] = {"enable_lora": True, "max_lora_rank": 8, "max_loras": 4, "max_cpu_loras": 6}


@pytest.fixture(scope="module")
def served(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny("llama"), **LORA)


def write_lora(served: Served, seed: int, rank: int = 8, **options: Any) -> Artifact:
    """Write a LoRA artifact whose layers depend on the seed."""
    return served.write_lora(rank, seed, matrices=served.model.make_lora(rank, seed, TARGETS[seed % 4]), **options)


def test_loras_prefixes_and_the_base_in_one_batch(served: Served) -> None:
    loras = [write_lora(served, seed, rank) for seed, rank in enumerate((8, 4, 1, 3, 8, 8, 2, 5, 8))]
    prefixes = [served.write(length, 100 + length) for length in (1, 33, 64)]
    asked = [
        served.ask(one, make_ids(5 + 7 * number, number), 8 + number) for number, one in enumerate([*loras, *prefixes])
    ]
    answers = {tuple(served.ask(one, IDS).expected or ()) for one in (*loras, None)}
    assert len(answers) == len(loras) + 1
    served.check(*asked, served.ask(None, make_ids(40, 99)), *reversed(asked))


def test_the_same_prompt_under_two_tenants_and_the_base_one_after_another_and_together(served: Served) -> None:
    asked = [served.ask(one, IDS) for one in (write_lora(served, 20), write_lora(served, 21), None)]
    for one in (*asked, *asked):
        served.check(one)
    served.check(*asked, *reversed(asked))


def test_a_conversation_reuses_the_blocks_of_its_prompt_and_of_its_answer(served: Served) -> None:
    artifact = write_lora(served, 22)
    first = served.ask(artifact, IDS, 60)
    assert first.expected is not None
    assert len(first.expected) == 60
    served.check(first)
    second = served.ask(artifact, [*IDS, *first.expected, 11], 4)
    (output,) = served.llm.generate([second.prompt], [second.params], use_tqdm=False)
    assert list(output.outputs[0].token_ids) == second.expected
    assert output.num_cached_tokens == 96


SHAPES = {
    "qwen2": ALL_LAYERS,  # biases of queries, keys and values
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),  # joined already in transformers
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),  # biases in all layers
}


@pytest.mark.parametrize("kind", SHAPES)
def test_loras_of_every_layer_on_other_shapes(
    kind: str, make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    served = start(make_tiny(kind), **LORA)
    loras = [
        served.write_lora(rank, rank, matrices=served.model.make_lora(rank, rank, SHAPES[kind])) for rank in (1, 5, 8)
    ]
    asked = [served.ask(one, IDS) for one in (*loras, served.write(33, 9), None)]
    assert len({tuple(one.expected or ()) for one in asked}) == len(asked)
    served.check(*asked, *reversed(asked))


SCHEDULING: dict[str, dict[str, Any]] = {
    "one in memory": {**LORA, "max_loras": 2, "max_cpu_loras": 2},
    "no prefix cache": {**LORA, "enable_prefix_caching": False},
    "prefill in chunks": {**LORA, "max_num_batched_tokens": 40, "enable_chunked_prefill": True},
    "preemption": {**LORA, "num_gpu_blocks_override": 14, "max_num_seqs": 8},
}


@pytest.mark.parametrize("name", SCHEDULING)
def test_texts_however_vllm_schedules(
    name: str, make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    served = start(make_tiny("llama"), **SCHEDULING[name])
    artifacts = [write_lora(served, seed) if seed % 3 else served.write(33, seed) for seed in range(9)]
    tokens = 60 if name == "preemption" else 8
    asked = [served.ask(one, make_ids(20 + seed, seed), tokens) for _ in range(2) for seed, one in enumerate(artifacts)]
    served.check(*asked)
    residents = served.scheduler_side.residents
    assert sum(one.cost for one in residents.residents if one.artifact.method == "lora") == residents.max_loras
    if name == "preemption":
        assert served.count_preemptions() > 0


def change_matrices(served: Served, seed: int, change: Callable[[Matrices], Any], **changes: Any) -> Asked:
    matrices = served.model.make_lora(8, seed)
    change(matrices)
    return served.ask(served.write_lora(8, seed, matrices=matrices, **changes), IDS, fails=True)


def rename(matrices: Matrices, name: str) -> None:
    matrices[name] = matrices.pop("model.layers.1.self_attn.q_proj")


def make_damaged(served: Served) -> Asked:
    artifact = write_lora(served, 30)
    path = served.store / artifact.sha256 / "prefix.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return served.ask(artifact, IDS, fails=True)


def make_infinite(matrices: Matrices) -> None:
    matrices["model.layers.0.self_attn.q_proj"][0][0, 0] = torch.inf


def give_two_ranks(matrices: Matrices) -> None:
    matrices["model.layers.0.self_attn.q_proj"] = (torch.zeros(4, 128), torch.zeros(128, 4))


def give_less_inputs(matrices: Matrices) -> None:
    a, b = matrices["model.layers.0.self_attn.q_proj"]
    matrices["model.layers.0.self_attn.q_proj"] = (a[:, :64].contiguous(), b)


def ask_lora(served: Served, seed: int, fields: dict[str, Any] | None = None, **changes: Any) -> Asked:
    return served.ask(write_lora(served, seed), IDS, fails=True, fields=fields, **changes)


REFUSED: dict[str, tuple[Callable[[Served], Asked], str]] = {
    "damaged": (make_damaged, "sha256"),
    "not finite": (lambda served: change_matrices(served, 31, make_infinite), "finite"),
    "another tenant's": (lambda served: ask_lora(served, 32, {"tenant": "another"}), "tenant another"),
    "of another base": (
        lambda served: served.ask(write_lora(served, 33, base_digest="e" * 64), IDS, fails=True),
        "base that is served",
    ),
    "a rank that is too large": (
        lambda served: served.ask(write_lora(served, 34, rank=9), IDS, fails=True),
        "LoRA of rank 8 at most; got rank 9",
    ),
    "a layer that the model lacks": (
        lambda served: change_matrices(served, 35, lambda m: rename(m, "model.layers.9.self_attn.q_proj")),
        "model.layers.9.self_attn.q_proj",
    ),
    "a layer that vLLM does not change": (
        lambda served: change_matrices(served, 36, lambda m: rename(m, "model.norm")),
        "model.norm",
    ),
    "a layer by two names": (
        lambda served: change_matrices(
            served, 45, lambda m: rename(m, "base_model.model.model.layers.0.self_attn.q_proj")
        ),
        r"got base_model\.model",
    ),
    "the output layer": (
        lambda served: change_matrices(served, 37, lambda m: rename(m, "lm_head")),
        "layers that vLLM's LoRA can change; got lm_head",
    ),
    "another size": (lambda served: change_matrices(served, 38, give_less_inputs), "128 inputs and 128 .*; got 64"),
    "two ranks": (lambda served: change_matrices(served, 39, give_two_ranks), r"A of \[4, inputs\]"),
    "another rank than its train section": (
        lambda served: served.ask(write_lora(served, 40, train={"lora_rank": 4}), IDS, fails=True),
        r"A of \[4, inputs\]",
    ),
    "no number as alpha": (
        lambda served: served.ask(write_lora(served, 41, train={"lora_rank": 8, "lora_alpha": "16"}), IDS, fails=True),
        "train.lora_alpha",
    ),
    "another method": (
        lambda served: served.ask(write_lora(served, 42, method="adapter", train={}), IDS, fails=True),
        "method adapter",
    ),
    "a LoRA asked as a prefix": (
        lambda served: served.ask(
            Artifact(write_lora(served, 43).sha256, "tenant-43", served.model.make_prefix(5, 1)), IDS, fails=True
        ),
        "method prefix; got lora",
    ),
    "a prefix asked as a LoRA": (
        lambda served: served.ask(
            Artifact(served.write(5, 44).sha256, "tenant-44", [], {"x": (torch.zeros(1), torch.zeros(1))}),
            IDS,
            fails=True,
        ),
        "method lora; got prefix",
    ),
}


@pytest.fixture(scope="module")
def refusing(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny("llama"), **LORA)


@pytest.mark.parametrize("name", REFUSED)
def test_an_artifact_is_refused_between_neighbours_and_a_load_says_why(name: str, refusing: Served) -> None:
    make, reason = REFUSED[name]
    refused = make(refusing)
    first, second = (refusing.ask(one, IDS) for one in (write_lora(refusing, 50), refusing.write(33, 51)))
    refusing.check(first, refused, second, refused)
    named = refused.params.extra_args["kv_transfer_params"]["prefixfleet"]
    reply = refusing.order(load=named)
    assert reply["loaded"] is False
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(reply["error"])


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"method": "prefix+lora"}, {}),
        ({"method": "adapter"}, {}),
        ({"length": 5}, {}),
        ({}, {"cache_salt": None}),
        ({}, {"cache_salt": "f" * 64}),
        ({}, {"prompt_logprobs": 1}),
    ],
)
def test_a_wrong_request_is_refused(refusing: Served, fields: dict[str, Any], changes: dict[str, Any]) -> None:
    artifact = write_lora(refusing, 60)
    refusing.check(refusing.ask(artifact, IDS, fails=True, fields=fields, **changes), refusing.ask(artifact, IDS))


def test_a_lora_by_the_name_of_a_model_is_refused(refusing: Served) -> None:
    from vllm.lora.request import LoRARequest

    named = LoRARequest("mine", 1, str(refusing.store))
    for asked in (refusing.ask(None, IDS), refusing.ask(write_lora(refusing, 61), IDS)):
        (output,) = refusing.llm.generate([asked.prompt], [asked.params], lora_request=named, use_tqdm=False)
        assert (list(output.outputs[0].token_ids), output.outputs[0].finish_reason) == ([], "error")


def test_without_lora_a_lora_artifact_is_refused_with_a_sentence(
    make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    served = start(make_tiny("llama"))
    artifact = write_lora(served, 62)
    served.check(served.ask(artifact, IDS, fails=True), served.ask(served.write(5, 63), IDS))
    reply = served.order(load=artifact.fields)
    assert (reply["loaded"], reply["kind"]) == (False, "setup")
    assert "start vLLM with --enable-lora" in reply["error"]
    assert json.dumps(served.order(status=[])["max_lora_rank"]) == "0"
