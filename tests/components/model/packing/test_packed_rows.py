"""Packed rows against padded rows with attached prefixes: logits, gradients, a cut last block, unsupported models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from architectures import ATTACHED, COUNT_COLUMNS, DECODERS, RECENT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_paths import turn_off_unless
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.shapes import INFIX
from components.model.packing import is_packable, pack_rows, stack_slots
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.prefix import Prefix

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def prefixes_of(model: Any, lengths: list[int], *, infix: bool) -> list[Prefix]:
    shape, made = find_prefix_shape(model), []
    for number, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(number)
        values = torch.randn(shape.layers, 2, shape.kv_heads, length, shape.head_dim, generator=generator)
        made.append(Prefix.from_sites({INFIX if infix else "decoder.self": values.requires_grad_()}))
    return made


def texts_of(drawn: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(drawn.lengths))
    return [torch.randint(2, 67, (length,), generator=generator) for length in drawn.lengths]


def padded_logits(model: Any, drawn: Any, prefixes: list[Prefix]) -> Tensor:
    """Logits [N, V] of all tokens, from padded rows."""
    texts, longest = texts_of(drawn), max(drawn.lengths)
    ids = torch.stack([torch.nn.functional.pad(text, (0, longest - len(text)), value=1) for text in texts])
    mask = torch.arange(longest) < torch.tensor(drawn.lengths)[:, None]
    rows = [prefixes[owner] for owner in drawn.owners]
    starts = None if drawn.starts is None else torch.tensor(drawn.starts)
    with attach_prefixes(model, rows, starts):
        return model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[mask]


def packed_logits(model: Any, drawn: Any, prefixes: list[Prefix], **values: Any) -> Tensor:
    layout, slots = drawn.layout(), stack_slots(find_prefix_shape(model), prefixes)
    with pack_rows(model, slots, layout, **values):
        inputs = {"input_ids": torch.cat(texts_of(drawn))[None], "position_ids": layout.position_N[None]}
        return model(**inputs, use_cache=False).logits[0]


def gradients(logits: Tensor, kept: Tensor, prefixes: list[Prefix]) -> list[Tensor]:
    """Gradients of all slots, from the kept logits."""
    tensors = [tensor for prefix in prefixes if prefix.length for tensor in prefix.tensors.values()]
    back = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))[kept]
    result = torch.autograd.grad(logits[kept], tensors, back, allow_unused=True)
    return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(tensors, result, strict=True)]


@pytest.mark.parametrize("fused_attention", [True, False])
@pytest.mark.parametrize("kind", DECODERS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), cut=st.booleans())
def test_equals_attached_prefixes_and_their_gradients(build_model, ragged, kind, fused_attention, data, cut):
    model, drawn = once(build_model, kind), data.draw(ragged)
    prefixes = prefixes_of(model, drawn.prefixes, infix=drawn.starts is not None)
    kept = torch.tensor([not cut or column >= drawn.wanted[row] for row, column in drawn.tokens])
    expected = padded_logits(model, drawn, prefixes)
    with turn_off_unless(fused_attention=fused_attention):
        result = packed_logits(model, drawn, prefixes, starts=drawn.wanted if cut else None)
    torch.testing.assert_close(result[kept], expected[kept], **CLOSE)
    if any(drawn.prefixes[owner] for owner in drawn.owners):
        pairs = zip(gradients(result, kept, prefixes), gradients(expected, kept, prefixes), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


_made: dict[str, Any] = {}


def once(build_model: Callable[..., Any], kind: str) -> Any:
    return _made.setdefault(kind, build_model(kind))


@pytest.mark.parametrize("kind", DECODERS)
def test_a_checkpointed_model_computes_the_same(build_model, fixed, kind):
    model = once(build_model, kind)
    prefixes = prefixes_of(model, fixed.prefixes, infix=False)
    everything = torch.ones(sum(fixed.lengths), dtype=torch.bool)
    expected = padded_logits(model, fixed, prefixes)
    wanted = gradients(expected, everything, prefixes)
    layout, slots = fixed.layout(), stack_slots(find_prefix_shape(model), prefixes)
    with checkpoint_blocks(model), pack_rows(model, slots, layout, starts=fixed.wanted):
        inputs = {"input_ids": torch.cat(texts_of(fixed))[None], "position_ids": layout.position_N[None]}
        logits = model(**inputs, use_cache=False).logits[0]
        result = gradients(logits, everything, prefixes)
    torch.testing.assert_close(logits, expected, **CLOSE)
    for one, other in zip(result, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", RECENT)
def test_rows_beyond_windows_are_packed_or_are_found_not_to_be(build_model, fixed, kind):
    model = build_model(kind)
    assert is_packable(model) == (kind not in COUNT_COLUMNS + ATTACHED)
    if not is_packable(model):
        return
    long = type(fixed)([13, 3, 9], [1, 0, 1], [2, 3], None, [5, 0, 4])
    prefixes = prefixes_of(model, long.prefixes, infix=False)
    kept = torch.tensor([column >= long.wanted[row] for row, column in long.tokens])
    expected = padded_logits(model, long, prefixes)
    wanted = gradients(expected, kept, prefixes)
    for fused_attention in (True, False):
        with turn_off_unless(fused_attention=fused_attention):
            logits = packed_logits(model, long, prefixes, starts=long.wanted)
        torch.testing.assert_close(logits[kept], expected[kept], **CLOSE)
        for one, other in zip(gradients(logits, kept, prefixes), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", DECODERS)
def test_decoder_only_models_of_the_interface_are_packable(build_model, kind):
    assert is_packable(once(build_model, kind))


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_encoder_decoder_models_are_not_packable(build_model, kind):
    assert not is_packable(build_model(kind))


@contextmanager
def shifted(model: Any) -> Iterator[None]:
    """Inside, the first block adds 1 % of the previous token, which belongs to another row in packed rows."""

    def shift(_block: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        mixed = hidden + 0.01 * torch.nn.functional.pad(hidden[:, :-1], (0, 0, 1, 0))
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    handle = model.transformer.h[0].register_forward_hook(shift)
    yield
    handle.remove()


def test_a_model_that_mixes_neighbours_is_not_packable(build_model):
    model = build_model("gpt2", seed=5)
    with shifted(model):
        assert not is_packable(model)


def test_a_layer_that_leaves_its_prefix_unused_is_refused(build_model, fixed):
    model = build_model("gpt2", seed=6)
    prefixes = prefixes_of(model, fixed.prefixes, infix=False)
    packed_logits(model, fixed, prefixes)
    model.transformer.h[1].forward = lambda hidden, *_args, **_kwargs: hidden
    with pytest.raises(BaseModelError, match="1 of 2 attention layers with a prefix"):
        packed_logits(model, fixed, prefixes)
    del model.transformer.h[1].forward
    torch.testing.assert_close(packed_logits(model, fixed, prefixes), padded_logits(model, fixed, prefixes), **CLOSE)


def test_slots_of_another_base_are_refused_and_no_slots_are_accepted(build_model, fixed):
    gpt2, llama = once(build_model, "gpt2"), once(build_model, "llama")
    with pytest.raises(BaseModelError, match="key/value heads"):
        stack_slots(find_prefix_shape(gpt2), prefixes_of(llama, [2], infix=False))
    bare = type(fixed)(fixed.lengths, [0, 0, 0], [0], None, fixed.wanted)
    result = packed_logits(gpt2, bare, prefixes_of(gpt2, [0], infix=False))
    torch.testing.assert_close(result, padded_logits(gpt2, bare, prefixes_of(gpt2, [0], infix=False)), **CLOSE)
    assert stack_slots(find_prefix_shape(gpt2), [None]).shape == (2, 2, 0, 4, 8)


def test_the_model_does_not_change(build_model, fixed):
    model = build_model("llama", seed=7)
    is_packable(model)
    ids, before = torch.arange(2, 9)[None], model.config._attn_implementation
    expected = model(input_ids=ids).logits
    with (
        pytest.raises(KeyboardInterrupt),
        pack_rows(model, stack_slots(find_prefix_shape(model), [None]), fixed.layout()),
    ):
        raise KeyboardInterrupt
    packed_logits(model, fixed, prefixes_of(model, fixed.prefixes, infix=False), starts=fixed.wanted)
    assert model.config._attn_implementation == before
    assert torch.equal(model(input_ids=ids).logits, expected)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
