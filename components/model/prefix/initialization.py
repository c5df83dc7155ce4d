"""Initial values of prefixes and soft prompts: the base's activations of real words, small random values, or zeros.

Real words give better results than random values (Li & Liang 2021, section 7.4). With BOS in slot 0, the words follow
it, as in one text. Knows the base, prefixes and soft prompts; does not know training.

Shapes: P slots, W width of the token embeddings.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from components.errors import BaseModelError, ConfigError
from components.model.base.attention_sites import find_attention_layers, record_attention_calls
from components.model.base.load import Base
from components.model.base.shapes import PrefixShape
from components.model.base.tensor_parallel import gather_heads
from components.model.prefix.prefix import Prefix
from components.model.ranks import run_on_all_ranks

Initialization = Literal["text", "random", "zero"]
_RANDOM_SCALE = 0.02


def make_initial_prefix(
    base: Base,
    length: int,
    initialization: Initialization,
    text: str,
    seed: int,
    *,
    infix: bool = False,
    bos_id: int | None = None,
) -> Prefix:
    """Make a prefix of `length` slots for every site of the base, or an infix.

    With `bos_id` its slots follow that token's, which is not among them.

    Raises:
        ConfigError: the prefix fills the base's context, or the text has no token.
        BaseModelError: an infix for an encoder-decoder model.
    """
    check_prefix_length(base, length)
    if infix and base.is_encoder_decoder:
        got = f"infix and {type(base.model).__name__}, whose decoder reads the target only"
        raise BaseModelError("a decoder-only base for an infix", got, "set train.method to prefix")
    if initialization == "text" and length:
        prefix = make_text_prefix(base, text, length, bos_id=bos_id)
    else:
        prefix = make_random_prefix(base.shape, length, seed, 0.0 if initialization == "zero" else _RANDOM_SCALE)
    return prefix.to_infix() if infix else prefix


def make_initial_prompt(base: Base, length: int, initialization: Initialization, text: str, seed: int) -> Tensor:
    """Make a soft prompt [P, W]: embeddings of the text's tokens, random values, or zeros.

    Random values have the standard deviation of the base's token embeddings.

    Raises:
        ConfigError: as `make_initial_prefix`.
        BaseModelError: an encoder-decoder base.
    """
    check_prefix_length(base, length)
    if base.is_encoder_decoder:
        got = f"embedding and {type(base.model).__name__}"
        raise BaseModelError("a decoder-only base for a soft prompt", got, "set train.method to prefix")
    embeddings = base.model.get_input_embeddings()
    width = embeddings.weight.shape[1]
    if initialization == "text" and length:
        return embed_tokens(base, _repeat_text_ids(base, text, length))
    scale = 0.0 if initialization == "zero" else float(embeddings.weight.detach().float().std())
    return scale * torch.randn(length, width, generator=torch.Generator().manual_seed(seed))


def make_text_prefix(base: Base, text: str, length: int, *, bos_id: int | None = None) -> Prefix:
    """Compute the base's keys and values of the text's tokens, repeated or cut to `length` tokens, in float32.

    Before training, this prefix has the effect of that text at the start of a decoder-only base's context; with
    `bos_id`, together with that token's slot in front, of the token and the text. In an encoder-decoder base both sides
    read the text, and each site gets the keys and values of its own attention.

    Raises:
        ConfigError: the prefix fills the base's context, or the text has no token.
    """
    check_prefix_length(base, length)
    if not length:
        return make_random_prefix(base.shape, 0, seed=0)
    before = [] if bos_id is None else [bos_id]
    return make_token_prefix(base, [*before, *_repeat_text_ids(base, text, length)]).drop_slots(len(before))


def make_token_prefix(base: Base, ids: Sequence[int]) -> Prefix:
    """Compute the base's keys and values of these tokens at the start of its context, in float32."""
    prefix: Prefix = run_on_all_ranks(_compute_token_prefix, base, tuple(ids))
    return prefix


@torch.no_grad()
def _compute_token_prefix(base: Base, ids: Sequence[int]) -> Prefix:
    ids_BT = torch.tensor([list(ids)], device=base.device)
    decoder = {"decoder_input_ids": ids_BT} if base.is_encoder_decoder else {}
    with record_attention_calls(base.model) as calls:
        base.model(input_ids=ids_BT, use_cache=False, **decoder)
    sites = find_attention_layers(base.model)
    layers: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for call in calls:
        if not sites[call.module].is_shared:
            key, value = (
                gather_heads(base.model, one[0], dim=0).float().cpu().clone() for one in (call.key, call.value)
            )
            layers.setdefault(sites[call.module].site, []).append((key, value))
    return Prefix.from_layers(layers)


def embed_tokens(base: Base, ids: Sequence[int]) -> Tensor:
    """Return the base's embeddings of these tokens as a soft prompt [P, W], in float32."""
    embeddings = base.model.get_input_embeddings()
    prompt_PW: Tensor = embeddings(torch.tensor(list(ids), device=base.device)).detach().float().cpu()
    return prompt_PW


def make_random_prefix(shape: PrefixShape, length: int, seed: int, scale: float = _RANDOM_SCALE) -> Prefix:
    """Draw normal values of standard deviation `scale` from `seed` only; the global generator is not used."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> Tensor:
        return scale * torch.randn(*sizes, generator=generator)

    layers: dict[str, Sequence[tuple[Tensor, Tensor]]] = {}
    for site, one in shape.sites.items():
        if one.uneven:
            sizes = [(each.kv_heads, length, each.key_dim, each.value_dim) for each in one.each]
            layers[site] = [(draw(heads, slots, key), draw(heads, slots, value)) for heads, slots, key, value in sizes]
        else:
            values_L2HPD = draw(one.layers, 2, one.kv_heads, length, one.head_dim)
            layers[site] = [(key_HPD, value_HPD) for key_HPD, value_HPD in values_L2HPD]
    return Prefix.from_layers(layers)


def check_prefix_length(base: Base, length: int) -> None:
    """Raise ConfigError if a prefix of `length` slots fills the base's context."""
    if length >= base.context:
        wanted = f"a prefix that leaves room in the context of {base.context} tokens"
        got = f"train.prefix_length {length}"
        raise ConfigError(wanted, got, "set a smaller train.prefix_length, or use a base with a longer context")


def check_init_text(base: Base, text: str, length: int) -> None:
    """Raise ConfigError if `train.init_text` has more tokens than the `length` slots that start from it."""
    count = len(base.text_codec.encode_words(text))
    if count > length:
        got = f"{count} tokens ({text if len(text) <= 60 else f'{text[:57]}...'!r})"
        fix = f"shorten it, or raise train.prefix_length by {count - length} or more"
        raise ConfigError(f"a train.init_text of at most {length} tokens, one for each slot", got, fix)


def _repeat_text_ids(base: Base, text: str, length: int) -> list[int]:
    ids = base.text_codec.encode_words(text)
    if not ids:
        raise ConfigError("a text to start the prefix from", f"{text!r}", "set train.init_text to a few words")
    return list((ids * (length // len(ids) + 1))[:length])
