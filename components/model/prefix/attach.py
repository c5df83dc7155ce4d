"""Attach prefixes to any model that uses transformers' attention interface, without changing the model's code.

Inside `attach_prefixes`, every attention call puts the row's prefix before its own keys and values and widens the mask.
Windows and chunks are those of transformers' masks, and the slots are outside of them: every token sees them. The slots
of an infix are visible to target tokens only. A layer that runs without its prefix is an error.

Recurrent layers take a row's initial states from the cache. A forward without a cache gets one. A decoder with a cache
puts the states of `Attachment.take_states` there, at each row's first token.

In decoder-only models the positions of a row's tokens start at the length of its prefix, as with a prefilled cache. In
encoder-decoder models tokens keep the base's own positions, and prefix slots have no relative position bias.

Knows the attention interface; does not know architectures, tokenisers, decoding or training.

Shapes: B batch rows, H key/value heads, P slots of the longest prefix, T query tokens, S keys, D head size.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from components.errors import BaseModelError
from components.model.base.attention_interface import ATTENTION_WITH_MASK, override_attention
from components.model.base.attention_scores import attend_with_mask
from components.model.base.attention_sites import AttentionLayer, find_attention_layers, make_unsupported_base_error
from components.model.base.encoder_padding import register_right_padding_hooks
from components.model.base.shapes import DECODER, ENCODER, INFIX, LayerShape, SiteShape
from components.model.prefix.batch import PrefixBatch, stack_prefixes
from components.model.prefix.initial_states import InitialStates
from components.model.prefix.prefix import Prefix


def compute_positions(attention_mask_BT: Tensor, lengths_B: Tensor | Sequence[int]) -> Tensor:
    """Return position ids [B, T]: a row's first real token gets the length of its prefix, whatever the padding."""
    lengths = torch.as_tensor(lengths_B, dtype=torch.long, device=attention_mask_BT.device)
    return (attention_mask_BT.long().cumsum(-1) - 1).clamp(min=0) + lengths[:, None]


@contextmanager
def attach_prefixes(
    model: Any, rows: Sequence[Prefix | None], starts_B: Tensor | None = None
) -> Iterator["Attachment | None"]:
    """Inside, `model` computes with one prefix per batch row; rows with `None` or an empty prefix use the bare base.

    A forward's batch may repeat every row n times, one after the other (beam search). Without `position_ids`, a forward
    of a decoder-only model gets those of `compute_positions`; pass them to `generate`, which makes its own otherwise.
    Infixes need `starts_B`, the column of each row's first token after the infix. Nest no second `attach_prefixes` on
    the same model, and use the model from one thread. With gradient checkpointing, call `backward` inside too: it
    recomputes the forward, and outside torch raises CheckpointError.

    Raises:
        BaseModelError: a prefix does not fit the model, or the model does not use the attention interface.
        ValueError: the batch size is not a multiple of the rows, or infixes come without `starts_B`; or a forward with
            initial states has a cache, padding on the left, or a single token.
    """
    prefix_batch = stack_prefixes(rows, model.device, model.dtype)
    if prefix_batch.is_empty:
        yield None
        return
    if prefix_batch.is_infix and starts_B is None:
        raise ValueError("wanted starts_B with infixes; got None")
    sites = find_attention_layers(model)
    _check_fits(model, prefix_batch, sites)
    if prefix_batch.states:
        from components.model.base.recurrent_states import fit_states

        prefix_batch = replace(prefix_batch, states=fit_states(model, prefix_batch.states))
    attachment = Attachment(model, prefix_batch.cut_heads(model), sites, starts_B if prefix_batch.is_infix else None)
    with ExitStack() as stack:
        stack.enter_context(override_attention(model, sites, attachment, ATTENTION_WITH_MASK))
        for handle in attachment.register_hooks():
            stack.callback(handle.remove)
        yield attachment


class Attachment:
    """Adds the rows' prefixes to every attention call, and checks after each forward that every layer has used them."""

    def __init__(
        self, model: Any, prefix_batch: PrefixBatch, sites: dict[nn.Module, AttentionLayer], starts_B: Tensor | None
    ) -> None:
        self.model, self.prefix_batch, self.attention_layers = model, prefix_batch, sites
        self.starts_B = None if starts_B is None else starts_B.to(model.device)
        self.is_suspended = False
        self._repeated_by_batch_size: dict[int, tuple[PrefixBatch, Tensor | None]] = {}
        self._used_modules: set[nn.Module] = set()

    def keep(self, index_B: Tensor) -> None:
        """Keep only these rows, in this order, for the next forwards."""
        self.prefix_batch = self.prefix_batch.select(index_B)
        if self.starts_B is not None:
            self.starts_B = self.starts_B[index_B]
        self._repeated_by_batch_size.clear()

    def take_states(self) -> InitialStates:
        """Return the rows' initial states for the caller's cache; later forwards add none."""
        states, self.prefix_batch = self.prefix_batch.states, replace(self.prefix_batch, states={})
        self._repeated_by_batch_size.clear()
        return states

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Inside, the model computes without prefixes, for any number of rows; tokens need positions of their own."""
        self.is_suspended = True
        try:
            yield
        finally:
            self.is_suspended = False

    def register_hooks(self) -> list[Any]:
        """Add hooks that prepare and check every forward. The caller removes the returned handles."""
        if not self.model.config.is_encoder_decoder:
            # Hook the decoder: some models with heads call it without calling their own forward hooks.
            body = self.model.get_decoder()
            return [
                body.register_forward_pre_hook(self._prepare_forward, with_kwargs=True),
                body.register_forward_hook(lambda *_: self._check_layers_used(DECODER)),
            ]
        encoder, decoder = self.model.get_encoder(), self.model.get_decoder()
        reset = [part.register_forward_pre_hook(lambda *_: self._used_modules.clear()) for part in (encoder, decoder)]
        finish = [
            encoder.register_forward_hook(lambda *_: self._check_layers_used(ENCODER)),
            decoder.register_forward_hook(lambda *_: self._check_layers_used(DECODER)),
        ]
        return [*reset, *finish, *register_right_padding_hooks(encoder)]

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`."""
        key, value, mask = self.prepend_prefixes(module, query, key, value, mask)
        bias = kwargs.get("position_bias")
        if bias is not None:
            kwargs["position_bias"] = pad(bias, (key.shape[2] - bias.shape[3], 0))
        return attend_with_mask(module, query, key, value, mask, **kwargs)

    def prepend_prefixes(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys, values and mask of one attention call with the rows' slots before the tokens."""
        site = self.attention_layers[module]
        if mask is None:
            mask = _make_full_mask(query, key, site)
        self._used_modules.add(module)
        if self.is_suspended:
            return key, value, mask
        name = INFIX if site.site == DECODER and self.prefix_batch.is_infix else site.site
        prefix_batch, starts_B = self._repeat_for_batch(key.shape[0])
        key_BHPD, value_BHPD = prefix_batch.pairs_by_site[name][site.layer]
        mask_BP = prefix_batch.mask_BP.to(mask.device)
        slots_B1TP = mask_BP[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
        if name == INFIX:
            assert starts_B is not None  # noqa: S101 - checked by attach_prefixes
            columns_T = torch.arange(mask.shape[3] - mask.shape[2], mask.shape[3], device=mask.device)
            slots_B1TP = slots_B1TP & (columns_T >= starts_B.to(mask.device)[:, None])[:, None, :, None]
        if mask.dtype != torch.bool:
            slots_B1TP = torch.where(slots_B1TP, 0.0, torch.finfo(mask.dtype).min).to(mask.dtype)
        mask = mask.expand(key.shape[0], -1, -1, -1)
        return (
            torch.cat([key_BHPD.to(key), key], dim=2),
            torch.cat([value_BHPD.to(value), value], dim=2),
            torch.cat([slots_B1TP, mask], dim=3),
        )

    def _prepare_forward(
        self, _body: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._used_modules.clear()
        tokens = args[0] if args else kwargs.get("input_ids")
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        if self.is_suspended:
            return args, kwargs
        prefix_batch, starts_B = self._repeat_for_batch(tokens.shape[0])
        if kwargs.get("attention_mask") is None:
            # Without a mask, transformers takes the gap in positions before an infix for the start of a packed text.
            cache = kwargs.get("past_key_values")
            past = cache.get_seq_length() if cache is not None else 0
            kwargs["attention_mask"] = torch.ones(
                tokens.shape[0], past + tokens.shape[1], dtype=torch.long, device=tokens.device
            )
        if kwargs.get("position_ids") is None:
            kwargs["position_ids"] = _derive_positions(
                tokens.shape[1], kwargs["attention_mask"], prefix_batch, starts_B
            )
        if prefix_batch.states:
            from components.model.base.state_cache import start_forward

            cache = start_forward(self.model.config, prefix_batch.states, tokens.shape[1], kwargs)
            kwargs["past_key_values"] = cache
        return args, kwargs

    def _check_layers_used(self, part: str) -> None:
        wanted = {
            module for module, site in self.attention_layers.items() if (site.site == ENCODER) == (part == ENCODER)
        }
        if not wanted <= self._used_modules:
            raise make_unsupported_base_error(
                self.model, f"{len(wanted & self._used_modules)} of {len(wanted)} attention layers with a prefix"
            )

    def _repeat_for_batch(self, batch: int) -> tuple[PrefixBatch, Tensor | None]:
        if batch not in self._repeated_by_batch_size:
            rows = len(self.prefix_batch.lengths_B)
            if batch % rows:
                raise ValueError(f"wanted a batch size that is a multiple of {rows}; got {batch}")
            times = batch // rows
            starts_B = None if self.starts_B is None else self.starts_B.repeat_interleave(times)
            self._repeated_by_batch_size[batch] = self.prefix_batch.repeat(times), starts_B
        return self._repeated_by_batch_size[batch]


def _check_fits(model: Any, prefix_batch: PrefixBatch, sites: dict[nn.Module, AttentionLayer]) -> None:
    wanted: dict[str, list[LayerShape]] = {}
    for layer in sites.values():
        if not layer.is_shared:
            name = INFIX if prefix_batch.is_infix and layer.site == DECODER else layer.site
            wanted.setdefault(name, []).append(layer.shape)
    got = {
        name: [LayerShape(key.shape[1], key.shape[3], value.shape[3]) for key, value in pairs]
        for name, pairs in prefix_batch.pairs_by_site.items()
    }
    if wanted != got:
        texts = [
            "; ".join(f"{name}: {SiteShape.from_layers(own)}" for name, own in side.items()) for side in (wanted, got)
        ]
        wanted_text = f"a prefix for {type(model).__name__} ({texts[0]})"
        raise BaseModelError(wanted_text, texts[1], "use the base that the prefix was trained on")


def _derive_positions(count: int, mask_BT: Tensor, prefix_batch: PrefixBatch, starts_B: Tensor | None) -> Tensor:
    """Positions of the last `count` tokens; after an infix they continue from its last slot."""
    if mask_BT.dim() != 2:
        raise ValueError("wanted position_ids together with an attention mask that is not [batch, tokens]")
    if starts_B is None:
        return compute_positions(mask_BT, prefix_batch.lengths_B)[:, -count:]
    is_after_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device) >= starts_B[:, None]
    return (
        compute_positions(mask_BT, torch.zeros_like(prefix_batch.lengths_B))
        + is_after_BT * prefix_batch.lengths_B[:, None]
    )[:, -count:]


def _make_full_mask(query: Tensor, key: Tensor, site: AttentionLayer) -> Tensor:
    if site.site != DECODER:
        return torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool, device=key.device)
    key_S = torch.arange(key.shape[2], device=key.device)
    query_T1 = key_S[key.shape[2] - query.shape[2] :, None]
    return ((key_S <= query_T1) & site.span.is_near(query_T1, key_S))[None, None]
