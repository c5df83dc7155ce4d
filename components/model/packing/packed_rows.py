"""Run a decoder-only model over concatenated rows, each with its own prefix, without padding.

`pack_rows` computes the same as `components.model.prefix.attach.attach_prefixes`, up to rounding.
Knows the attention interface; does not know architectures, losses or tenants.

Shapes: L layers, 2 for key and value, N tokens of all rows, Q slots of all prefixes, H key/value heads, D head size.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_interface import ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_scores import ScoreRule
from components.model.base.attention_sites import (
    AttentionLayer,
    find_attention_layers,
    find_prefix_shape,
    find_rounding_noise,
    make_unsupported_base_error,
)
from components.model.base.blocks import find_last_block
from components.model.base.checkpointing import is_checkpointed
from components.model.base.column_counts import counts_columns
from components.model.base.shapes import PrefixShape
from components.model.base.tensor_parallel import cut_heads
from components.model.base.token_limits import count_token_rows
from components.model.packing.attention import attend_packed
from components.model.packing.last_block import LastBlock
from components.model.packing.layout import PackedLayout
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.prefix import Prefix
from components.model.ranks import run_on_all_ranks

_PROBE_STARTS = (1, 1)
_support_by_model: "WeakKeyDictionary[nn.Module, _PackingSupport]" = WeakKeyDictionary()


def stack_slots(shape: PrefixShape, prefixes: Sequence[Prefix | None]) -> Tensor:
    """Concatenate the slots of all prefixes (or all infixes) to one tensor [L, 2, Q, H, D]; gradients flow back.

    Raises:
        BaseModelError: a prefix has another shape than `shape`, or the layers of `shape` differ.
    """
    for prefix in prefixes:
        if prefix is not None:
            prefix.check_fits(shape)
    stacked = [prefix.stack_decoder_site() for prefix in prefixes if prefix is not None and prefix.length]
    if not stacked:
        return torch.zeros(shape.layers, 2, 0, shape.kv_heads, shape.head_dim)
    return torch.cat(stacked, dim=3).transpose(2, 3).contiguous()


@contextmanager
def pack_rows(
    model: Any,
    slots_L2QHD: Tensor,
    layout: PackedLayout,
    *,
    starts: Sequence[int] | None = None,
) -> Iterator[None]:
    """Inside, `model` computes the rows of `layout`; `slots_L2QHD` are the slots of the layout's prefixes, in order.

    Pass to every forward the tokens of all rows as `input_ids` [1, N], the layout's `position_ids` [1, N], no attention
    mask, and `use_cache=False`. With checkpointed blocks, call `backward` inside too. With `starts`, only the logits
    from token `starts[row]` of each row on are valid: the last block computes no others (unless it is checkpointed).

    Raises:
        BaseModelError: the model is not packable (`is_packable`).
    """
    sites = find_attention_layers(model)
    if starts is not None and (
        not _find_packing_support(model).can_cut_last_block or is_checkpointed(find_last_block(model))
    ):
        starts = None
    own_L2QHD = cut_heads(model, slots_L2QHD, dim=3).to(model.dtype)
    slots_by_layer = [slots.unbind(0) for slots in own_L2QHD.unbind(0)]
    rows = _PackedAttention(sites, slots_by_layer, layout)
    with ExitStack() as stack:
        stack.enter_context(override_attention(model, sites, rows, ATTENTION_WITHOUT_MASK))
        stack.callback(model.get_decoder().register_forward_hook(lambda *_: rows.check_layers_used(model)).remove)
        if starts is not None:
            stack.enter_context(rows.cut_last_block(model, starts))
        yield


def is_packable(model: Any) -> bool:
    """Whether a model computes packed rows as padded ones. Probed once per model and cached."""
    return _find_packing_support(model).can_pack


@dataclass(frozen=True, slots=True)
class _PackingSupport:
    """Whether a model can compute packed rows, and whether its last block can skip positions."""

    can_pack: bool = False
    can_cut_last_block: bool = False


def _find_packing_support(model: Any) -> _PackingSupport:
    if model not in _support_by_model:
        run_on_all_ranks(_probe_packing_support, model)
    return _support_by_model[model]


def _probe_packing_support(model: Any) -> None:
    if model not in _support_by_model:
        _support_by_model[model] = _PackingSupport()
        is_candidate = not model.config.is_encoder_decoder and find_prefix_shape(model).is_even
        is_candidate = is_candidate and not counts_columns(model)
        if is_candidate and _matches_padded_logits(model, None):
            _support_by_model[model] = _PackingSupport(can_pack=True, can_cut_last_block=True)
            _support_by_model[model] = _PackingSupport(
                can_pack=True, can_cut_last_block=_matches_padded_logits(model, _PROBE_STARTS)
            )


class _PackedAttention:
    """Computes the attention of every layer with that layer's slots, and records which layers have called it."""

    def __init__(
        self,
        sites: dict[nn.Module, AttentionLayer],
        slots_by_layer: Sequence[tuple[Tensor, ...]],
        layout: PackedLayout,
    ) -> None:
        self.attention_layers, self.slots_by_layer, self.layout = sites, slots_by_layer, layout
        self.used_modules: set[nn.Module] = set()
        self.last_block: LastBlock | None = None
        self.last_layout = layout

    @contextmanager
    def cut_last_block(self, model: Any, starts: Sequence[int]) -> Iterator[None]:
        """Inside, the last block computes only the tokens of each row from `starts` on."""
        real_BT = self.layout.query_BT < len(self.layout.position_N)
        column_T = torch.arange(real_BT.shape[1], device=real_BT.device)
        chosen_BT = real_BT & (column_T >= torch.tensor(starts, device=real_BT.device)[:, None])
        self.last_block = LastBlock(model, self.layout.query_BT[chosen_BT])
        self.last_layout = self.layout.drop_queries_before(starts)
        with self.last_block.cut():
            yield

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`; the batch is one row."""
        del mask
        layout = self.layout
        if (
            self.last_block is not None
            and (read := self.last_block.read_keys_and_values(module, key, value)) is not None
        ):
            layout, (key, value) = self.last_layout, read
        self.used_modules.add(module)
        rule, site = ScoreRule.from_call(query.shape[3], kwargs), self.attention_layers[module]
        tokens = [side[0].transpose(0, 1) for side in (query, key, value)]
        keys, values = (slots.to(key.device) for slots in self.slots_by_layer[site.layer])
        layout = layout.to(key.device)
        return attend_packed(tokens[0], tokens[1], tokens[2], (keys, values), layout, rule, site.span)[None]

    def check_layers_used(self, model: Any) -> None:
        """Raise BaseModelError if a layer did not use its prefix in the last forward."""
        if len(self.used_modules) < len(self.attention_layers):
            raise make_unsupported_base_error(
                model, f"{len(self.used_modules)} of {len(self.attention_layers)} attention layers with a prefix"
            )
        self.used_modules.clear()


@torch.no_grad()
def _matches_padded_logits(model: Any, starts: Sequence[int] | None) -> bool:
    """Whether packed rows have the logits of padded rows; with `starts`, with a cut last block."""
    shape, lengths = find_prefix_shape(model), (3, 2)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape.layers, 2, shape.kv_heads, 1, shape.head_dim, generator=generator)
    prefix = Prefix.from_site(values.to(model.device))
    ids_BT = torch.arange(6, device=model.device).view(2, 3) % count_token_rows(model)
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 0]], device=model.device)
    layout = PackedLayout.from_lengths(lengths, (0, 0), (1,), device=model.device)
    is_kept_BT = torch.arange(3, device=model.device) >= torch.tensor(starts or (0, 0), device=model.device)[:, None]
    kept_N = is_kept_BT[mask_BT.bool()]
    try:
        with attach_prefixes(model, [prefix, prefix]):
            padded = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits[mask_BT.bool()].float()
        with pack_rows(model, stack_slots(shape, [prefix]), layout, starts=starts):
            ids_1N = ids_BT[mask_BT.bool()][None]
            own = model(input_ids=ids_1N, position_ids=layout.position_N[None], use_cache=False).logits[0].float()
    except (BaseModelError, RuntimeError, ValueError, TypeError, IndexError, KeyError):
        return False
    difference = (padded - own)[kept_N]
    noise = max(torch.finfo(model.dtype).eps ** 0.5, find_rounding_noise(model))
    return bool(difference.square().mean().sqrt() <= noise * padded.std())
