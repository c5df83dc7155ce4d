"""Blocks of every architecture."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from components.errors import BaseModelError
from components.model.base.blocks import find_all_blocks, find_decoder_blocks, find_last_block, find_last_blocks


@pytest.mark.parametrize(
    ("kind", "encoder", "decoder"),
    [
        ("gpt2", None, "transformer.h"),
        ("llama", None, "model.layers"),
        ("opt", None, "model.decoder.layers"),
        ("gpt_neox", None, "gpt_neox.layers"),
        ("bart", "model.encoder.layers", "model.decoder.layers"),
        ("t5", "encoder.block", "decoder.block"),
        ("marian", "model.encoder.layers", "model.decoder.layers"),
    ],
)
def test_blocks_are_found(build_model: Callable[..., Any], kind: str, encoder: str | None, decoder: str) -> None:
    model = build_model(kind)
    own = [f"{decoder}.{index}" for index in range(2)]
    count = {"bart": 3, "marian": 3, "t5": 2}.get(kind, 0)
    assert [block.path for block in find_decoder_blocks(model)] == own
    assert [block.path for block in find_all_blocks(model)] == [f"{encoder}.{index}" for index in range(count)] + own
    assert [block.path for block in find_last_blocks(model, 1)] == own[1:]
    assert [block.path for block in find_last_blocks(model, 2)] == own
    assert find_last_block(model) is find_last_block(model) is model.get_submodule(own[-1])
    assert all(
        model.get_submodule(block.path) is block.module and block.width == 32 for block in find_all_blocks(model)
    )


def test_more_blocks_than_the_decoder_has_are_refused_with_their_number(build_model: Callable[..., Any]) -> None:
    with pytest.raises(BaseModelError, match="top 3 layers; got a decoder of 2"):
        find_last_blocks(build_model("bart"), 3)


def test_a_model_without_a_list_of_blocks_is_refused(build_model: Callable[..., Any]) -> None:
    model = build_model("gpt2")
    model.transformer.h = nn.Sequential(*model.transformer.h)
    with pytest.raises(BaseModelError, match="GPT2Model"):
        find_all_blocks(model)
