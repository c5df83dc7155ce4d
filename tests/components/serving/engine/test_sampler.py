"""The log probabilities of a token are those of the model."""

import asyncio
from typing import Any

import pytest
import torch

from components.model.delta import apply_deltas
from components.serving.interface import GenerationRequest


def test_log_probabilities_are_those_of_the_model(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    request = GenerationRequest(tenants.artifacts[1], sources[0], max_tokens=6, logprobs=3, temperature=0.7, seed=1)

    async def serve() -> Any:
        async with running(tenants) as engine:
            return await collect_pieces(engine, request)

    tokens = [token for piece in asyncio.run(serve()) for token in piece.tokens]
    text, _ = tenants.answer_alone(request)
    assert "".join(token.text for token in tokens).strip() == text
    delta = tenants.deltas[request.artifact.tenant]
    (source,) = tenants.base.text_codec.encode_sources([request.source])
    for count, token in enumerate(tokens):
        new = [tenants.base.tokenizer.convert_tokens_to_ids(one.text) for one in tokens[: count + 1]]
        ids = torch.tensor([[*source, *new[:-1]]])
        with apply_deltas(tenants.base, [delta]), torch.no_grad():
            logprobs = tenants.base.model(ids, use_cache=False).logits[0, -1].log_softmax(-1)
        assert token.logprob == pytest.approx(float(logprobs[new[-1]]), abs=1e-4)
        values = logprobs.topk(3).values.tolist()
        assert [value for _, value in token.alternatives] == pytest.approx(values, abs=1e-4)
