"""Blocks are as many as are needed, keep what they hold, and are given back."""

import pytest
import torch

from components.model.base.shapes import PrefixShape
from components.serving.engine.block_pool import BLOCK_COLUMNS, BlockPool

SHAPE = PrefixShape(3, 2, 4)


def _blocks(least: int = 4) -> BlockPool:
    return BlockPool(SHAPE, least, torch.float32, torch.device("cpu"))


def test_blocks_that_run_out_become_more_and_keep_what_they_hold() -> None:
    blocks = _blocks()
    blocks.ensure_free(3)
    mine = [blocks.allocate() for _ in range(3)]
    for number, layer_2BHSD in enumerate(blocks.layers):
        layer_2BHSD[:, mine] = float(number + 1)
    blocks.ensure_free(40)
    more = [blocks.allocate() for _ in range(40)]
    assert not set(mine) & set(more)
    for number, layer_2BHSD in enumerate(blocks.layers):
        assert layer_2BHSD.shape == (2, 43, SHAPE.kv_heads, BLOCK_COLUMNS, SHAPE.head_dim)
        assert (layer_2BHSD[:, mine] == number + 1).all()
        assert not layer_2BHSD[:, more].any()


def test_memory_is_given_back_when_its_end_is_free_and_not_before() -> None:
    blocks = _blocks()
    blocks.ensure_free(64)
    taken = [blocks.allocate() for _ in range(64)]
    blocks.release(taken[1:63])
    assert blocks.layers[0].shape[1] == 64
    blocks.release(taken[63:])
    assert [layer_2BHSD.shape[1] for layer_2BHSD in blocks.layers] == [4, 4, 4]
    blocks.ensure_free(3)
    assert sorted(blocks.allocate() for _ in range(3)) == [1, 2, 3]


def test_what_may_be_no_numbers_is_wiped() -> None:
    blocks = _blocks()
    place = blocks.allocate()
    for layer_2BHSD in blocks.layers:
        layer_2BHSD[:, place] = torch.nan
    blocks.release([place], wipe=True)
    assert not any(layer_2BHSD.any() for layer_2BHSD in blocks.layers)


def test_more_than_there_is_memory_for_leaves_all_as_it_was() -> None:
    blocks = _blocks()
    with pytest.raises(MemoryError):
        blocks.ensure_free(1 << 50)
    blocks.ensure_free(6)
    assert sorted(blocks.allocate() for _ in range(6)) == list(range(6))


def test_where_memory_is_short_no_free_block_is_kept() -> None:
    blocks = _blocks()
    blocks.ensure_free(41)
    first, second = ([blocks.allocate() for _ in range(20)] for _ in range(2))
    for layer_2BHSD in blocks.layers:
        layer_2BHSD[:, second] = torch.arange(20.0)[:, None, None, None]
    blocks.release(first)
    assert blocks.compact([second])
    for layer_2BHSD in blocks.layers:
        assert layer_2BHSD.shape[1] == 20
        assert torch.equal(layer_2BHSD[0, second, 0, 0, 0], torch.arange(20.0))
    assert not blocks.compact([second])
    blocks.ensure_free(1)
    assert blocks.layers[0].shape[1] == 21
    assert blocks.allocate() not in second
