"""The KV cache of all branches, and one forward pass over the next tokens of many of them.

Each branch has an index in the cache and a table of blocks. The blocks keep all its columns, and a layer with a window
masks them. A forward pass reads the new tokens of several branches as one concatenated row: one token for most, a piece
of the source for others. A token's position is its column. A prefix takes the first columns, an infix those before the
last source token. Knows the attention interface of decoder-only models; does not know how a token is chosen.

Shapes: L layers, B blocks, H key/value heads, X query heads, S columns of a block, D head size, P slots, N tokens of a
forward pass, W returned logits, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.attention_interface import ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_scores import ScoreRule
from components.model.base.attention_sites import find_attention_layers, make_unsupported_base_error
from components.model.base.load import Base
from components.model.base.tensor_parallel import cut_heads, cut_shape
from components.model.packing import is_packable
from components.serving.engine.block_pool import BLOCK_COLUMNS, BlockPool
from components.serving.engine.cache_spans import CacheSpan
from components.serving.engine.forward_plan import ForwardPlan


@dataclass(frozen=True, slots=True)
class BranchInput:
    """The new tokens of one branch."""

    cache_index: int
    token_ids: Sequence[int]
    needs_logits: bool
    """Whether to return the logits of its last token."""


class KVCache:
    """Keys and values of all branches, in blocks."""

    def __init__(self, base: Base, max_branches: int) -> None:
        """Create an empty cache.

        Raises:
            BaseModelError: the model cannot compute several rows as one concatenated row.
        """
        self.model = base.model
        if not is_packable(self.model):
            got = f"{type(self.model).__name__}, which cannot compute several rows as one"
            raise BaseModelError("a base that can serve many tenants in one batch", got, "use GPT-2, Llama or Qwen2")
        self.sites = find_attention_layers(self.model)
        shape = cut_shape(self.model, base.shape)
        self.block_pool = BlockPool(shape, max_branches, self.model.dtype, base.device)
        self.cached_columns = [0] * max_branches
        self._slot_columns = [(0, 0)] * max_branches
        """See `CacheSpan.slot_columns`."""
        self._block_tables: list[list[int]] = [[] for _ in range(max_branches)]
        self._free_indices = list(range(max_branches))
        self._plan: ForwardPlan | None = None
        """Of the last forward pass; None: there was none."""
        self._layer_calls = 0

    @property
    def free_count(self) -> int:
        """Number of free indices."""
        return len(self._free_indices)

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Let the model's attention use this cache inside the block, from one thread."""
        with override_attention(self.model, self.sites, self, ATTENTION_WITHOUT_MASK):
            yield

    def allocate(self) -> int:
        """Return a free index."""
        return self._free_indices.pop()

    def release(self, cache_index: int, *, wipe: bool = False) -> None:
        """Free an index and its blocks; `wipe` as in `BlockPool.release`."""
        self.block_pool.release(self._block_tables[cache_index], wipe=wipe)
        self.cached_columns[cache_index], self._block_tables[cache_index] = 0, []
        self._slot_columns[cache_index] = (0, 0)
        self._free_indices.append(cache_index)

    def fork(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Let each target continue from its source's cached columns instead of its own.

        Full blocks are shared. A last one that is not full goes to one target if its source is a target as well; it is
        copied for the others.

        Raises:
            MemoryError: out of memory; nothing has changed.
        """
        pool, tables = self.block_pool, self._block_tables
        self.block_pool.ensure_free(len(targets))
        old_tables, old_columns = [tables[index] for index in targets], list(self.cached_columns)
        old_slots = list(self._slot_columns)
        new_tables: list[list[int]] = []
        copied, copies, leaving = list[int](), list[int](), set(targets)
        for source in sources:
            full, rest = divmod(old_columns[source], BLOCK_COLUMNS)
            needs_copy = bool(rest) and source not in leaving
            leaving.discard(source)
            table = tables[source][: full if needs_copy else full + bool(rest)]
            pool.share(table)
            if needs_copy:
                copied.append(tables[source][full])
                copies.append(pool.allocate())
                table.append(copies[-1])
            new_tables.append(table)
        pool.copy(copied, copies)
        for source, target, table in zip(sources, targets, new_tables, strict=True):
            tables[target], self.cached_columns[target] = table, old_columns[source]
            self._slot_columns[target] = old_slots[source]
        for table in old_tables:
            pool.release(table)

    def compact(self) -> bool:
        """See `BlockPool.compact`."""
        return self.block_pool.compact(self._block_tables)

    def write_slots(self, cache_index: int, slots_L2HPD: Tensor) -> None:
        """Append slots to a branch's cached columns. Raises MemoryError: out of memory."""
        slots_L2HPD = cut_heads(self.model, slots_L2HPD, dim=2)
        start, end = self.cached_columns[cache_index], self.cached_columns[cache_index] + slots_L2HPD.shape[3]
        self._ensure_blocks({cache_index: end})
        for number in range(start // BLOCK_COLUMNS, -(-end // BLOCK_COLUMNS)):
            block, begin = self._block_tables[cache_index][number], number * BLOCK_COLUMNS
            first, last = max(start, begin), min(end, begin + BLOCK_COLUMNS)
            for layer_2BHSD, slots_2HPD in zip(self.block_pool.layers, slots_L2HPD, strict=True):
                layer_2BHSD[:, block, :, first - begin : last - begin] = slots_2HPD[:, :, first - start : last - start]
        self.cached_columns[cache_index], self._slot_columns[cache_index] = end, (start, end)

    def forward(self, inputs: Sequence[BranchInput]) -> Tensor:
        """Run one forward pass; returns the logits [W, V] of the last tokens that need them, in the inputs' order.

        Cached columns do not change until `advance`, so that a failed step can be repeated.
        """
        self._ensure_blocks(
            {one.cache_index: self.cached_columns[one.cache_index] + len(one.token_ids) for one in inputs}
        )
        spans = [
            CacheSpan(
                tuple(self._block_tables[one.cache_index]),
                self.cached_columns[one.cache_index],
                len(one.token_ids),
                self._slot_columns[one.cache_index],
            )
            for one in inputs
        ]
        token_ids = [one.token_ids for one in inputs]
        plan = None if self._plan is None else self._plan.advance(spans, token_ids)
        self._plan = plan = plan or ForwardPlan.build(spans, token_ids, self.block_pool.layers[0])
        self._layer_calls = 0
        needed = [last for last, one in zip(plan.last_tokens, inputs, strict=True) if one.needs_logits]
        needs_all = needed == list(range(plan.id_1N.shape[1]))
        kept_W = 0 if needs_all else torch.tensor(needed, dtype=torch.long, device=plan.id_1N.device)
        logits_1WV: Tensor = self.model(
            input_ids=plan.id_1N, position_ids=plan.column_1N, use_cache=False, logits_to_keep=kept_W
        ).logits
        if self._layer_calls != len(self.sites):
            raise make_unsupported_base_error(
                self.model, f"{self._layer_calls} of {len(self.sites)} attention layers that use the KV cache"
            )
        return logits_1WV[0]

    def advance(self, cache_index: int, tokens: int) -> None:
        """Count `tokens` new tokens of a branch as cached."""
        self.cached_columns[cache_index] += tokens

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface`; the only row holds the new tokens of all branches."""
        del mask
        self._layer_calls += 1
        site = self.sites[module]
        layer_2BHSD, size, plan = self.block_pool.layers[site.layer], query.shape[3], self._plan
        assert plan is not None  # noqa: S101 - set by forward
        key_FD, value_FD = layer_2BHSD.view(2, -1, size).unbind(0)
        key_FD.index_copy_(0, plan.write_index_F, key[0].transpose(0, 1).reshape(-1, size))
        value_FD.index_copy_(0, plan.write_index_F, value[0].transpose(0, 1).reshape(-1, size))
        rule, query_NXD = ScoreRule.from_call(size, kwargs), query[0].transpose(0, 1)
        if len(plan.backends) == 1:
            return plan.backends[0][2].attend(query_NXD, layer_2BHSD, rule, site.span)[None]
        outputs = [
            backend.attend(query_NXD[start:end], layer_2BHSD, rule, site.span) for start, end, backend in plan.backends
        ]
        return torch.cat(outputs)[None]

    def _ensure_blocks(self, columns: Mapping[int, int]) -> None:
        """Allocate blocks until each cache index has enough for its number of columns."""
        missing = {
            index: blocks
            for index, count in columns.items()
            if (blocks := -(-count // BLOCK_COLUMNS) - len(self._block_tables[index])) > 0
        }
        if missing:
            self.block_pool.ensure_free(sum(missing.values()))
        for index, blocks in missing.items():
            self._block_tables[index] += [self.block_pool.allocate() for _ in range(blocks)]
