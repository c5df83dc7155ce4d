"""The body for one row, and what it cannot say."""

import json

import pytest

from components.errors import ConfigError
from components.model.decoding import DecodeRequest
from components.model.delta import Delta
from components.serving.interface import ArtifactRef, GenerationRequest, TokenControls
from components.serving.remote.request_body import StoredArtifact, check_supported, make_body

ARTIFACT = ArtifactRef("acme", "3", "a" * 64)
STORED = StoredArtifact(ARTIFACT, 2, f"s3://bucket/{'a' * 64}")


def _make(**values: object) -> dict[str, object]:
    request = GenerationRequest(ARTIFACT, "a source", **values)  # type: ignore[arg-type]
    check_supported(request)
    return make_body(request, DecodeRequest(Delta(), [8, 9], [8, 9], 20, 0, None), STORED, (1, 4))


def test_the_prompt_has_a_placeholder_for_each_slot_and_the_artifact_is_named_in_full() -> None:
    body = _make(max_tokens=50)
    assert body["prompt"] == [0, 0, 8, 9]
    assert body["max_tokens"] == 20, "what the context leaves"
    assert body["cache_salt"] == "a" * 64
    named = {"sha256": "a" * 64, "tenant": "acme", "length": 2, "address": f"s3://bucket/{'a' * 64}"}
    assert body["kv_transfer_params"] == {"prefixfleet": named}
    assert body["stop_token_ids"] == [1, 4]
    assert not {"seed", "logprobs", "logit_bias", "structured_outputs", "stop"} & set(body)


def test_a_lora_has_no_placeholders_and_is_named_as_one() -> None:
    stored = StoredArtifact(ARTIFACT, 0, "file:///a", lora_rank=4)
    request = GenerationRequest(ARTIFACT, "a source")
    body = make_body(request, DecodeRequest(Delta(), [8, 9], [8, 9], 20, 0, None), stored, (1,))
    assert body["prompt"] == [8, 9]
    assert body["cache_salt"] == "a" * 64
    named = {"sha256": "a" * 64, "tenant": "acme", "method": "lora", "address": "file:///a"}
    assert body["kv_transfer_params"] == {"prefixfleet": named}
    assert "model" not in body


def test_settings_of_sampling_and_controls_are_sent() -> None:
    schema = {"type": "object"}
    controls = TokenControls(
        min_new_tokens=90,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias=((7, -100.0),),
        json_schema=json.dumps(schema),
    )
    body = _make(temperature=0.7, top_p=0.9, top_k=5, seed=2**63 - 1, sample_index=1, logprobs=3, controls=controls)
    assert body["seed"] == 0
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 0.9, 5)
    assert body["min_tokens"] == 20
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.5, -0.5)
    assert body["logit_bias"] == {"7": -100.0}
    assert body["structured_outputs"] == {"json": schema}
    assert body["logprobs"] == 3
    assert body["return_tokens_as_token_ids"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"guidance": 0.0}, "guidance"),
        ({"num_beams": 5}, "num_beams"),
        ({"controls": TokenControls(banned=("x",))}, "banned"),
        ({"controls": TokenControls(no_repeat_ngram=3)}, "no_repeat_ngram"),
        ({"controls": TokenControls(repetition_penalty=1.2)}, "repetition_penalty"),
    ],
)
def test_what_vllm_does_not_do_is_named(values: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _make(**values)
    assert caught.value.got == name
    assert "the engine vllm" in caught.value.wanted
    assert "serve.engine: local" in caught.value.fix


def test_after_an_answers_first_tokens_the_rest_is_asked_for() -> None:
    request = GenerationRequest(ARTIFACT, "a source", temperature=0.5, seed=3, controls=TokenControls(min_new_tokens=5))
    decode_request = DecodeRequest(Delta(), [8, 9], [8, 9], 20, 0, None)
    body = make_body(request, decode_request, STORED, (1,), (30, 31, 32))
    assert body["prompt"] == [0, 0, 8, 9, 30, 31, 32]
    assert (body["max_tokens"], body["min_tokens"], body["seed"]) == (17, 2, 6)
    body = make_body(request, decode_request, STORED, (1,), range(30, 37))
    assert (body["max_tokens"], body["min_tokens"]) == (13, 0)
