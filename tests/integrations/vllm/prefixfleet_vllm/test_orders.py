from typing import Any

import pytest
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.orders import ArtifactRef, Drop, Generation, Load, Status, check_request

SHA256 = "a" * 64
FIELDS = {"sha256": SHA256, "tenant": "acme", "length": 5}


def check(fields: Any, **changes: Any) -> Any:
    facts = {"prompt_tokens": 6, "cache_salt": None, "wants_prompt_logprobs": False, "serve_base": False}
    return check_request({"prefixfleet": fields}, **{**facts, **changes})


def test_each_form_is_understood() -> None:
    artifact = ArtifactRef(**FIELDS)
    assert check(FIELDS, cache_salt=SHA256) == Generation(artifact)
    assert check({"load": FIELDS}) == Load(artifact, pinned=False)
    assert check({"load": FIELDS, "pinned": True}) == Load(artifact, pinned=True)
    lora = {"sha256": SHA256, "tenant": "acme", "method": "lora"}
    assert check(lora, cache_salt=SHA256, prompt_tokens=1) == Generation(ArtifactRef(**lora))
    assert check({"load": lora}) == Load(ArtifactRef(**lora), pinned=False)
    assert check({"drop": [SHA256]}) == Drop((SHA256,))
    assert check({"status": []}) == Status(())
    assert check(None, serve_base=True) is None
    assert check(None, serve_base=True, cache_salt="a visitor's own") is None


@pytest.mark.parametrize(
    ("fields", "changes", "text"),
    [
        (None, {}, "names an artifact"),
        (None, {"serve_base": True, "cache_salt": SHA256}, "own requests only"),
        ([], {}, "an object"),
        ({}, {}, "no prefixfleet.sha256"),
        ({**FIELDS, "sha256": "A" * 64}, {}, "sha256"),
        ({**FIELDS, "tenant": "../x"}, {}, "tenant"),
        ({**FIELDS, "length": 0}, {}, "length"),
        ({**FIELDS, "length": True}, {}, "length"),
        ({**FIELDS, "length": "5"}, {}, "length"),
        ({"sha256": SHA256, "tenant": "acme"}, {}, "a length of at least 1 for method prefix"),
        ({**FIELDS, "method": "lora"}, {}, "none for method lora"),
        ({**FIELDS, "method": "prefix+lora"}, {}, r"prefixfleet.method = 'prefix\+lora'"),
        ({"sha256": SHA256, "tenant": "acme", "method": "lora"}, {}, "no cache_salt"),
        ({"load": FIELDS | {"method": "lora"}}, {}, "none for method lora"),
        ({**FIELDS, "more": 1}, {}, "more"),
        (FIELDS, {"cache_salt": None}, "no cache_salt"),
        (FIELDS, {"cache_salt": "b" * 64}, "another cache_salt"),
        (FIELDS, {"cache_salt": SHA256, "prompt_tokens": 5}, "5 tokens"),
        (FIELDS, {"cache_salt": SHA256, "prompt_tokens": None}, "a prompt of text"),
        (FIELDS, {"cache_salt": SHA256, "wants_prompt_logprobs": True}, "prompt_logprobs"),
        ({"drop": []}, {}, "drop"),
        ({"drop": ["x"]}, {}, "drop.0"),
        ({"drop": [SHA256], "load": FIELDS}, {}, "drop"),
        ({"load": {}}, {}, "no prefixfleet.load.sha256"),
        ({"status": None}, {}, "status"),
    ],
)
def test_anything_else_is_refused(fields: Any, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(PluginError, match=text) as refused:
        check(fields, **changes)
    assert refused.value.kind == "request"
