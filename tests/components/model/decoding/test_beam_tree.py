"""The cache of a tree of beams, against plain lists of the tokens of every beam."""

import math
import random

import pytest
import torch
from transformers import DynamicCache

from components.model.decoding.beam_tree import BeamTree

HEADS, SIZE, LAYERS = 2, 4, 2


def prefill(lengths: list[int], first: int) -> tuple[DynamicCache, torch.Tensor, list[list[int]]]:
    """Rows of these lengths, padded on the left; the key of a column is its number, counted from `first`."""
    longest = max(lengths)
    numbers = torch.arange(first, first + len(lengths) * longest).view(len(lengths), longest)
    mask = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    texts = [row[longest - length :] for row, length in zip(numbers.tolist(), lengths, strict=True)]
    return DynamicCache([slots(numbers)] * LAYERS), mask, texts


def slots(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    keys = numbers.float()[:, None, :, None].expand(-1, HEADS, -1, SIZE)
    return keys, -keys


def read(tree: BeamTree, additive: torch.Tensor) -> list[list[list[int]]]:
    """Return the numbers that every beam of every row sees, in order; checks that all layers and heads agree."""
    by_head = []
    for layer in tree.layers:
        assert torch.equal(layer.keys, -layer.values)
        for head in range(HEADS):
            keys = layer.keys[:, head, :, 0].long()
            visible = [
                [row[mask == 0].tolist() for mask in beams] for row, beams in zip(keys, additive[:, 0], strict=True)
            ]
            by_head.append(visible)
    assert all(one == by_head[0] for one in by_head)
    return by_head[0]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_beams_see_their_own_tokens_while_rows_join_and_leave(beams: int, seed: int) -> None:
    chooser = random.Random(seed)
    number = 1000
    cache, mask, texts = prefill([3, 1, 5, 2], 0)
    tree = BeamTree(cache.layers, mask, beams)
    written = [[list(text) for _ in range(beams)] for text in texts]
    for _ in range(70):
        additive = tree.append_token_columns(torch.float32)
        new = torch.arange(number, number + len(written) * beams).view(len(written), beams)
        number += new.numel()
        for layer in range(LAYERS):
            tree.cache.update(*slots(new), layer)
        written = [
            [[*text, token] for text, token in zip(row, tokens, strict=True)]
            for row, tokens in zip(written, new.tolist(), strict=True)
        ]
        assert read(tree, additive) == written
        parents = [[chooser.randrange(beams) for _ in range(beams)] for _ in written]
        tree.reorder(torch.tensor(parents))
        written = [[list(row[parent]) for parent in own] for row, own in zip(written, parents, strict=True)]
        if chooser.random() < 0.3:
            stay = chooser.sample(range(len(written)), chooser.randint(1, len(written)))
            tree.keep(torch.tensor(stay))
            written = [written[index] for index in stay]
        if chooser.random() < 0.3 and len(written) < 7:
            lengths = [chooser.choice([1, 2, 6, 150]) for _ in range(chooser.randint(1, 3))]
            cache, mask, texts = prefill(lengths, number)
            number += len(lengths) * max(lengths)
            tree.join(BeamTree(cache.layers, mask, beams))
            written += [[list(text) for _ in range(beams)] for text in texts]


def test_columns_that_no_beam_sees_are_dropped() -> None:
    """Otherwise the cache of a long run, in which rows join and leave, would grow without limit."""
    cache, mask, _ = prefill([4, 4], 0)
    tree, width = BeamTree(cache.layers, mask, 2), []
    for step in range(200):
        tree.append_token_columns(torch.float32)
        for layer in range(LAYERS):
            tree.cache.update(*slots(torch.zeros(2, 2)), layer)
        tree.reorder(torch.zeros(2, 2, dtype=torch.long))
        width.append(tree.mask_BKS.shape[2])
        if step % 10 == 9:
            tree.keep(torch.tensor([1]))
            cache, mask, _ = prefill([4], 0)
            tree.join(BeamTree(cache.layers, mask, 2))
    assert max(width[100:]) <= max(width[:100]) < 80


def test_values_of_a_row_that_left_do_not_reach_other_rows() -> None:
    """A mask hides finite numbers, but not NaN."""
    cache, mask, _ = prefill([8, 8], 0)
    for layer in cache.layers:
        layer.keys[1], layer.values[1] = math.nan, math.nan
    tree = BeamTree(cache.layers, mask, 1)
    tree.keep(torch.tensor([0]))
    cache, mask, _ = prefill([2], 50)
    tree.join(BeamTree(cache.layers, mask, 1))
    assert all(layer.keys.isfinite().all() and layer.values.isfinite().all() for layer in tree.layers)
