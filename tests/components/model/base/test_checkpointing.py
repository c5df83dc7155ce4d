"""Gradient checkpointing with every kind of delta: the same loss and gradient, and blocks are computed twice."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from components.config import TrainConfig
from components.model.base.blocks import find_all_blocks
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base
from components.model.delta import apply_deltas
from components.model.trainable_delta import TrainableDelta

METHODS = ("prefix", "infix", "embedding", "top-k", "adapter", "lora", "prefix+adapter", "prefix+lora")
CASES = [
    (kind, method)
    for kind in ("gpt2", "llama", "bart", "t5")
    for method in METHODS
    if kind in ("gpt2", "llama") or method not in ("infix", "embedding")
]


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_loss_and_gradient_are_the_same(build_base: Callable[..., Base], kind: str, method: Any) -> None:
    base = build_base(kind)
    ids: dict[str, Any] = {"input_ids": torch.tensor([[5, 6, 7, 0, 9, 10], [8, 0, 11, 12, 1, 1]])}
    ids["attention_mask"] = (ids["input_ids"] != 1).long()
    if base.is_encoder_decoder:
        ids["decoder_input_ids"] = torch.tensor([[1, 11, 12], [1, 13, 1]])
    config = TrainConfig(method=method, prefix_length=3, adapter_size=4, top_layers=1, mlp_hidden=5)
    results, calls, counted = [], [], []
    inner = [part for block in find_all_blocks(base.model) for part in list(block.module.modules())[1:]]
    handles = [part.register_forward_pre_hook(lambda *_: counted.append(1)) for part in inner]
    for again in (False, True):
        module = TrainableDelta(base, config, "words", None, [("a", "b")])
        with checkpoint_blocks(base.model) if again else nullcontext():
            delta = module.make_delta()
            with apply_deltas(base, [delta, delta], torch.tensor([3, 1])):
                loss = base.model(**ids, use_cache=False).logits.logsumexp(-1).square().mean()
                counted.clear()
                loss.backward()
        calls.append(len(counted))
        results.append([loss.detach(), *(parameter.grad for parameter in module.parameters())])
    for handle in handles:
        handle.remove()
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-6, atol=1e-6)
    assert calls[0] == 0
    assert calls[1] > 0, "no block was computed again"


def test_an_exception_inside_restores_the_blocks(build_base: Callable[..., Base]) -> None:
    model = build_base("llama").model
    with pytest.raises(KeyboardInterrupt), checkpoint_blocks(model):
        raise KeyboardInterrupt
    assert not any("forward" in vars(module) for module in model.modules())
