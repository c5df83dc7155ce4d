"""The prefixes of a batch's rows as stacked tensors: padded on the left to the longest prefix, with a mask.

Knows prefixes; does not know models or caches.

Shapes: B batch rows, U distinct prefixes, H key/value heads, P slots of the longest prefix, D head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from components.errors import BaseModelError
from components.model.base.shapes import DECODER, INFIX
from components.model.base.tensor_parallel import cut_heads, is_tensor_parallel
from components.model.prefix.initial_states import InitialStates, stack_states
from components.model.prefix.prefix import Prefix

KeyValuePairs = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class PrefixBatch:
    """Keys and values by site and layer, each [B, H, P, D]; the mask of real slots [B, P]; the prefix lengths [B]."""

    pairs_by_site: Mapping[str, KeyValuePairs]
    mask_BP: Tensor
    lengths_B: Tensor
    states: InitialStates = field(default_factory=dict)
    """The states from which the rows' recurrent layers start, each [B, ...]; empty if no row has any."""

    @property
    def decoder_layers(self) -> KeyValuePairs:
        """Keys and values of the decoder's self-attention, or of the infix."""
        return self.pairs_by_site.get(DECODER) or self.pairs_by_site.get(INFIX) or ()

    @property
    def is_infix(self) -> bool:
        """Whether the slots are between source and target."""
        return INFIX in self.pairs_by_site

    @property
    def max_length(self) -> int:
        """P, the slots of the longest prefix; 0 if no row has a prefix."""
        return self.mask_BP.shape[1]

    @property
    def is_empty(self) -> bool:
        """Whether no row has slots or states."""
        return not self.max_length and not self.states

    def cut_heads(self, model: Any) -> "PrefixBatch":
        """Return the slots of the heads that this process computes: all of them, if the model is not divided."""
        if not is_tensor_parallel(model):
            return self
        sites = {
            site: tuple((cut_heads(model, key, 1), cut_heads(model, value, 1)) for key, value in pairs)
            for site, pairs in self.pairs_by_site.items()
        }
        return replace(self, pairs_by_site=sites)

    def repeat(self, times: int) -> "PrefixBatch":
        """Repeat every row `times` times, one after the other, as beam search orders its batch."""
        if times == 1:
            return self
        index_B = torch.arange(len(self.lengths_B), device=self.lengths_B.device).repeat_interleave(times)
        return self.select(index_B)

    def select(self, index_B: Tensor) -> "PrefixBatch":
        """Return these rows, in this order."""
        sites = {
            site: tuple((key.index_select(0, index_B), value.index_select(0, index_B)) for key, value in pairs)
            for site, pairs in self.pairs_by_site.items()
        }
        states = {key: state.index_select(0, index_B) for key, state in self.states.items()}
        return PrefixBatch(sites, self.mask_BP[index_B], self.lengths_B[index_B], states)


def stack_prefixes(rows: Sequence[Prefix | None], device: torch.device | str, dtype: torch.dtype | None) -> PrefixBatch:
    """Stack the rows' prefixes; `None` is a row without a prefix. Gradients flow back into every prefix.

    If all rows have the same prefix object, they share its memory: do not write to the result. `dtype=None` keeps the
    prefixes' own dtype.

    Raises:
        BaseModelError: the prefixes are for different bases (sites, layers, heads or head size differ).
    """
    lengths_B = torch.tensor([row.length if row else 0 for row in rows], dtype=torch.long, device=device)
    distinct = list({id(row): row for row in rows if row is not None and (row.length or row.states)}.values())
    if not distinct:
        return PrefixBatch({}, torch.zeros(len(rows), 0, dtype=torch.bool, device=device), lengths_B)
    sites = distinct[0].sites
    for prefix in distinct[1:]:
        if prefix.sites != sites:
            wanted, got = f"prefixes of one base ({distinct[0].shape_text}) in a batch", f"one of {prefix.shape_text}"
            raise BaseModelError(wanted, got, "batch prefixes by base")
    longest = max(prefix.length for prefix in distinct)
    slots_P = torch.arange(longest, device=device)
    mask_BP = slots_P >= longest - lengths_B[:, None]
    shared = len(distinct) == 1
    numbers = {id(prefix): number for number, prefix in enumerate(distinct)}
    state_numbers = [numbers.get(id(row), len(distinct)) for row in rows]
    index_B = torch.tensor([numbers.get(id(row), 0) for row in rows], device=device)

    def stack_padded(tensors: list[Tensor]) -> Tensor:
        padded = [pad(tensor.to(device, dtype), (0, 0, longest - tensor.shape[1], 0)) for tensor in tensors]
        if shared:
            return padded[0].expand(len(rows), *padded[0].shape)
        return torch.stack(padded).index_select(0, index_B)

    def stack_layers(site: str, layers: int) -> KeyValuePairs:
        own = [zip(*(prefix.get_layer(layer, site) for prefix in distinct), strict=True) for layer in range(layers)]
        return tuple((stack_padded(list(keys)), stack_padded(list(values))) for keys, values in own)

    states = stack_states([*(prefix.states for prefix in distinct), {}], state_numbers, device, dtype)
    pairs_by_site = {site: stack_layers(site, shape.layers) for site, shape in sites.items()}
    return PrefixBatch(pairs_by_site, mask_BP, lengths_B, states)
