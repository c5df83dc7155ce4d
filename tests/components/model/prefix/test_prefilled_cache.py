"""A cache that holds the prefixes of a batch; `test_attach.py` compares its logits with those of attached prefixes."""

import torch

from components.model.base.shapes import PrefixShape
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefilled_cache import make_prefilled_cache

SHAPE = PrefixShape(2, 4, 8)


def test_the_cache_holds_keys_and_values_of_every_layer() -> None:
    prefix = make_random_prefix(SHAPE, 3, 1)
    cache = make_prefilled_cache(stack_prefixes([prefix, prefix], "cpu", torch.float32))
    assert cache.get_seq_length() == 3
    for index, layer in enumerate(cache.layers):
        key, value = prefix.get_layer(index)
        assert torch.equal(layer.keys, key.expand(2, -1, -1, -1))
        assert torch.equal(layer.values, value.expand(2, -1, -1, -1))


def test_without_prefixes_the_cache_is_empty() -> None:
    assert make_prefilled_cache(stack_prefixes([None], "cpu", torch.float32)).get_seq_length() == 0
