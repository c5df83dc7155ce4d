"""A setup of vLLM in which answers could be wrong is refused by name at the start."""

from collections.abc import Callable
from typing import Any

import pytest
from engines import Served
from tiny_models import Model

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "recompute": ("llama", {"transfer": {"kv_load_failure_policy": "recompute"}}, "kv_load_failure_policy 'fail'"),
    "unknown setting": ("llama", {"settings": {"store": "/x"}}, "store = '/x'"),
    "windows": ("gemma3", {}, "max_model_len of at most the window, 64"),
    "one LoRA on a CPU": (
        "llama",
        {"enable_lora": True, "max_lora_rank": 8},
        "--max-loras of at least 2; got 1 on a CPU",
    ),
    "LoRA for GPT-2": ("gpt2", {"enable_lora": True, "max_loras": 2}, "GPT2LMHeadModel does not support LoRA"),
    "overrides": ("llama", {"hf_overrides": {"rms_norm_eps": 0.1}}, "hf_overrides, which changes the model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setup_is_refused(name: str, make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> None:
    kind, options, text = REFUSED[name]
    with pytest.raises(Exception, match=text):
        start(make_tiny(kind), **options)


def test_a_given_digest_replaces_that_of_the_files(
    make_tiny: Callable[[str], Model], start: Callable[..., Served]
) -> None:
    served = start(make_tiny("llama"), {"base_digest": "9" * 64, "interchangeable": ["8" * 64]})
    for digest in ("9" * 64, "8" * 64):
        artifact = served.write(5, int(digest[0]), base_digest=digest)
        served.check(served.ask(artifact, [11, 12, 13]))
    served.check(served.ask(served.write(5, 1), [11, 12, 13], fails=True))
