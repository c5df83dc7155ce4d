"""Attach prefixes to any model that uses transformers' attention interface, without touching the model's code.

Inside `attached`, every attention of every site puts its row's prefix before its own keys and values and widens the
mask; an infix stands behind the source, seen by the target alone. It fails closed: a layer that would run without its
prefix is an error.

In decoder-only models a row's real tokens start at the length of its prefix, as behind a prefilled cache. In
encoder-decoder models they keep the base's own positions, and prefix slots have no relative position bias.

Knows the attention interface; does not know architectures, tokenisers, decoding or training.

Shapes: B batch rows, H key/value heads, P slots of the longest prefix, T query tokens, S keys, D head size.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from components.errors import BaseModelError
from components.model.base.attention_interface import MASKED, taken_over
from components.model.base.attention_sites import Site, attention_sites, refused
from components.model.base.encoder_padding import right_padded
from components.model.base.shapes import DECODER, ENCODER, INFIX
from components.model.prefix.batch import Rows, stack_rows
from components.model.prefix.prefix import Prefix


def positions(attention_mask_BT: Tensor, lengths_B: Tensor | Sequence[int]) -> Tensor:
    """Position ids [B, T]: a row's first real token stands at the length of its prefix, wherever the padding is."""
    lengths = torch.as_tensor(lengths_B, dtype=torch.long, device=attention_mask_BT.device)
    return (attention_mask_BT.long().cumsum(-1) - 1).clamp(min=0) + lengths[:, None]


@contextmanager
def attached(
    model: Any, rows: Sequence[Prefix | None], starts_B: Tensor | None = None
) -> Iterator["Attachment | None"]:
    """Run `model` with one prefix a batch row; `None` and zero-length prefixes leave a row as the base has it.

    A batch may hold every row n times in place (beam search). Where a forward of a decoder-only model gets no
    `position_ids` they are derived, with real tokens starting at the row's prefix length; `generate` needs them passed
    (see `positions`), because it makes its own otherwise. Infixes need `starts_B`: the column of each row's first token
    behind the infix. One `attached` at a time on a model, from one thread. With gradient checkpointing, call
    `backward` inside too: its second forward is a forward (outside, torch refuses with a CheckpointError).

    Raises:
        BaseModelError: a prefix does not fit the model, or the model does not take the attention interface.
        ValueError: a batch is no multiple of the rows, or infixes without `starts_B`.
    """
    block = stack_rows(rows, model.device, model.dtype)
    if not block.longest:
        yield None
        return
    if block.is_infix and starts_B is None:
        raise ValueError("wanted the columns at which the targets start, for infixes")
    sites = attention_sites(model)
    _check_fits(model, block, sites)
    attachment = Attachment(model, block, sites, starts_B if block.is_infix else None)
    with ExitStack() as stack:
        stack.enter_context(taken_over(model, sites, attachment, MASKED))
        for handle in attachment.hooks():
            stack.callback(handle.remove)
        yield attachment


class Attachment:
    """Hands the rows to each attention of a forward, and checks afterwards that every layer used them."""

    def __init__(self, model: Any, block: Rows, sites: dict[nn.Module, Site], starts_B: Tensor | None) -> None:
        self.model, self.block, self.sites = model, block, sites
        self.starts_B = None if starts_B is None else starts_B.to(model.device)
        self._off = False
        self._wide: dict[int, tuple[Rows, Tensor | None]] = {}
        self._seen: set[nn.Module] = set()

    def keep(self, index_B: Tensor) -> None:
        """Go on with these rows alone (finished rows leave a decoding batch)."""
        self.block = self.block.select(index_B)
        if self.starts_B is not None:
            self.starts_B = self.starts_B[index_B]
        self._wide.clear()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Inside, an encoder-decoder model computes as the bare base, for any number of rows."""
        self._off = True
        try:
            yield
        finally:
            self._off = False

    def hooks(self) -> list[Any]:
        """Hooks on the model that start and check a forward; whoever asks removes them."""
        if not self.model.config.is_encoder_decoder:
            # Not the model around it, which some heads pass by.
            body = self.model.get_decoder()
            return [
                body.register_forward_pre_hook(self._start, with_kwargs=True),
                body.register_forward_hook(lambda *_: self._finish(DECODER)),
            ]
        encoder, decoder = self.model.get_encoder(), self.model.get_decoder()
        reset = [part.register_forward_pre_hook(lambda *_: self._seen.clear()) for part in (encoder, decoder)]
        finish = [
            encoder.register_forward_hook(lambda *_: self._finish(ENCODER)),
            decoder.register_forward_hook(lambda *_: self._finish(DECODER)),
        ]
        return [*reset, *finish, *right_padded(encoder)]

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.Attends`."""
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        key, value, mask = self.before(module, query, key, value, mask)
        bias = kwargs.get("position_bias")
        if bias is not None:
            kwargs["position_bias"] = pad(bias, (key.shape[2] - bias.shape[3], 0))
        output: Tensor = sdpa_attention_forward(module, query, key, value, mask, **kwargs)[0]
        return output

    def before(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and mask of one attention call with the rows' slots in front."""
        site = self.sites[module]
        if mask is None:
            mask = _whole_mask(query, key, causal=site.name == DECODER)
        self._seen.add(module)
        if self._off:
            return key, value, mask
        name = INFIX if site.name == DECODER and self.block.is_infix else site.name
        block, starts_B = self._repeated(key.shape[0])
        key_BHPD, value_BHPD = block.sites[name][site.layer]
        slots_B1TP = block.mask_BP[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
        if name == INFIX:
            assert starts_B is not None  # noqa: S101 - checked where it was attached
            columns_T = torch.arange(mask.shape[3] - mask.shape[2], mask.shape[3], device=mask.device)
            slots_B1TP = slots_B1TP & (columns_T >= starts_B[:, None])[:, None, :, None]
        if mask.dtype != torch.bool:
            slots_B1TP = torch.where(slots_B1TP, 0.0, torch.finfo(mask.dtype).min).to(mask.dtype)
        mask = mask.expand(key.shape[0], -1, -1, -1)
        return (
            torch.cat([key_BHPD.to(key.dtype), key], dim=2),
            torch.cat([value_BHPD.to(value.dtype), value], dim=2),
            torch.cat([slots_B1TP, mask], dim=3),
        )

    def _start(
        self, _body: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._seen.clear()
        tokens = args[0] if args else kwargs.get("input_ids")
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        block, starts_B = self._repeated(tokens.shape[0])
        if kwargs.get("attention_mask") is None:
            # Else transformers takes the positions' gap before an infix for the start of another packed text.
            cache = kwargs.get("past_key_values")
            past = cache.get_seq_length() if cache is not None else 0
            kwargs["attention_mask"] = torch.ones(
                tokens.shape[0], past + tokens.shape[1], dtype=torch.long, device=tokens.device
            )
        if kwargs.get("position_ids") is None:
            kwargs["position_ids"] = _derived_positions(tokens.shape[1], kwargs["attention_mask"], block, starts_B)
        return args, kwargs

    def _finish(self, part: str) -> None:
        wanted = {module for module, site in self.sites.items() if (site.name == ENCODER) == (part == ENCODER)}
        if not wanted <= self._seen:
            raise refused(self.model, f"{len(wanted & self._seen)} of {len(wanted)} attention layers with a prefix")

    def _repeated(self, batch: int) -> tuple[Rows, Tensor | None]:
        if batch not in self._wide:
            rows = len(self.block.lengths_B)
            if batch % rows:
                raise ValueError(f"wanted a batch of a multiple of {rows} rows, got {batch}")
            times = batch // rows
            starts_B = None if self.starts_B is None else self.starts_B.repeat_interleave(times)
            self._wide[batch] = self.block.repeated(times), starts_B
        return self._wide[batch]


def _check_fits(model: Any, block: Rows, sites: dict[nn.Module, Site]) -> None:
    wanted: dict[str, list[tuple[int, int]]] = {}
    for site in sites.values():
        name = INFIX if block.is_infix and site.name == DECODER else site.name
        wanted.setdefault(name, []).append((site.kv_heads, site.head_dim))
    got = {name: [(key.shape[1], key.shape[3]) for key, _ in pairs] for name, pairs in block.sites.items()}
    if wanted != got:
        told = [
            "; ".join(f"{name}: {len(sizes)} layers of {sizes[0][0]} x {sizes[0][1]}" for name, sizes in side.items())
            for side in (wanted, got)
        ]
        wanted_text = f"a prefix for {type(model).__name__} ({told[0]}, key/value heads x head size)"
        raise BaseModelError(wanted_text, told[1], "use the base that the prefix was trained on")


def _derived_positions(count: int, mask_BT: Tensor, block: Rows, starts_B: Tensor | None) -> Tensor:
    """Of the last `count` tokens; behind an infix positions go on from its last slot."""
    if mask_BT.dim() != 2:
        raise ValueError("wanted position_ids beside an attention mask that is not [batch, tokens]")
    if starts_B is None:
        return positions(mask_BT, block.lengths_B)[:, -count:]
    behind_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device) >= starts_B[:, None]
    return (positions(mask_BT, torch.zeros_like(block.lengths_B)) + behind_BT * block.lengths_B[:, None])[:, -count:]


def _whole_mask(query: Tensor, key: Tensor, *, causal: bool) -> Tensor:
    mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device)
    return (mask.tril(key.shape[2] - query.shape[2]) if causal else mask)[None, None]
