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
from components.model.base.attention_interface import ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_sites import find_attention_layers, make_unsupported_base_error
from components.model.base.load import Base
from components.model.packing import is_packable
from components.serving.engine.block_attention import AttentionBackend, CacheSpan, order_for_attention, plan_attention
from components.serving.engine.block_pool import BLOCK_COLUMNS, BlockPool


@dataclass(frozen=True, slots=True)
class BranchInput:
    """What one reader reads in a forward, and whether the logits behind its last token are wanted."""

    cache_index: int
    token_ids: Sequence[int]
    needs_logits: bool


class KVCache:
    """Keys and values of all readers, in blocks."""

    def __init__(self, base: Base, max_branches: int) -> None:
        """Make room for so many readers.

        Raises:
            BaseModelError: the model does not compute rows end to end as it computes them one by one.
        """
        self.model = base.model
        if not is_packable(self.model):
            got = f"{type(self.model).__name__}, which cannot compute rows end to end"
            raise BaseModelError("a base that many tenants share at once", got, "serve GPT-2, Llama, Qwen2 or the like")
        self.sites = find_attention_layers(self.model)
        self.block_pool = BlockPool(base.shape, max_branches, self.model.dtype, base.device)
        self.cached_columns = [0] * max_branches
        self._block_tables: list[list[int]] = [[] for _ in range(max_branches)]
        self._free_indices = list(range(max_branches))
        self._head_offset_H = BLOCK_COLUMNS * torch.arange(base.shape.kv_heads, device=base.device)
        self._write_index_F = torch.empty(0)
        """Where the forward's tokens' keys and values go, for every token and head: F = N x H rows of [B x H x S]."""
        self._backends: list[tuple[int, int, AttentionBackend]] = []
        self._layer_calls = 0

    @property
    def free_count(self) -> int:
        """Places nobody stands at."""
        return len(self._free_indices)

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Inside, the model's attention is this room's; from one thread."""
        with override_attention(self.model, self.sites, self, ATTENTION_WITHOUT_MASK):
            yield

    def allocate(self) -> int:
        """Take a free place."""
        return self._free_indices.pop()

    def release(self, cache_index: int, *, wipe: bool = False) -> None:
        """Give a place back with its blocks; `wipe` as in `BlockPool.release`."""
        self.block_pool.release(self._block_tables[cache_index], wipe=wipe)
        self.cached_columns[cache_index], self._block_tables[cache_index] = 0, []
        self._free_indices.append(cache_index)

    def compact(self) -> bool:
        """See `BlockPool.compact`."""
        return self.block_pool.compact(self._block_tables)

    def write_slots(self, cache_index: int, slots_L2HPD: Tensor) -> None:
        """Let a reader remember these slots behind what it has read. Raises MemoryError: there is no memory."""
        start, end = self.cached_columns[cache_index], self.cached_columns[cache_index] + slots_L2HPD.shape[3]
        self._ensure_blocks({cache_index: end})
        column_P = torch.arange(start, end, device=slots_L2HPD.device)
        block_P = torch.tensor(self._block_tables[cache_index], device=slots_L2HPD.device)[column_P // BLOCK_COLUMNS]
        for layer_2BHSD, slots_2HPD in zip(self.block_pool.layers, slots_L2HPD, strict=True):
            layer_2BHSD[:, block_P, :, column_P % BLOCK_COLUMNS] = slots_2HPD.permute(2, 0, 1, 3)
        self.cached_columns[cache_index] = end

    def forward(self, inputs: Sequence[BranchInput]) -> Tensor:
        """One forward; returns the logits [W, V] behind the last tokens of those that want them, in their order.

        Readers stay where they are until `advance`, so that a step that fails can be done again.
        """
        self._ensure_blocks(
            {read.cache_index: self.cached_columns[read.cache_index] + len(read.token_ids) for read in inputs}
        )
        spans = [
            CacheSpan(self._block_tables[read.cache_index], self.cached_columns[read.cache_index], len(read.token_ids))
            for read in inputs
        ]
        order = order_for_attention(spans)
        self._backends = plan_attention([spans[number] for number in order], self.block_pool.layers[0])
        ids_1N, column_1N, last = self._lay_out([inputs[number] for number in order])
        self._layer_calls = 0
        wanted = sorted((number, last[spot]) for spot, number in enumerate(order) if inputs[number].needs_logits)
        ends = [end for _, end in wanted]
        whole = ends == list(range(ids_1N.shape[1]))
        kept_W = 0 if whole else torch.tensor(ends, dtype=torch.long, device=ids_1N.device)
        logits_1WV: Tensor = self.model(
            input_ids=ids_1N, position_ids=column_1N, use_cache=False, logits_to_keep=kept_W
        ).logits
        if self._layer_calls != len(self.sites):
            raise make_unsupported_base_error(
                self.model, f"{self._layer_calls} of {len(self.sites)} attention layers with their rows' prefixes"
            )
        return logits_1WV[0]

    def advance(self, cache_index: int, tokens: int) -> None:
        """Let a reader remember so many of the tokens that it has read."""
        self.cached_columns[cache_index] += tokens

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.Attends`; the only row holds the tokens of all readers."""
        del mask
        self._layer_calls += 1
        layer_2BHSD, size = self.block_pool.layers[self.sites[module].layer], query.shape[3]
        for rows_FD, new_HND in zip(layer_2BHSD.view(2, -1, size), (key[0], value[0]), strict=True):
            rows_FD.index_copy_(0, self._write_index_F, new_HND.transpose(0, 1).reshape(-1, size))
        scale = kwargs.get("scaling")
        scale = size**-0.5 if scale is None else float(scale)
        query_NXD = query[0].transpose(0, 1)
        outputs = [way.attend(query_NXD[start:end], layer_2BHSD, scale) for start, end, way in self._backends]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]

    def _lay_out(self, inputs: Sequence[BranchInput]) -> tuple[Tensor, Tensor, list[int]]:
        """All tokens, their columns, and where each reader's last token stands among them."""
        size = len(self._head_offset_H) * BLOCK_COLUMNS
        ids, columns, rows, last = list[int](), list[int](), list[int](), list[int]()
        for read in inputs:
            own, start = self._block_tables[read.cache_index], self.cached_columns[read.cache_index]
            spots = range(start, start + len(read.token_ids))
            ids += read.token_ids
            columns += spots
            rows += [own[column // BLOCK_COLUMNS] * size + column % BLOCK_COLUMNS for column in spots]
            last.append(len(ids) - 1)
        numbers_3N = torch.tensor([ids, columns, rows], device=self._head_offset_H.device)
        self._write_index_F = (numbers_3N[2, :, None] + self._head_offset_H).flatten()
        return numbers_3N[:1], numbers_3N[1:2], last

    def _ensure_blocks(self, columns: Mapping[int, int]) -> None:
        """Let readers at these places have blocks for so many columns each."""
        missing = {
            place: -(-wanted // BLOCK_COLUMNS) - len(self._block_tables[place]) for place, wanted in columns.items()
        }
        self.block_pool.ensure_free(sum(max(more, 0) for more in missing.values()))
        for place, more in missing.items():
            self._block_tables[place] += [self.block_pool.allocate() for _ in range(more)]
