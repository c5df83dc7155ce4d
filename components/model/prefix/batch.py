"""The prefixes of a batch's rows as one block of tensors: padded on the left to the longest, with a mask.

Knows prefixes; does not know models or caches.

Shapes: B batch rows, U distinct prefixes, H key/value heads, P slots of the longest prefix, D head size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from components.errors import BaseModelError
from components.model.base.shapes import DECODER, INFIX
from components.model.prefix.prefix import Prefix

KeyValuePairs = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class PrefixBatch:
    """Keys and values by site and layer, each [B, H, P, D]; which slots are real, [B, P]; each row's length, [B]."""

    pairs_by_site: Mapping[str, KeyValuePairs]
    mask_BP: Tensor
    lengths_B: Tensor

    @property
    def decoder_layers(self) -> KeyValuePairs:
        """The decoder's self-attention (or the infix) alone."""
        return self.pairs_by_site.get(DECODER) or self.pairs_by_site.get(INFIX) or ()

    @property
    def is_infix(self) -> bool:
        """Whether the slots stand between source and target."""
        return INFIX in self.pairs_by_site

    @property
    def max_length(self) -> int:
        """P, slots of the longest prefix; 0 when no row has any."""
        return self.mask_BP.shape[1]

    def repeat(self, times: int) -> "PrefixBatch":
        """Every row `times` times in place, as beam search lays out its batch."""
        if times == 1:
            return self
        index_B = torch.arange(len(self.lengths_B), device=self.lengths_B.device).repeat_interleave(times)
        return self.select(index_B)

    def select(self, index_B: Tensor) -> "PrefixBatch":
        """These rows, in this order."""
        sites = {
            site: tuple((key.index_select(0, index_B), value.index_select(0, index_B)) for key, value in pairs)
            for site, pairs in self.pairs_by_site.items()
        }
        return PrefixBatch(sites, self.mask_BP[index_B], self.lengths_B[index_B])


def stack_prefixes(rows: Sequence[Prefix | None], device: torch.device | str, dtype: torch.dtype | None) -> PrefixBatch:
    """Lay the rows' prefixes side by side; `None` is a row without one. Gradients flow back into every prefix.

    Rows that share one prefix object share its memory until something writes. `dtype=None` keeps the prefixes' own.

    Raises:
        BaseModelError: the prefixes are of different bases (sites, layers, heads or head size differ).
    """
    lengths_B = torch.tensor([row.length if row else 0 for row in rows], dtype=torch.long, device=device)
    distinct = list({id(row): row for row in rows if row is not None and row.length}.values())
    if not distinct:
        return PrefixBatch({}, torch.zeros(len(rows), 0, dtype=torch.bool, device=device), lengths_B)
    sites = distinct[0].sites
    for prefix in distinct[1:]:
        if prefix.sites != sites:
            wanted, got = f"prefixes of one base ({distinct[0].shape_text}) in a batch", f"one of {prefix.shape_text}"
            raise BaseModelError(wanted, got, "send it to its own base")
    longest = max(prefix.length for prefix in distinct)
    slots_P = torch.arange(longest, device=device)
    mask_BP = slots_P >= longest - lengths_B[:, None]
    shared = len(distinct) == 1
    places = {id(prefix): place for place, prefix in enumerate(distinct)}
    index_B = torch.tensor([places.get(id(row), 0) for row in rows], device=device)

    def side(tensors: list[Tensor]) -> Tensor:
        padded = [pad(tensor.to(device, dtype), (0, 0, longest - tensor.shape[1], 0)) for tensor in tensors]
        if shared:
            return padded[0].expand(len(rows), *padded[0].shape)
        return torch.stack(padded).index_select(0, index_B)

    def pairs(site: str, layers: int) -> KeyValuePairs:
        own = [zip(*(prefix.get_layer(layer, site) for prefix in distinct), strict=True) for layer in range(layers)]
        return tuple((side(list(keys)), side(list(values))) for keys, values in own)

    return PrefixBatch({site: pairs(site, shape.layers) for site, shape in sites.items()}, mask_BP, lengths_B)
