from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.head_slices import LayerShape, check_layers, slice_heads


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ranks_hold_all_heads_in_order_and_repeat_them_if_they_are_fewer(heads: int, ranks: int) -> None:
    tensor_HPD = torch.arange(heads, dtype=torch.float32)[:, None, None].expand(heads, 3, 2)
    rank_heads = max(1, heads // ranks)
    found = [slice_heads(tensor_HPD, rank, ranks, rank_heads) for rank in range(ranks)]
    assert all(one.shape == (rank_heads, 3, 2) for one in found)
    expected = torch.arange(heads).repeat_interleave(max(1, ranks // heads)).tolist()
    assert torch.cat(found)[:, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"layers": 1}, "2 layers; got 1"),
        ({"heads": 3}, "got 3 heads, 4 and 6, in layer 0"),
        ({"key_size": 5}, "got 2 heads, 5 and 6"),
        ({"value_size": 5}, "got 2 heads, 4 and 5"),
    ],
)
def test_a_prefix_of_another_shape_is_refused(changes: dict[str, int], text: str) -> None:
    def make(**sizes: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        one = SimpleNamespace(**{"layers": 2, "heads": 2, "key_size": 4, "value_size": 6, **sizes})
        key, value = (torch.zeros(one.heads, 3, size) for size in (one.key_size, one.value_size))
        return [(key, value)] * one.layers

    shapes = [LayerShape(2, 1, 4, 6)] * 2
    check_layers(make(), shapes, "x")
    with pytest.raises(PluginError, match=text) as refused:
        check_layers(make(**changes), shapes, "x")
    assert refused.value.kind == "base"
