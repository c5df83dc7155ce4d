"""Errors in a batch of an encoder-decoder base; test_batch.py has its answers."""

from dataclasses import replace
from typing import Any

import pytest

from components.serving.interface import GenerationRequest


@pytest.fixture
def tenants(build_base: Any, make_tenants: Any) -> Any:
    """Five tenants of a tiny BART."""
    return make_tenants(build_base("bart"))


def test_a_row_that_the_encoder_cannot_take_fails_alone(
    tenants: Any, check_third_fails_alone: Any, sources: Any
) -> None:
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="x y z")
    (bad,) = tenants.base.text_codec.encode_sources(["x y z"])

    def refuse_bad(_encoder: Any, _args: Any, kwargs: Any) -> None:
        if any(ids[: len(bad)] == bad for ids in kwargs["input_ids"].tolist()):
            raise RuntimeError("an id that this kernel cannot take")

    check_third_fails_alone(tenants.base.model.get_encoder(), refuse_bad, requests)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "seed": 4}, {"guidance": 1.6}], ids=str)
def test_a_step_that_is_too_large_is_computed_in_parts(settings: Any, check_computed_in_parts: Any) -> None:
    def is_too_large(kwargs: Any) -> bool:
        cache, source_ids = kwargs.get("past_key_values"), kwargs.get("input_ids")
        is_late = cache is not None and cache.get_seq_length() > 1
        is_large = source_ids is not None and source_ids.numel() > 20
        return is_large or (is_late and kwargs["decoder_input_ids"].numel() > 1)

    check_computed_in_parts(is_too_large, settings)
