"""A cache for batches of beams that stores every token once: the columns of a row hold the tree of its beams.

A step passes all beams of a row to the model as tokens of one sequence; the mask lets each beam see only its own
ancestors. So the beams of a row share common tokens, prefix and source included, and reordering beams copies no keys or
values. All rows append to the same columns; rows that join later are right-aligned. Knows transformers' cache; does not
know models or how a token is chosen.

Shapes: B rows, K beams, S columns, W kept columns, H key/value heads, D head size, T new tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE_STEPS = 16


class _BeamTreeLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, [2, B, S, H, D], with spare rows and columns."""

    def __init__(self, keys_BHSD: Tensor, values_BHSD: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys_BHSD.dtype, keys_BHSD.device, True
        self.buffer = torch.stack([keys_BHSD, values_BHSD]).transpose(2, 3).contiguous()
        self.row_count, self.used_columns = self.buffer.shape[1:3]
        self._update_views()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, H, T, D]. Return views of all keys and values."""
        end = self.used_columns + key_states.shape[2]
        self.buffer[0, : self.row_count, self.used_columns : end] = key_states.transpose(1, 2)
        self.buffer[1, : self.row_count, self.used_columns : end] = value_states.transpose(1, 2)
        self.used_columns = end
        self._update_views()
        return self.keys, self.values

    def keep(self, kept_B: Tensor, moved: Tensor) -> None:
        """Keep the rows `kept_B`, in this order; `moved` are the new indices of rows that change their place."""
        if len(moved):
            self.buffer[:, moved, : self.used_columns] = self.buffer[:, kept_B[moved], : self.used_columns]
        self.row_count = len(kept_B)
        self._update_views()

    def select_columns(self, column_BS: Tensor, used: int) -> None:
        """Keep these columns of every row, in this order; the first `used` of them are filled.

        Rows beyond those of the buffer are added as zeros.
        """
        rows, width = self.buffer.shape[1:3]
        more = len(column_BS) - rows
        kept = self.buffer.flatten(1, 2).flatten(2)
        index = (torch.arange(rows, device=self.device)[:, None] * width + column_BS[:rows]).flatten()
        buffer = kept.index_select(1, index).view(2, rows, -1, *self.buffer.shape[3:])
        self.buffer = torch.cat([buffer, buffer.new_zeros(2, more, *buffer.shape[2:])], dim=1) if more > 0 else buffer
        self.used_columns = used
        self._update_views()

    def join(self, other: "_BeamTreeLayer") -> None:
        """Append the rows of `other`, right-aligned."""
        end = self.row_count + other.row_count
        start = self.used_columns - other.used_columns
        self.buffer[:, self.row_count : end, :start] = 0  # values of former rows may be NaN
        self.buffer[:, self.row_count : end, start : self.used_columns] = other.buffer[
            :, : other.row_count, : other.used_columns
        ]
        self.row_count = end
        self._update_views()

    def _update_views(self) -> None:
        self.keys, self.values = self.buffer[:, : self.row_count, : self.used_columns].transpose(2, 3).unbind(0)


class BeamTree:
    """A batch's key/value cache by model layer, which a row's beams share, and the columns that each beam sees."""

    def __init__(self, prefilled: Sequence[Any], mask_BS: Tensor, beams: int) -> None:
        """Start from the layers of a prefill, which all beams of a row see."""
        self.beams = beams
        self.layers = [_BeamTreeLayer(layer.keys, layer.values) for layer in prefilled]
        self.cache = DynamicCache()
        self.cache.layers = self.layers
        self.mask_BKS = mask_BS.bool()[:, None].expand(-1, beams, -1)
        self.index_BS: Tensor | None = None
        """The token index of each column; None: not needed, as every layer sees all tokens."""

    def prepare_inputs(self, token_BK: Tensor, position_B1: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the model's inputs that append one token to every beam."""
        position_BK = position_B1.expand_as(token_BK)
        return {"input_ids": token_BK, "attention_mask": self.append_token_columns(dtype), "position_ids": position_BK}

    def append_token_columns(self, dtype: torch.dtype) -> Tensor:
        """Add a column for each beam's next token. Return the step's additive mask [B, 1, K, S]."""
        rows, beams, used = self.mask_BKS.shape
        if used + beams > self.layers[0].buffer.shape[2]:
            self._compact(rows, 0)
        own_KK = torch.eye(beams, dtype=torch.bool, device=self.mask_BKS.device)
        self.mask_BKS = torch.cat([self.mask_BKS, own_KK.expand(rows, -1, -1)], dim=2)
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=self.mask_BKS.device)
        return torch.where(self.mask_BKS, torch.zeros_like(hidden), hidden)[:, None]

    def append_indices(self, index_BK: Tensor) -> Tensor:
        """Add the token indices of the columns that were just added. Return those of all columns."""
        assert self.index_BS is not None  # noqa: S101 - the caller has set it
        self.index_BS = torch.cat([self.index_BS, index_BK], dim=1)
        return self.index_BS

    def reorder(self, parent_BK: Tensor) -> None:
        """Keep these beams of every row, in this order."""
        self.mask_BKS = self.mask_BKS.gather(1, parent_BK[:, :, None].expand(-1, -1, self.mask_BKS.shape[2]))

    def keep(self, kept_B: Tensor) -> None:
        """Keep these rows, in this order. Only rows that change their place are copied."""
        moved = (kept_B != torch.arange(len(kept_B), device=kept_B.device)).nonzero()[:, 0]
        for layer in self.layers:
            layer.keep(kept_B, moved)
        self.mask_BKS = self.mask_BKS[kept_B]
        self.index_BS = None if self.index_BS is None else self.index_BS[kept_B]

    def join(self, other: "BeamTree") -> None:
        """Append the rows of `other`."""
        rows, width = len(self.mask_BKS) + len(other.mask_BKS), other.mask_BKS.shape[2]
        if rows > self.layers[0].buffer.shape[1] or width > self.mask_BKS.shape[2]:
            self._compact(rows, width)
        for layer, more in zip(self.layers, other.layers, strict=True):
            layer.join(more)
        gap = self.mask_BKS.shape[2] - width
        joining_BKS = torch.nn.functional.pad(other.mask_BKS, (gap, 0))
        self.mask_BKS = torch.cat([self.mask_BKS, joining_BKS])
        if self.index_BS is not None and other.index_BS is not None:
            self.index_BS = torch.cat([self.index_BS, torch.nn.functional.pad(other.index_BS, (gap, 0))])

    def _compact(self, rows: int, least: int) -> None:
        """Drop, row by row, the columns that no beam sees; add spare columns, and space for at least `rows` rows.

        At least `least` columns are kept.
        """
        live_BS = self.mask_BKS.any(dim=1)
        width = max(int(live_BS.sum(dim=1).max()), least)
        column_BW = live_BS.long().argsort(dim=1, stable=True)[:, -width:]
        missing = width - column_BW.shape[1]
        self.mask_BKS = self.mask_BKS.gather(2, column_BW[:, None].expand(-1, self.beams, -1))
        self.mask_BKS = torch.nn.functional.pad(self.mask_BKS, (missing, 0))
        if self.index_BS is not None:
            self.index_BS = torch.nn.functional.pad(self.index_BS.gather(1, column_BW), (missing, 0))
        capacity = max(rows, self.layers[0].buffer.shape[1])
        column_BS = column_BW.new_zeros(capacity, width + _SPARE_STEPS * self.beams)
        column_BS[: len(column_BW), missing:width] = column_BW
        for layer in self.layers:
            layer.select_columns(column_BS, width)
