"""The pool grows as needed, keeps the values of its blocks, and releases memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model.base.shapes import PrefixShape
from components.serving.engine.block_pool import BLOCK_COLUMNS, BlockPool

SHAPE = PrefixShape(3, 2, 4)


def _make_pool(min_blocks: int = 4) -> BlockPool:
    return BlockPool(SHAPE, min_blocks, torch.float32, torch.device("cpu"))


def test_the_pool_grows_and_keeps_the_values_of_its_blocks() -> None:
    pool = _make_pool()
    pool.ensure_free(3)
    used = [pool.allocate() for _ in range(3)]
    for number, layer_2BHSD in enumerate(pool.layers):
        layer_2BHSD[:, used] = float(number + 1)
    pool.ensure_free(40)
    new = [pool.allocate() for _ in range(40)]
    assert not set(used) & set(new)
    for number, layer_2BHSD in enumerate(pool.layers):
        assert layer_2BHSD.shape == (2, 43, SHAPE.kv_heads, BLOCK_COLUMNS, SHAPE.head_dim)
        assert (layer_2BHSD[:, used] == number + 1).all()
        assert not layer_2BHSD[:, new].any()


def test_memory_is_released_once_the_end_of_the_pool_is_free() -> None:
    pool = _make_pool()
    pool.ensure_free(64)
    taken = [pool.allocate() for _ in range(64)]
    pool.release(taken[1:63])
    assert pool.layers[0].shape[1] == 64
    pool.release(taken[63:])
    assert [layer_2BHSD.shape[1] for layer_2BHSD in pool.layers] == [4, 4, 4]
    pool.ensure_free(3)
    assert sorted(pool.allocate() for _ in range(3)) == [1, 2, 3]


def test_wiped_blocks_are_zero() -> None:
    pool = _make_pool()
    block = pool.allocate()
    for layer_2BHSD in pool.layers:
        layer_2BHSD[:, block] = torch.nan
    pool.release([block], wipe=True)
    assert not any(layer_2BHSD.any() for layer_2BHSD in pool.layers)


def test_a_pool_that_cannot_grow_stays_as_it_was() -> None:
    pool = _make_pool()
    with pytest.raises(MemoryError):
        pool.ensure_free(1 << 50)
    pool.ensure_free(6)
    assert sorted(pool.allocate() for _ in range(6)) == list(range(6))


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_shared_block_keeps_its_values_until_no_table_uses_it(data: st.DataObject) -> None:
    pool, tables, values = _make_pool(2), list[list[int]](), list[list[float]]()
    for number in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["new", "share", "copy", "release", "compact"])) if tables else "new"
        chosen = data.draw(st.integers(0, len(tables) - 1)) if tables else 0
        if action == "new":
            pool.ensure_free(3)
            tables.append([pool.allocate() for _ in range(3)])
            values.append([float(3 * number + place) for place in range(3)])
            pool.layers[0][0, tables[-1], 0, 0, 0] = torch.tensor(values[-1])
        elif action == "share":
            pool.share(tables[chosen])
            tables.append(list(tables[chosen]))
            values.append(list(values[chosen]))
        elif action == "copy":
            pool.ensure_free(3)
            tables.append([pool.allocate() for _ in range(3)])
            pool.copy(tables[chosen], tables[-1])
            values.append(list(values[chosen]))
        elif action == "release":
            pool.release(tables.pop(chosen), wipe=True)
            del values[chosen]
        else:
            pool.compact(tables)
            used = {block for table in tables for block in table}
            assert pool.layers[0].shape[1] == max(2, len(used))
        for table, own in zip(tables, values, strict=True):
            assert pool.layers[0][0, table, 0, 0, 0].tolist() == own
    for table in tables:
        pool.release(table)
    pool.compact([])
    assert pool.layers[0].shape[1] == 2


def test_compacting_releases_all_free_blocks_and_moves_used_ones() -> None:
    pool = _make_pool()
    pool.ensure_free(41)
    first, second = ([pool.allocate() for _ in range(20)] for _ in range(2))
    for layer_2BHSD in pool.layers:
        layer_2BHSD[:, second] = torch.arange(20.0)[:, None, None, None]
    pool.release(first)
    assert pool.compact([second])
    for layer_2BHSD in pool.layers:
        assert layer_2BHSD.shape[1] == 20
        assert torch.equal(layer_2BHSD[0, second, 0, 0, 0], torch.arange(20.0))
    assert not pool.compact([second])
    pool.ensure_free(1)
    assert pool.layers[0].shape[1] == 21
    assert pool.allocate() not in second
