"""What the model remembers of every row on its way, and one forward for all of them, whatever each one reads.

A reader (a row, or its twin without a tenant's delta) stands at a place. A forward takes the next tokens of some
readers end to end: the one new token of most, a piece of a source of others. A token's position is its column, and a
prefix fills the first columns, an infix those before the source's last token. Knows the attention interface of
decoder-only models; does not know how a token is chosen.

Shapes: L layers, B blocks, H key/value heads, X query heads, S columns of a block, D head size, P slots, N tokens of a
forward, W wanted rows, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_interface import BARE, taken_over
from components.model.base.attention_sites import attention_sites, refused
from components.model.base.load import Base
from components.model.packing import packable
from components.serving.engine.block_attention import Span, Way, in_order, ways
from components.serving.engine.block_pool import COLUMNS, Blocks


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader reads in a forward, and whether the logits behind its last token are wanted."""

    place: int
    ids: Sequence[int]
    wanted: bool


class Room:
    """Keys and values of all readers, in blocks."""

    def __init__(self, base: Base, places: int) -> None:
        """Make room for so many readers.

        Raises:
            BaseModelError: the model does not compute rows end to end as it computes them one by one.
        """
        self.model = base.model
        if not packable(self.model):
            got = f"{type(self.model).__name__}, which cannot compute rows end to end"
            raise BaseModelError("a base that many tenants share at once", got, "serve GPT-2, Llama, Qwen2 or the like")
        self.sites = attention_sites(self.model)
        self.blocks = Blocks(base.shape, places, self.model.dtype, base.device)
        self.used = [0] * places
        self._own: list[list[int]] = [[] for _ in range(places)]
        self._free = list(range(places))
        self._head_H = COLUMNS * torch.arange(base.shape.kv_heads, device=base.device)
        self._row_F = torch.empty(0)
        """Where the forward's tokens' keys and values go, for every token and head: F = N x H rows of [B x H x S]."""
        self._ways: list[tuple[int, int, Way]] = []
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
        """Take a free place."""
        return self._free.pop()

    def leave(self, place: int, *, wipe: bool = False) -> None:
        """Give a place back with its blocks; `wipe` as in `Blocks.give`."""
        self.blocks.give(self._own[place], wipe=wipe)
        self.used[place], self._own[place] = 0, []
        self._free.append(place)

    def tighten(self) -> bool:
        """See `Blocks.tighten`."""
        return self.blocks.tighten(self._own)

    def put(self, place: int, slots_L2HPD: Tensor) -> None:
        """Let a reader remember these slots behind what it has read. Raises MemoryError: there is no memory."""
        start, end = self.used[place], self.used[place] + slots_L2HPD.shape[3]
        self._hold({place: end})
        column_P = torch.arange(start, end, device=slots_L2HPD.device)
        block_P = torch.tensor(self._own[place], device=slots_L2HPD.device)[column_P // COLUMNS]
        for layer_2BHSD, slots_2HPD in zip(self.blocks.layers, slots_L2HPD, strict=True):
            layer_2BHSD[:, block_P, :, column_P % COLUMNS] = slots_2HPD.permute(2, 0, 1, 3)
        self.used[place] = end

    def read(self, reads: Sequence[Read]) -> Tensor:
        """One forward; returns the logits [W, V] behind the last tokens of those that want them, in their order.

        Readers stay where they are until `advance`, so that a step that fails can be done again.
        """
        self._hold({read.place: self.used[read.place] + len(read.ids) for read in reads})
        spans = [Span(self._own[read.place], self.used[read.place], len(read.ids)) for read in reads]
        order = in_order(spans)
        self._ways = ways([spans[number] for number in order], self.blocks.layers[0])
        ids_1N, column_1N, last = self._laid_out([reads[number] for number in order])
        self._seen = 0
        wanted = sorted((number, last[spot]) for spot, number in enumerate(order) if reads[number].wanted)
        ends = [end for _, end in wanted]
        whole = ends == list(range(ids_1N.shape[1]))
        kept_W = 0 if whole else torch.tensor(ends, dtype=torch.long, device=ids_1N.device)
        logits_1WV: Tensor = self.model(
            input_ids=ids_1N, position_ids=column_1N, use_cache=False, logits_to_keep=kept_W
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
        """See `components.model.base.attention_interface.Attends`; the only row holds the tokens of all readers."""
        del mask
        self._seen += 1
        layer_2BHSD, size = self.blocks.layers[self.sites[module].layer], query.shape[3]
        for rows_FD, new_HND in zip(layer_2BHSD.view(2, -1, size), (key[0], value[0]), strict=True):
            rows_FD.index_copy_(0, self._row_F, new_HND.transpose(0, 1).reshape(-1, size))
        scale = kwargs.get("scaling")
        scale = size**-0.5 if scale is None else float(scale)
        query_NXD = query[0].transpose(0, 1)
        outputs = [way.attend(query_NXD[start:end], layer_2BHSD, scale) for start, end, way in self._ways]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]

    def _laid_out(self, reads: Sequence[Read]) -> tuple[Tensor, Tensor, list[int]]:
        """All tokens, their columns, and where each reader's last token stands among them."""
        size = len(self._head_H) * COLUMNS
        ids, columns, rows, last = list[int](), list[int](), list[int](), list[int]()
        for read in reads:
            own, start = self._own[read.place], self.used[read.place]
            spots = range(start, start + len(read.ids))
            ids += read.ids
            columns += spots
            rows += [own[column // COLUMNS] * size + column % COLUMNS for column in spots]
            last.append(len(ids) - 1)
        numbers_3N = torch.tensor([ids, columns, rows], device=self._head_H.device)
        self._row_F = (numbers_3N[2, :, None] + self._head_H).flatten()
        return numbers_3N[:1], numbers_3N[1:2], last

    def _hold(self, columns: Mapping[int, int]) -> None:
        """Let readers at these places have blocks for so many columns each."""
        missing = {place: -(-wanted // COLUMNS) - len(self._own[place]) for place, wanted in columns.items()}
        self.blocks.need(sum(max(more, 0) for more in missing.values()))
        for place, more in missing.items():
            self._own[place] += [self.blocks.take() for _ in range(more)]
