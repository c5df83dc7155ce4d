"""Estimate the memory that serving takes on a base: weights, prefixes, caches, and one step.

The formulas are those of docs/bases.md. Knows how the batches keep rows (`kv_cache`, `grouped_batch`); does not know
requests.
"""

from dataclasses import dataclass

import torch

from components.model.base.cache_layout import find_cached_layers
from components.model.base.load import Base
from components.model.base.packed_products import count_packed_bytes
from components.model.base.peak_bytes import RowCost
from components.model.base.shapes import CROSS, DECODER
from components.model.base.weight_bytes import count_weight_bytes
from components.model.decoding.run_kinds import can_pad_rows, can_share_cache
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import make_random_prefix
from components.serving.engine.block_pool import BLOCK_COLUMNS, GROWTH_FACTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLoad:
    """What is to be served at once; lengths in tokens."""

    tenants: int
    """Tenants whose prefixes are in the device's memory."""
    prefix_length: int
    rows: int
    step_tokens: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ServingMemory:
    """Bytes on the device."""

    weights: int
    """With the packed copies of those of linear layers, on a CPU."""
    prefixes: int
    """Of all tenants."""
    cache: int
    """Keys and values of all rows, or what a base keeps instead, with the slots of their prefixes."""
    step: int
    """Logits and intermediate results of one step."""

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.prefixes + self.cache + self.step


def estimate_serving_memory(base: Base, load: ServingLoad) -> ServingMemory:
    """Estimate the most that serving takes while all rows are at their last token.

    Raises:
        BaseModelError: prefixes cannot be attached to the base.
    """
    itemsize = base.model.dtype.itemsize
    slot = sum(site.size for site in base.shape.sites.values())
    rows = load.rows if can_pad_rows(base) else 1
    columns = load.prefix_length + load.input_tokens + load.output_tokens
    vocabulary = base.model.get_output_embeddings().weight.shape[0]
    if can_share_cache(base):
        blocks = -(-columns // BLOCK_COLUMNS)
        needed = rows * blocks * BLOCK_COLUMNS * base.shape.sites[DECODER].size
        cache = GROWTH_FACTOR * needed + needed / base.shape.layers  # layers grow one at a time
        tokens = max(load.step_tokens, rows)
    else:
        cache = rows * (load.prefix_length * slot + _count_cached_values(base, load))
        tokens = rows * load.input_tokens
    step = _measure_step(base).count_bytes(tokens, columns)
    return ServingMemory(
        weights=count_weight_bytes(base.model) + count_packed_bytes(base.model),
        prefixes=load.tenants * load.prefix_length * slot * itemsize,
        cache=int(cache) * itemsize,
        step=step + rows * vocabulary * (itemsize + 4),
    )


def _count_cached_values(base: Base, load: ServingLoad) -> int:
    """Return the values that one row keeps at its last token, without slots."""
    if base.is_encoder_decoder:
        sites = base.shape.sites
        return load.input_tokens * sites[CROSS].size + load.output_tokens * sites[DECODER].size
    return sum(layer.count_values(load.input_tokens + load.output_tokens) for layer in find_cached_layers(base.model))


@torch.no_grad()
def _measure_step(base: Base) -> RowCost:
    """Measure forwards over short rows, under an attached prefix of one slot."""
    prefix = make_random_prefix(base.shape, 1, 0).to(base.model.dtype, base.device)

    def read(rows: int, tokens: int) -> None:
        ids_BT = torch.full((rows, tokens), base.eos_id, device=base.device)
        more = {"decoder_input_ids": ids_BT[:, :1]} if base.is_encoder_decoder else {"logits_to_keep": 1}
        with attach_prefixes(base.model, [prefix] * rows):
            base.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False, **more)

    return RowCost.measure(read, base.context - 2)
