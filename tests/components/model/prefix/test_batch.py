"""Prefixes of several rows, stacked to one batch."""

import pytest
import torch

from components.errors import BaseModelError
from components.model.base.shapes import PrefixShape
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix

SHAPE = PrefixShape(2, 4, 8)


def test_prefixes_are_padded_on_the_left_and_gradients_flow_back() -> None:
    long, short = make_random_prefix(SHAPE, 3, 1), make_random_prefix(SHAPE, 2, 2)
    short.tensors["decoder.self.1.value"].requires_grad_()
    batch = stack_prefixes([short, None, long], "cpu", torch.float32)
    assert batch.mask_BP.tolist() == [[False, True, True], [False] * 3, [True] * 3]
    assert (batch.lengths_B.tolist(), batch.max_length, batch.is_infix) == ([2, 0, 3], 3, False)
    value = batch.decoder_layers[1][1]
    assert torch.equal(value[0, :, 1:], short.get_layer(1)[1])
    assert torch.equal(value[2], long.get_layer(1)[1])
    value[0].sum().backward()
    assert short.tensors["decoder.self.1.value"].grad is not None


def test_rows_are_repeated_and_selected_in_order() -> None:
    batch = stack_prefixes([make_random_prefix(SHAPE, 2, 1), None], "cpu", torch.float32)
    assert batch.repeat(1) is batch
    assert batch.repeat(2).lengths_B.tolist() == [2, 2, 0, 0]
    assert batch.select(torch.tensor([1, 0, 1])).lengths_B.tolist() == [0, 2, 0]


def test_prefixes_of_two_bases_in_a_batch_are_refused() -> None:
    small, large = (Prefix.from_site(torch.zeros(2, 2, heads, 3, 8)) for heads in (2, 4))
    with pytest.raises(BaseModelError, match="one base"):
        stack_prefixes([small, large], "cpu", torch.float32)
