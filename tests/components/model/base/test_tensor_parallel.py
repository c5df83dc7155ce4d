"""The heads of one rank. tests/components/training/distributed has what is refused, and what divided bases compute."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.errors import BaseModelError
from components.model.base import tensor_parallel
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.tensor_parallel import check_whole, cut_heads, gather_heads, scale_heads
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.initialization import make_random_prefix


def test_a_whole_model_has_all_heads(build_model: Callable[..., Any]) -> None:
    model, heads = build_model("llama"), torch.rand(2, 4)
    assert cut_heads(model, heads, 1) is heads
    assert gather_heads(model, heads, 1) is heads
    assert scale_heads(model, 2) == 2
    check_whole(model, "weights")


def test_a_rank_takes_its_own_heads_and_gradients_reach_them_alone(
    build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model("llama")
    prefix = make_random_prefix(find_prefix_shape(model), 3, 0)
    key = prefix.tensors["decoder.self.0.key"].requires_grad_()
    monkeypatch.setattr(tensor_parallel, "count_ranks", lambda: 2)
    monkeypatch.setattr(tensor_parallel, "get_rank", lambda: 1)
    tensor_parallel.register_parallel_model(model)
    cut = stack_prefixes([prefix, None], "cpu", None).cut_heads(model)
    torch.testing.assert_close(cut.decoder_layers[0][0], key[None, 1:].expand(2, -1, -1, -1))
    cut.decoder_layers[0][0].sum().backward()
    assert key.grad is not None
    assert (key.grad[0].abs().max(), key.grad[1].min()) == (0, 2)
    assert scale_heads(model, 1) == 2
    with pytest.raises(BaseModelError, match="got weights; start the command without torchrun"):
        check_whole(model, "weights")
