"""A growing cache layer, against plain lists of the slots of every beam."""

import random

import torch
from transformers.cache_utils import DynamicLayer

from components.model.decoding.growing_cache import GrowingCacheLayer

HEADS, SIZE = 2, 4


def slots(numbers: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, H, S, D] of numbered slots."""
    keys = torch.tensor(numbers).float()[:, None, :, None].expand(-1, HEADS, -1, SIZE)
    return keys, -keys


def test_beams_keep_their_own_slots_through_growth_reordering_and_finished_rows() -> None:
    chooser, beams, number = random.Random(0), 3, 100
    prefilled = DynamicLayer()
    prefilled.update(*slots([[1, 2], [3, 4]]))
    layer = GrowingCacheLayer(prefilled, beams)
    expected = [list(row) for row in ([1, 2], [3, 4]) for _ in range(beams)]
    for step in range(80):
        new = list(range(number, number + len(expected)))
        number += len(new)
        keys, values = layer.update(*slots([[one] for one in new]))
        expected = [[*row, one] for row, one in zip(expected, new, strict=True)]
        assert keys[:, 1, :, 2].tolist() == expected
        assert torch.equal(values, -keys)
        rows = range(0, len(expected), beams)
        parents = [row + chooser.randrange(beams) for row in rows for _ in range(beams)]
        layer.reorder_cache(torch.tensor(parents))
        expected = [expected[parent] for parent in parents]
        if step == 40:
            layer.batch_select_indices(torch.tensor([3, 4, 5]))
            expected = expected[3:]
    assert layer.keys.shape == (beams, HEADS, 82, SIZE)
