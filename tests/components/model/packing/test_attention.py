"""Both implementations of packed attention, against one query at a time in float64: outputs and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.model.packing.attention import attend_packed, attend_packed_fused, attend_packed_with_sdpa

IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "fused": attend_packed_fused,
    "plain": attend_packed_with_sdpa,
    "attend": attend_packed,
}
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALE = 0.6
PLAIN = ScoreRule(SCALE)


def tensors(drawn: Any, kv_heads: int, groups: int, size: int, seed: int) -> list[Tensor]:
    """Queries, keys and values of all tokens, keys and values of all slots, and the gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    tokens, slots = len(drawn.tokens), sum(drawn.prefixes)
    shapes = [(tokens, kv_heads * groups), (tokens, kv_heads), (tokens, kv_heads), (slots, kv_heads), (slots, kv_heads)]
    return [torch.randn(*shape, size, generator=generator) for shape in [*shapes, (tokens, kv_heads * groups)]]


def one_at_a_time(
    drawn: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    slots: Tensor,
    values: Tensor,
    rule: ScoreRule = PLAIN,
    span: TokenSpan = ALL_TOKENS,
) -> Tensor:
    """[N, H, D] by the definition."""
    groups = query.shape[1] // key.shape[1]
    outputs = []
    for number, (row, index) in enumerate(drawn.tokens):
        own, first = list(drawn.slots(row, index)), 0
        if span.kind != "all":
            first = max(0, index - span.size + 1) if span.kind == "window" else index - index % span.size
        before = slice(number - index + first, number + 1)
        seen_SKD, read_SKD = torch.cat([slots[own], key[before]]), torch.cat([values[own], value[before]])
        seen_SHD, read_SHD = (one.repeat_interleave(groups, dim=1) for one in (seen_SKD, read_SKD))
        score_SH = rule.scale * (seen_SHD * query[number]).sum(-1)
        if rule.softcap is not None:
            score_SH = rule.softcap * (score_SH / rule.softcap).tanh()
        sink_1H = score_SH[:0] if rule.sink_X is None else rule.sink_X[None].to(score_SH.dtype)
        weight_SH = torch.cat([score_SH, sink_1H]).softmax(0)[: len(score_SH)]
        outputs.append((weight_SH[:, :, None] * read_SHD).sum(0))
    return torch.stack(outputs)


def with_gradients(work: Callable[..., Tensor], given_: list[Tensor], needed: list[bool]) -> list[Tensor]:
    """Return the output, then the gradient of every input that needs one."""
    inputs = [one.clone().requires_grad_(needs) for one, needs in zip(given_[:5], needed, strict=True)]
    output = work(*inputs)
    wanted = [one for one in inputs if one.requires_grad]
    return [output.detach(), *(torch.autograd.grad(output, wanted, given_[5]) if wanted else [])]


def packed(
    implementation: str, layout: Any, rule: ScoreRule = PLAIN, span: TokenSpan = ALL_TOKENS
) -> Callable[..., Tensor]:
    return lambda query, key, value, slots, values: IMPLEMENTATIONS[implementation](
        query, key, value, (slots, values), layout, rule, span
    )


SPANS = st.one_of(st.just(ALL_TOKENS), st.builds(TokenSpan, st.sampled_from(["window", "chunk"]), st.integers(1, 4)))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@MANY
@given(
    data=st.data(),
    kv_heads=st.integers(1, 2),
    groups=st.integers(1, 3),
    size=st.integers(1, 5),
    needed=st.lists(st.booleans(), min_size=5, max_size=5),
    softcap=st.none() | st.floats(0.5, 3),
    has_sinks=st.booleans(),
    span=SPANS,
    seed=st.integers(0, 2**31),
)
def test_equals_one_query_at_a_time(
    ragged, implementation, data, kv_heads, groups, size, needed, softcap, has_sinks, span, seed
):
    drawn = data.draw(ragged)
    given_ = tensors(drawn, kv_heads, groups, size, seed)
    rule = ScoreRule(SCALE, softcap, torch.linspace(-2, 2, kv_heads * groups) if has_sinks else None)
    output = with_gradients(packed(implementation, drawn.layout(), rule, span), given_, needed)
    double = [one.double() for one in given_]
    exact = with_gradients(lambda *args: one_at_a_time(drawn, *args, rule, span), double, needed)
    for one, other in zip(output, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["fused", "plain"])
@MANY
@given(data=st.data(), groups=st.integers(1, 2), span=SPANS, seed=st.integers(0, 2**31))
def test_a_cut_layout_gives_the_same_from_the_wanted_tokens_on(ragged, implementation, data, groups, span, seed):
    drawn = data.draw(ragged)
    query, *others, back = tensors(drawn, 2, groups, 3, seed)
    layout = drawn.layout()
    kept = torch.tensor([index >= drawn.wanted[row] for row, index in drawn.tokens])
    masked = back.masked_fill(~kept[:, None, None], 0.0)
    whole = with_gradients(packed(implementation, layout, span=span), [query, *others, masked], [True] * 5)
    cut_layout = layout.drop_queries_before(drawn.wanted)
    cut = with_gradients(packed(implementation, cut_layout, span=span), [query[kept], *others, back[kept]], [True] * 5)
    torch.testing.assert_close(cut[0], whole[0][kept], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cut[1], whole[1][kept], rtol=1e-4, atol=1e-5)
    for one, other in zip(cut[2:], whole[2:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@MANY
@given(data=st.data(), which=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_values_that_are_not_finite_stay_in_their_own_rows(ragged, implementation, poison, data, which, seed):
    """A NaN in a token or a slot changes no other row, and no gradient of another row's prefix."""
    drawn = data.draw(ragged)
    given_ = tensors(drawn, 2, 2, 3, seed)
    if not len(given_[which]):
        return
    index = data.draw(st.integers(0, len(given_[which]) - 1))
    owner_of = [number for number, length in enumerate(drawn.prefixes) for _ in range(length)]
    if which < 3:
        poisoned = {drawn.tokens[index][0]}
    else:
        poisoned = {row for row, owner in enumerate(drawn.owners) if owner == owner_of[index]}
    poisoned_owners = {drawn.owners[row] for row in poisoned}
    expected = with_gradients(packed(implementation, drawn.layout()), given_, [True] * 5)
    given_[which][index, 0, 0] = poison
    output = with_gradients(packed(implementation, drawn.layout()), given_, [True] * 5)
    unaffected = torch.tensor([row not in poisoned for row, _ in drawn.tokens])
    slots = torch.tensor([owner not in poisoned_owners for owner in owner_of], dtype=torch.bool)
    for number, (one, other) in enumerate(zip(output, expected, strict=True)):
        kept = unaffected if number < 4 else slots
        assert torch.equal(one[kept], other[kept]), number


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(MANY, max_examples=15)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_bfloat16_is_close(ragged, implementation, data, seed):
    drawn = data.draw(ragged)
    given_ = [one.bfloat16() for one in tensors(drawn, 2, 2, 4, seed)]
    exact = with_gradients(lambda *args: one_at_a_time(drawn, *args), [one.double() for one in given_], [True] * 5)
    for one, other in zip(
        with_gradients(packed(implementation, drawn.layout()), given_, [True] * 5), exact, strict=True
    ):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.double(), other, rtol=0.1, atol=0.1)
