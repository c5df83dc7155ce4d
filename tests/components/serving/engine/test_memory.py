"""The estimate of serving's memory is near what rows of full length really take."""

from typing import Any

import pytest
import torch
from peak_memory import measure_peak_bytes

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.decoding.run_kinds import can_share_cache
from components.model.prefix.prefix import Prefix
from components.serving.engine.kv_cache import BranchInput, KVCache
from components.serving.engine.memory import ServingLoad, estimate_serving_memory

LOAD = ServingLoad(tenants=5, prefix_length=10, rows=12, step_tokens=64, input_tokens=150, output_tokens=40)


@torch.inference_mode()
def serve_in_blocks(base: Base, prefix: Prefix) -> None:
    """As the server's batch: all rows read their sources in pieces, then write a token in every step."""
    cache = KVCache(base, LOAD.rows)
    with cache.activate():
        rows = [cache.allocate() for _ in range(LOAD.rows)]
        for row in rows:
            cache.write_slots(row, prefix.stack_decoder_site())
            for tokens in (LOAD.step_tokens, LOAD.step_tokens, LOAD.input_tokens - 2 * LOAD.step_tokens):
                cache.forward([BranchInput(row, [5] * tokens, True)])
                cache.advance(row, tokens)
        for _ in range(LOAD.output_tokens):
            cache.forward([BranchInput(row, [6], True) for row in rows]).float()
            for row in rows:
                cache.advance(row, 1)


def serve_in_groups(base: Base, prefix: Prefix) -> None:
    decoding = Decoding(max_new_tokens=LOAD.output_tokens, min_new_tokens=LOAD.output_tokens)
    generate_each(base, [prefix] * LOAD.rows, [[5] * LOAD.input_tokens] * LOAD.rows, decoding, LOAD.rows)


@pytest.mark.parametrize(
    "kind", ["gpt2", "llama", "gpt_oss", "bart", "t5", "deepseek_v3", "qwen3_5_text", "gemma4_text"]
)
def test_the_estimate_is_near_the_peak(kind: str, build_base: Any, make_prefix: Any) -> None:
    limit = {"gpt2": "n_positions"}.get(kind, "max_position_embeddings")
    base = build_base(kind, context=512, **({} if kind == "t5" else {limit: 512}))
    prefix = make_prefix(base, LOAD.prefix_length)
    serve = serve_in_blocks if can_share_cache(base) else serve_in_groups
    serve(base, prefix)
    peak = measure_peak_bytes(lambda: serve(base, prefix))
    estimate = estimate_serving_memory(base, LOAD)
    assert 0.8 < (estimate.cache + estimate.step) / peak < 1.8
