"""Attention sites of every architecture, and models that prefixes cannot be attached to."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from architectures import DECODERS, PAIRS, RECENT, WINDOW

from components.errors import BaseModelError
from components.model.base import attention_sites
from components.model.base.attention_sites import find_attention_layers, find_prefix_shape
from components.model.base.shapes import CROSS, DECODER, ENCODER
from components.model.base.span_check import check_spans


@pytest.mark.parametrize("kind", [*DECODERS, *PAIRS])
def test_every_site_is_found(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    shape = find_prefix_shape(model)
    assert list(shape.sites) == ([ENCODER, DECODER, CROSS] if kind in PAIRS else [DECODER])
    heads = 2 if kind in ("llama", "qwen2") else 4
    assert {(one.kv_heads, one.head_dim) for one in shape.sites.values()} == {(heads, 8)}
    assert shape.layers == 2
    if kind in PAIRS:
        assert shape.encoder is not None
        assert shape.encoder.layers == model.config.num_hidden_layers


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_layers_of_a_site_are_numbered_in_order_and_found_once(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    layers = find_attention_layers(model)
    assert find_attention_layers(model) is layers
    for site, count in {DECODER: 2, **({ENCODER: 3, CROSS: 2} if kind == "bart" else {})}.items():
        assert [one.layer for one in layers.values() if one.site == site] == list(range(count))


@pytest.mark.parametrize("kind", RECENT)
def test_what_a_token_sees_is_found_for_each_layer(build_model: Callable[..., Any], kind: str) -> None:
    layers = find_attention_layers(build_model(kind)).values()
    text = RECENT[kind].attention
    near = f"a {'chunk' if 'chunk' in text else 'window'} of {WINDOW} tokens"
    wanted = {"all tokens"} if text.startswith(("full", "latent")) else set()
    assert {str(one.span) for one in layers} == wanted | ({near} if "window" in text or "chunk" in text else set())
    assert any(one.is_shared for one in layers) == ("share" in text)
    assert all(one.has_plain_scores for one in layers) != ("capped" in text or "sinks" in text)


def test_a_mask_given_by_name_is_watched() -> None:
    """Most models pass the mask to the attention interface by its place, this one by its name."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = make_model("AfmoeConfig", num_hidden_layers=2, head_dim=8, **sizes)
    assert [one.layer for one in find_attention_layers(model).values()] == [0, 1]
    check_spans(model, context=64)


def make_model(config: str, **sizes: Any) -> Any:
    import transformers as hf

    return hf.AutoModelForCausalLM.from_config(getattr(hf, config)(vocab_size=67, **sizes))


@pytest.mark.parametrize(
    ("config", "sizes", "name"),
    [
        ("BloomConfig", {"hidden_size": 16, "n_layer": 2, "n_head": 2}, "BloomForCausalLM"),
        ("MptConfig", {"d_model": 16, "n_heads": 2, "n_layers": 2}, "MptForCausalLM"),
        ("MambaConfig", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}, "MambaForCausalLM"),
    ],
)
def test_a_model_without_the_attention_interface_is_refused(config: str, sizes: dict[str, int], name: str) -> None:
    with pytest.raises(BaseModelError, match=f"attention interface in every layer; got {name}"):
        find_prefix_shape(make_model(config, **sizes))


def test_a_model_that_needs_a_cache_of_its_own_is_refused() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    with pytest.raises(BaseModelError, match=r"usual cache .* got MiniMaxForCausalLM: a forward fails"):
        find_prefix_shape(make_model("MiniMaxConfig", num_hidden_layers=2, head_dim=8, num_local_experts=2, **sizes))


def test_a_model_is_refused_where_python_removes_asserts() -> None:
    """`python -O` compiles with optimize=1."""
    path = Path(attention_sites.__file__)
    module = ModuleType("attention_sites_without_asserts")
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec", optimize=1), module.__dict__)
    with pytest.raises(BaseModelError, match="got MptForCausalLM"):
        module.find_prefix_shape(make_model("MptConfig", d_model=16, n_heads=2, n_layers=2))
