"""Run a decoder-only model over rows end to end, each behind its own prefix: no padding, whatever the rows' lengths.

`pack_rows` gives what `components.model.prefix.attach.attach_prefixes` gives, but for rounding, and pads no row.
Knows the attention interface; does not know architectures, losses or who owns a prefix.

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
from components.model.base.attention_sites import (
    AttentionLayer,
    find_attention_layers,
    find_prefix_shape,
    make_unsupported_base_error,
)
from components.model.base.blocks import find_decoder_blocks
from components.model.base.checkpointing import is_checkpointed
from components.model.base.shapes import PrefixShape
from components.model.packing.attention import attend_packed
from components.model.packing.last_block import LastBlock
from components.model.packing.layout import PackedLayout
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.prefix import Prefix

_PROBE_STARTS = (1, 1)
_support_by_model: "WeakKeyDictionary[nn.Module, _PackingSupport]" = WeakKeyDictionary()


def stack_slots(shape: PrefixShape, prefixes: Sequence[Prefix | None]) -> Tensor:
    """The slots of all prefixes (or of all infixes) as one tensor [L, 2, Q, H, D]; gradients flow back.

    Raises:
        BaseModelError: a prefix is not of `shape`.
    """
    for prefix in prefixes:
        if prefix is not None:
            prefix.check_fits(shape)
    found = [prefix.stack_decoder_site() for prefix in prefixes if prefix is not None and prefix.length]
    if not found:
        return torch.zeros(shape.layers, 2, 0, shape.kv_heads, shape.head_dim)
    return torch.cat(found, dim=3).transpose(2, 3).contiguous()


@contextmanager
def pack_rows(
    model: Any,
    slots_L2QHD: Tensor,
    layout: PackedLayout,
    *,
    starts: Sequence[int] | None = None,
) -> Iterator[None]:
    """Inside, `model` computes rows as `layout` has them; `slots_L2QHD` are those of its prefixes, in their order.

    Give every forward the rows' tokens as one row [1, N], `position_ids` [1, N] of the layout, no attention mask, and
    `use_cache=False`. Call `backward` inside too where blocks are checkpointed. With `starts` the logits are right from
    each row's token of that number on alone, and the last block computes no others (not with checkpointed blocks).

    Raises:
        BaseModelError: the model is not `is_packable`.
    """
    sites = find_attention_layers(model)
    if starts is not None and (
        not _find_packing_support(model).can_cut_last_block or is_checkpointed(find_decoder_blocks(model)[-1].module)
    ):
        starts = None
    places = [slots.unbind(0) for slots in slots_L2QHD.to(model.dtype).unbind(0)]
    rows = _PackedAttention(sites, places, layout)
    with ExitStack() as stack:
        stack.enter_context(override_attention(model, sites, rows, ATTENTION_WITHOUT_MASK))
        stack.callback(model.get_decoder().register_forward_hook(lambda *_: rows.check_layers_used(model)).remove)
        if starts is not None:
            stack.enter_context(rows.cut_last_block(model, starts))
        yield


def is_packable(model: Any) -> bool:
    """Whether a model computes packed rows as it computes padded ones; found out once, by trying."""
    return _find_packing_support(model).can_pack


@dataclass(frozen=True, slots=True)
class _PackingSupport:
    """What a model can do: compute packed rows, and cut its last block."""

    can_pack: bool = False
    can_cut_last_block: bool = False


def _find_packing_support(model: Any) -> _PackingSupport:
    if model not in _support_by_model:
        _support_by_model[model] = _PackingSupport()
        if not model.config.is_encoder_decoder and _matches_padded_logits(model, None):
            _support_by_model[model] = _PackingSupport(can_pack=True, can_cut_last_block=True)
            _support_by_model[model] = _PackingSupport(
                can_pack=True, can_cut_last_block=_matches_padded_logits(model, _PROBE_STARTS)
            )
    return _support_by_model[model]


class _PackedAttention:
    """Gives each attention module its layer's slots, and knows which ones asked."""

    def __init__(
        self,
        sites: dict[nn.Module, AttentionLayer],
        places: Sequence[tuple[Tensor, ...]],
        layout: PackedLayout,
    ) -> None:
        self.attention_layers, self.slots_by_layer, self.layout = sites, places, layout
        self.used_modules: set[nn.Module] = set()
        self.last_block: LastBlock | None = None
        self.last_layout = layout

    @contextmanager
    def cut_last_block(self, model: Any, starts: Sequence[int]) -> Iterator[None]:
        """Inside, the last block computes each row's tokens from `starts` on."""
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
        """See `components.model.base.attention_interface.Attends`; the only row holds all tokens."""
        del mask
        layout = self.layout
        if (
            self.last_block is not None
            and (read := self.last_block.read_keys_and_values(module, key, value)) is not None
        ):
            layout, (key, value) = self.last_layout, read
        self.used_modules.add(module)
        scale = kwargs.get("scaling")
        scale = query.shape[3] ** -0.5 if scale is None else float(scale)
        tokens = [side[0].transpose(0, 1) for side in (query, key, value)]
        keys, values = self.slots_by_layer[self.attention_layers[module].layer]
        return attend_packed(tokens[0], tokens[1], tokens[2], (keys, values), layout, scale)[None]

    def check_layers_used(self, model: Any) -> None:
        """After a forward: refuse a model that left a layer's prefix unused."""
        if len(self.used_modules) < len(self.attention_layers):
            raise make_unsupported_base_error(
                model, f"{len(self.used_modules)} of {len(self.attention_layers)} attention layers with a prefix"
            )
        self.used_modules.clear()


@torch.no_grad()
def _matches_padded_logits(model: Any, starts: Sequence[int] | None) -> bool:
    """Whether packed rows, with or without a cut last block, have the logits of padded ones."""
    shape, lengths = find_prefix_shape(model), (3, 2)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape.layers, 2, shape.kv_heads, 1, shape.head_dim, generator=generator)
    prefix = Prefix.from_site(values.to(model.device))
    ids_BT = torch.arange(6, device=model.device).view(2, 3) % model.config.vocab_size
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 0]], device=model.device)
    layout = PackedLayout.from_lengths(lengths, (0, 0), (1,), device=model.device)
    places_BT = torch.arange(3, device=model.device) >= torch.tensor(starts or (0, 0), device=model.device)[:, None]
    kept_N = places_BT[mask_BT.bool()]
    try:
        with attach_prefixes(model, [prefix, prefix]):
            padded = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits[mask_BT.bool()].float()
        with pack_rows(model, stack_slots(shape, [prefix]), layout, starts=starts):
            ids_1N = ids_BT[mask_BT.bool()][None]
            own = model(input_ids=ids_1N, position_ids=layout.position_N[None], use_cache=False).logits[0].float()
    except (BaseModelError, RuntimeError, ValueError, TypeError, IndexError, KeyError):
        return False
    apart = (padded - own)[kept_N]
    return bool(apart.square().mean().sqrt() <= torch.finfo(model.dtype).eps ** 0.5 * padded.std())
