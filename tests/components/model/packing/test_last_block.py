"""The last block cut to chosen tokens; `test_packed_rows.py` compares its logits with those of the whole block."""

import pytest
import torch

from components.model.base.attention_sites import find_attention_layers, find_prefix_shape
from components.model.base.blocks import find_decoder_blocks
from components.model.packing import pack_rows, stack_slots
from components.model.packing.last_block import LastBlock


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_mlp_of_the_last_block_computes_the_chosen_tokens_only(build_model, fixed, kind):
    model, layout = build_model(kind), fixed.layout()
    slots = stack_slots(find_prefix_shape(model), [None, None])
    bare = type(fixed)(fixed.lengths, fixed.owners, [0, 0], None, fixed.wanted).layout()
    sizes = []
    handles = [
        block.module.mlp.register_forward_hook(lambda _mlp, args, _output: sizes.append(args[0].shape[1]))
        for block in find_decoder_blocks(model)
    ]
    inputs = {"input_ids": torch.arange(2, 17)[None], "position_ids": bare.position_N[None], "use_cache": False}
    with pack_rows(model, slots, bare, starts=fixed.wanted):
        sizes.clear()
        hidden = model(**inputs).logits
    for handle in handles:
        handle.remove()
    tokens, chosen = sum(fixed.lengths), sum(fixed.lengths) - sum(fixed.wanted)
    assert sizes == [tokens, chosen]
    assert hidden.shape[1] == tokens
    assert len(layout.position_N) == tokens


def test_modules_of_other_blocks_keep_their_own_keys_and_values(build_model):
    model = build_model("gpt2")
    first, last = find_attention_layers(model)
    block, key = LastBlock(model, torch.tensor([1])), torch.zeros(1, 4, 3, 8)
    assert block.read_keys_and_values(first, key, key) is None
    assert last in block.modules


def test_an_exception_inside_removes_the_hooks(build_model):
    model = build_model("gpt2")
    with pytest.raises(KeyboardInterrupt), LastBlock(model, torch.tensor([1])).cut():
        raise KeyboardInterrupt
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
