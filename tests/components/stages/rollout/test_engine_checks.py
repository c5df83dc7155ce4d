"""Versions that vLLM cannot answer with get no alias while there is no fallback."""

import json

import pytest

from components.errors import ConfigError
from components.registry.mlflow.versions import DECODING_TAG, LORA_OUTSIDE_TAG, LORA_RANK_TAG, Version
from components.stages import register
from components.stages.rollout import manual
from components.stages.rollout.engine_checks import check_engine

VLLM = {"engine": "vllm"}


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"method": "lora"}, "method lora"),
        ({"method": "infix"}, "method infix"),
        ({DECODING_TAG: json.dumps({"num_beams": 5, "guidance": 1.0})}, "num_beams"),
        ({DECODING_TAG: json.dumps({"banned": ["a"], "repetition_penalty": 1.2})}, "repetition_penalty, banned"),
    ],
)
def test_a_version_that_vllm_cannot_answer_with_is_refused_by_name(fleet, set_params, tags, words):
    version = Version("alder", "3", tags=tags)
    check_engine(fleet.workspace, version)
    set_params(fleet.root, serve={**VLLM, "fallback": "local"})
    check_engine(fleet.workspace, version)
    set_params(fleet.root, serve=VLLM)
    with pytest.raises(ConfigError, match=f"version 3 of alder with {words}") as caught:
        check_engine(fleet.workspace, version)
    assert "serve.fallback: local" in caught.value.fix


@pytest.mark.parametrize(
    "tags", [{}, {"method": "prefix"}, {DECODING_TAG: json.dumps({"num_beams": 1})}, {DECODING_TAG: "{broken"}]
)
def test_all_others_are_taken(fleet, set_params, tags):
    set_params(fleet.root, serve=VLLM)
    check_engine(fleet.workspace, Version("alder", "3", tags=tags))


@pytest.mark.parametrize(
    ("rank", "words"), [("8", ""), ("", ""), ("9", "method lora of rank 9, above serve.vllm.max_lora_rank = 8")]
)
def test_a_lora_is_taken_up_to_the_largest_rank_of_vllm(fleet, set_params, rank, words):
    set_params(fleet.root, serve={**VLLM, "vllm": {"max_lora_rank": 8}})
    version = Version("alder", "3", tags={"method": "lora", LORA_RANK_TAG: rank})
    if not words:
        check_engine(fleet.workspace, version)
        return
    with pytest.raises(ConfigError, match=words) as caught:
        check_engine(fleet.workspace, version)
    assert "set serve.vllm.max_lora_rank; or set serve.fallback: local" in caught.value.fix


def test_a_lora_of_the_output_layer_is_refused_whatever_rank_vllm_has(fleet, set_params):
    version = Version("alder", "3", tags={"method": "lora", LORA_RANK_TAG: "2", LORA_OUTSIDE_TAG: "lm_head"})
    set_params(fleet.root, serve={**VLLM, "vllm": {"max_lora_rank": 8}})
    with pytest.raises(
        ConfigError, match="version 3 of alder with method lora of lm_head: vLLM has LoRA for"
    ) as caught:
        check_engine(fleet.workspace, version)
    assert caught.value.fix.startswith("set serve.fallback: local")
    set_params(fleet.root, serve={**VLLM, "fallback": "local", "vllm": {"max_lora_rank": 8}})
    check_engine(fleet.workspace, version)


def test_neither_a_run_nor_a_person_moves_an_alias_to_such_a_version(fleet, set_params):
    fleet.roll_out("alder")
    fleet.register("alder", 1, method="lora")
    before, workspace = fleet.read_aliases("alder"), fleet.workspace
    newest = workspace.registry.find_versions("alder")[0]
    set_params(fleet.root, serve=VLLM)
    with pytest.raises(ConfigError, match="method lora"):
        manual.promote(fleet.workspace, "alder", newest.version)
    promoted, failures = register.roll_out(fleet.workspace, {"alder": newest}, [])
    assert (promoted, [(one.stage, one.state) for one in failures]) == ({}, [("roll out", "failed")])
    assert fleet.read_aliases("alder") == before
    set_params(fleet.root, serve={**VLLM, "fallback": "local"})
    assert manual.promote(fleet.workspace, "alder", newest.version).version == newest.version
