"""The layers and the attention of every architecture are described as in docs/bases.md."""

from collections.abc import Callable
from typing import Any

import pytest
from architectures import ALL, HYBRID, HYBRIDS

from components.model.base.layer_facts import describe_attention, describe_layers


@pytest.mark.parametrize("kind", ALL)
def test_attention_is_described_in_the_words_of_the_page(kind: str, build_model: Callable[..., Any]) -> None:
    wanted = f"{HYBRID} recurrent layers" if kind in HYBRIDS else ALL[kind].attention
    assert describe_attention(build_model(kind)) == wanted


REASONS = {
    "qwen3_next": ["no attention (Qwen3NextGatedDeltaNet)", ""],
    "jamba": ["no attention (JambaMambaMixer, JambaMLP)", ""],
    "nemotron_h": ["no attention (NemotronHMamba2Mixer)", "", "no attention (NemotronHMLP)"],
    "falcon_h1": ["", ""],
    "gemma3n_text": ["", "", *["takes the keys and values of an earlier layer, and its slots with them"] * 2],
    "bart": [""] * 5,
}


@pytest.mark.parametrize("kind", REASONS)
def test_layers_without_slots_have_a_reason(kind: str, build_model: Callable[..., Any]) -> None:
    layers = describe_layers(build_model(kind))
    assert [one.reason for one in layers] == REASONS[kind]
    assert all(one.attention or one.reason for one in layers)
    if kind == "bart":
        assert [len(one.attention) for one in layers] == [1, 1, 1, 2, 2]
        assert layers[3].path == "model.decoder.layers.0"
