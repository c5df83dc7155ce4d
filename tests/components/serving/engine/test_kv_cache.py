"""A forward pass over several branches gives the logits that the model gives for each of them alone."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from components.errors import BaseModelError
from components.model.delta import apply_deltas, to_delta
from components.serving.engine.kv_cache import BranchInput, KVCache


@torch.inference_mode()
def test_logits_of_several_branches_are_those_of_each_alone(base: Any, make_prefix: Any) -> None:
    prefixes, sources = [make_prefix(base, length, length) for length in (3, 40)], ([5, 6, 7, 8, 9], [10, 11])
    expected = []
    for prefix, ids in zip(prefixes, sources, strict=True):
        with apply_deltas(base, [to_delta(prefix)]):
            expected.append(base.model(torch.tensor([ids]), use_cache=False).logits[0, -1])
    cache = KVCache(base, 2)
    with cache.activate():
        first, second = cache.allocate(), cache.allocate()
        for index, prefix in zip((first, second), prefixes, strict=True):
            cache.write_slots(index, prefix.stack_decoder_site())
        assert cache.free_count == 0
        cache.forward([BranchInput(first, sources[0][:3], False)])
        cache.advance(first, 3)
        inputs = [BranchInput(first, sources[0][3:], True), BranchInput(second, sources[1], True)]
        logits_WV = cache.forward(inputs)
        again_WV = cache.forward(inputs)  # nothing was advanced: a step can be repeated
    torch.testing.assert_close(logits_WV, torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert torch.equal(logits_WV, again_WV)
    assert [cache.cached_columns[index] for index in (first, second)] == [6, 40]
    cache.release(first)
    assert (cache.free_count, cache.cached_columns[first]) == (1, 0)


@torch.inference_mode()
def test_branches_continue_from_others_and_one_of_them_takes_the_last_block(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, source, copied = KVCache(base, 3), [5 + number % 7 for number in range(39)], list[int]()
    copy = cache.block_pool.copy

    def count_and_copy(blocks: list[int], copies: list[int]) -> None:
        copied.append(len(blocks))
        copy(blocks, copies)

    monkeypatch.setattr(cache.block_pool, "copy", count_and_copy)
    beams = [cache.allocate() for _ in range(3)]

    def read(*tokens: Sequence[int]) -> torch.Tensor:
        inputs = [BranchInput(beam, ids, True) for beam, ids in zip(beams, tokens, strict=False)]
        logits_WV = cache.forward(inputs)
        for one in inputs:
            cache.advance(one.cache_index, len(one.token_ids))
        return logits_WV

    with cache.activate():
        read(source)
        cache.fork([beams[0]] * 3, beams)
        read([1], [2], [3])
        cache.fork([beams[1], beams[0], beams[1]], beams)
        logits_KV = read([4], [5], [6])
    ids = torch.tensor([[*source, 2, 4], [*source, 1, 5], [*source, 2, 6]])
    torch.testing.assert_close(logits_KV, base.model(ids, use_cache=False).logits[:, -1], rtol=1e-4, atol=1e-4)
    assert copied == [2, 1]


def test_a_base_whose_rows_cannot_be_concatenated_is_refused_by_name(build_base: Any) -> None:
    with pytest.raises(BaseModelError, match="BartForConditionalGeneration"):
        KVCache(build_base("bart"), 2)
