"""Errors in a batch of an encoder-decoder base; test_batch.py has its answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from components.errors import BaseModelError
from components.serving.interface import GenerationRequest


@pytest.fixture
def tenants(build_base: Any, make_tenants: Any) -> Any:
    """Five tenants of a tiny BART."""
    return make_tenants(build_base("bart"))


def test_a_row_that_the_encoder_cannot_take_fails_alone(tenants: Any, answer_all: Any, sources: Any) -> None:
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="x y z")
    (bad,) = tenants.base.text_codec.encode_sources(["x y z"])

    def refuse_bad(_encoder: Any, _args: Any, kwargs: Any) -> None:
        if any(ids[: len(bad)] == bad for ids in kwargs["input_ids"].tolist()):
            raise RuntimeError("an id that this kernel cannot take")

    expected = [tenants.answer_alone(request) for request in requests]
    handle = tenants.base.model.get_encoder().register_forward_pre_hook(refuse_bad, with_kwargs=True)
    try:
        answers = answer_all(tenants, requests, rows=8)
    finally:
        handle.remove()
    assert isinstance(answers[2], BaseModelError)
    assert "cannot take" in str(answers[2])
    for number in (0, 1, 3, 4):
        assert answers[number] == expected[number]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "seed": 4}, {"guidance": 1.6}], ids=str)
def test_a_step_that_is_too_large_is_computed_in_parts(
    settings: Any, tenants: Any, answer_all: Any, sources: Any
) -> None:
    requests = [
        GenerationRequest(artifact, source, max_tokens=9, **settings)
        for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    expected, refused = [tenants.answer_alone(request) for request in requests], 0

    def refuse_large(_model: Any, _args: Any, kwargs: Any) -> None:
        nonlocal refused
        cache, source_ids = kwargs.get("past_key_values"), kwargs.get("input_ids")
        is_late = cache is not None and cache.get_seq_length() > 1
        is_large = source_ids is not None and source_ids.numel() > 20
        if is_large or (is_late and kwargs["decoder_input_ids"].numel() > 1):
            refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = tenants.base.model.register_forward_pre_hook(refuse_large, with_kwargs=True)
    try:
        answers = answer_all(tenants, requests, rows=10)
    finally:
        handle.remove()
    assert refused
    assert answers == expected
