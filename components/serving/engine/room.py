"""What the model remembers of every row on its way, and one forward for all of them, whatever each one reads.

A reader (a row, or its twin without a tenant's delta) stands at a place. A forward takes the next tokens of some
readers end to end: the one new token of most, a piece of a source of others. A token's position is its column, and a
prefix fills the first columns, an infix those before the source's last token. Knows the attention interface of
decoder-only models; does not know how a token is chosen.

Shapes: L layers, C places, R readers of a group, H key/value heads, G queries a head, X = H x G, S columns, D head
size, P slots, T tokens of a reader, Z = G x T, N tokens of a forward, W wanted rows, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from components.errors import BaseModelError
from components.model.base import Base
from components.model.interface import BARE, taken_over
from components.model.packing import packable
from components.model.sites import attention_sites, refused

_COLUMNS = 64
"""Columns at first, and by which their number grows."""


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader reads in a forward, and whether the logits behind its last token are wanted."""

    place: int
    ids: Sequence[int]
    wanted: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """Readers whose attention is computed at once."""

    places: slice | Tensor
    token_RT: Tensor | None
    """Which of the group's tokens stand there; None: token r at [r, 0]."""
    back_N: Tensor | None
    """Where the group's tokens stand in [R x T]; None: token r at r."""
    mask_R1TS: Tensor
    start: int
    """The group's first token in the forward."""
    count: int


@dataclass(frozen=True, slots=True)
class _Forward:
    place_N: Tensor
    column_N: Tensor
    groups: Sequence[_Group]


class Room:
    """Keys and values of all places, [L, 2, C, H, S, D]."""

    def __init__(self, base: Base, places: int) -> None:
        """Make room for so many readers.

        Raises:
            BaseModelError: the model does not compute rows end to end as it computes them one by one.
        """
        self.model, shape = base.model, base.shape
        if not packable(self.model):
            got = f"{type(self.model).__name__}, which cannot compute rows end to end"
            raise BaseModelError("a base that many tenants share at once", got, "serve GPT-2, Llama, Qwen2 or the like")
        self.sites = attention_sites(self.model)
        size = (shape.layers, 2, places, shape.kv_heads, _COLUMNS, shape.head_dim)
        self.room_L2CHSD = torch.zeros(size, dtype=self.model.dtype, device=base.device)
        self.used = [0] * places
        self._free = list(range(places))
        self._now = _Forward(torch.empty(0), torch.empty(0), ())
        self._seen = 0

    @property
    def free(self) -> int:
        """Places nobody stands at."""
        return len(self._free)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside, the model's attention is this room's; from one thread."""
        with taken_over(self.model, self.sites, self, BARE):
            yield

    def enter(self) -> int:
        """Take the first free place."""
        return heappop(self._free)

    def leave(self, place: int, *, wipe: bool = False) -> None:
        """Give a place back; `wipe` what may hold values that are no numbers, which no mask would keep apart."""
        if wipe:
            self.room_L2CHSD[:, :, place].zero_()
        self.used[place] = 0
        heappush(self._free, place)
        if len(self._free) == len(self.used) and self.room_L2CHSD.shape[4] > _COLUMNS:
            self.room_L2CHSD = self.room_L2CHSD[..., :_COLUMNS, :].contiguous()

    def put(self, place: int, slots_L2HPD: Tensor) -> None:
        """Let a reader remember these slots behind what it has read."""
        start, end = self.used[place], self.used[place] + slots_L2HPD.shape[3]
        self._widen(end)
        self.room_L2CHSD[:, :, place, :, start:end] = slots_L2HPD
        self.used[place] = end

    def read(self, reads: Sequence[Read]) -> Tensor:
        """One forward; returns the logits [W, V] behind the last tokens of those that want them, in their order.

        Readers stay where they are until `advance`, so that a step that fails can be done again.
        """
        order = sorted(range(len(reads)), key=lambda number: (len(reads[number].ids) > 1, reads[number].place))
        reads_in_order = [reads[number] for number in order]
        self._widen(max(self.used[read.place] + len(read.ids) for read in reads))
        self._now, ids_N, last = self._laid_out(reads_in_order)
        self._seen = 0
        wanted = sorted((number, last[spot]) for spot, number in enumerate(order) if reads[number].wanted)
        kept_W = torch.tensor([end for _, end in wanted], dtype=torch.long, device=ids_N.device)
        logits_1WV: Tensor = self.model(
            input_ids=ids_N[None], position_ids=self._now.column_N[None], use_cache=False, logits_to_keep=kept_W
        ).logits
        if self._seen != len(self.sites):
            raise refused(self.model, f"{self._seen} of {len(self.sites)} attention layers with their rows' prefixes")
        return logits_1WV[0]

    def advance(self, place: int, tokens: int) -> None:
        """Let a reader remember so many of the tokens that it has read."""
        self.used[place] += tokens

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.interface.Attends`; the only row holds the tokens of all readers."""
        del mask
        self._seen += 1
        now, room_2CHSD = self._now, self.room_L2CHSD[self.sites[module].layer]
        room_2CHSD[0][now.place_N, :, now.column_N] = key[0].transpose(0, 1)
        room_2CHSD[1][now.place_N, :, now.column_N] = value[0].transpose(0, 1)
        query_NXD = query[0].transpose(0, 1)
        outputs = [_attended(query_NXD, room_2CHSD, group, kwargs.get("scaling")) for group in now.groups]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]

    def _laid_out(self, reads: Sequence[Read]) -> tuple[_Forward, Tensor, list[int]]:
        """The forward, its tokens, and where each reader's last token stands among them."""
        ids: list[int] = []
        places: list[int] = []
        columns: list[int] = []
        last = []
        for read in reads:
            start = self.used[read.place]
            ids += read.ids
            places += [read.place] * len(read.ids)
            columns += range(start, start + len(read.ids))
            last.append(len(ids) - 1)
        singles = sum(len(read.ids) == 1 for read in reads)
        groups = [
            self._group(part, start) for part, start in ((reads[:singles], 0), (reads[singles:], singles)) if part
        ]
        numbers = torch.tensor([ids, places, columns], device=self.room_L2CHSD.device)
        return _Forward(numbers[1], numbers[2], groups), numbers[0], last

    def _group(self, reads: Sequence[Read], start: int) -> _Group:
        device, dtype = self.room_L2CHSD.device, self.room_L2CHSD.dtype
        places, width = [read.place for read in reads], max(len(read.ids) for read in reads)
        reach = places[-1] + 1
        together = width == 1 and reach <= 2 * len(reads)  # gaps cost less than copies
        rows = places if together else range(len(reads))
        tokens = [[0] * width for _ in range(reach if together else len(reads))]
        ends = [[0] * width for _ in tokens]
        back: list[int] = []
        count = 0
        for row, read in zip(rows, reads, strict=True):
            length, used = len(read.ids), self.used[read.place]
            tokens[row][:length] = range(count, count + length)
            ends[row][:length] = range(used, used + length)
            back += range(row * width, row * width + length)
            count += length
        end_RT = torch.tensor(ends, device=device)
        columns = max(self.used[read.place] + len(read.ids) for read in reads)
        seen_RTS = torch.arange(columns, device=device) <= end_RT[:, :, None]
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        plain = width == 1 and len(tokens) == count
        return _Group(
            places=slice(0, reach) if together else torch.tensor(places, device=device),
            token_RT=None if plain else torch.tensor(tokens, device=device),
            back_N=None if plain else torch.tensor(back, device=device),
            mask_R1TS=torch.where(seen_RTS, torch.zeros_like(hidden), hidden)[:, None],
            start=start,
            count=count,
        )

    def _widen(self, columns: int) -> None:
        have = self.room_L2CHSD.shape[4]
        if columns > have:
            more = -(-(columns - have) // _COLUMNS) * _COLUMNS
            self.room_L2CHSD = nn.functional.pad(self.room_L2CHSD, (0, 0, 0, more))


def _attended(query_NXD: Tensor, room_2CHSD: Tensor, group: _Group, scale: float | None) -> Tensor:
    """What a group's tokens attend to, [N, X, D]; a key's G queries stand one after another."""
    columns = group.mask_R1TS.shape[3]
    key_RHSD, value_RHSD = room_2CHSD[:, group.places, :, :columns].unbind(0)
    query_NXD = query_NXD[group.start : group.start + group.count]
    query_RTXD = query_NXD[:, None] if group.token_RT is None else query_NXD[group.token_RT]
    (rows, width, heads, size), kv_heads = query_RTXD.shape, key_RHSD.shape[1]
    per_head = heads // kv_heads
    query_RHZD = query_RTXD.transpose(1, 2).reshape(rows, kv_heads, per_head * width, size)
    mask_R1ZS = group.mask_R1TS
    if per_head > 1 and width > 1:
        mask_R1ZS = mask_R1ZS.repeat(1, 1, per_head, 1)
    output_RHZD = scaled_dot_product_attention(query_RHZD, key_RHSD, value_RHSD, attn_mask=mask_R1ZS, scale=scale)
    output_RTXD = output_RHZD.reshape(rows, heads, width, size).transpose(1, 2)
    flat_NXD = output_RTXD.flatten(0, 1)
    return flat_NXD if group.back_N is None else flat_NXD[group.back_N]
