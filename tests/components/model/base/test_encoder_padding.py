"""Rows padded on the left are encoded as padded on the right, and their output keeps the order of the input."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.model.base.encoder_padding import register_right_padding_hooks


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bart", "t5", "marian"])
@pytest.mark.parametrize("arguments", ["keywords", "positional", "embeddings"])
def test_a_left_padded_row_equals_the_row_alone(build_model: Callable[..., Any], kind: str, arguments: str) -> None:
    encoder = build_model(kind).get_encoder()
    ids = torch.tensor([[1, 1, 5, 6, 7], [8, 9, 10, 11, 12], [1, 1, 1, 1, 13]])
    mask = (ids != 1).long()
    handles = register_right_padding_hooks(encoder)
    if arguments == "keywords":
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    elif arguments == "positional":
        states = encoder(ids, attention_mask=mask).last_hidden_state
    else:
        embeds = encoder.get_input_embeddings()(ids)
        states = encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    unmasked = encoder(input_ids=ids[1:2]).last_hidden_state
    for handle in handles:
        handle.remove()
    for row in range(3):
        alone = encoder(input_ids=ids[row, mask[row].bool()][None]).last_hidden_state[0]
        torch.testing.assert_close(states[row, mask[row].bool()], alone, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(unmasked[0], states[1], rtol=0.0, atol=1e-5)
    assert not encoder._forward_hooks
    assert not encoder._forward_pre_hooks
