"""Cut the last block: it computes keys and values of all tokens, and everything else at chosen tokens only.

After the last attention no token depends on another. The block therefore runs twice: over all tokens up to its
attention, to get their keys and values, and then over the chosen tokens from its start to its end. Knows blocks and
attention calls; does not know architectures or prefixes.

Shapes: N tokens of all rows, M chosen ones, C hidden size, H heads, D head size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from components.model.base.blocks import find_last_block


class LastBlock:
    """Cuts the last block's input to the chosen tokens, and scatters its output over all tokens."""

    def __init__(self, model: Any, chosen_M: Tensor) -> None:
        """`chosen_M` are the indices of the chosen tokens."""
        self.block = find_last_block(model)
        self.chosen_M = chosen_M
        self.modules = set(self.block.modules())
        self._token_count = 0
        self._is_reading = False
        self._keys_and_values: tuple[Tensor, Tensor] | None = None

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Inside, a forward of the model cuts the last block."""
        handles = [
            self.block.register_forward_pre_hook(self._before_block, with_kwargs=True),
            self.block.register_forward_hook(self._after_block),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def read_keys_and_values(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return keys and values of all tokens, each [1, H, N, D], if `module` is in this block; else None."""
        if module not in self.modules:
            return None
        if self._is_reading:
            raise _AttentionReachedError(key, value)
        return self._keys_and_values

    def _before_block(self, _block: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if self._is_reading:
            return None
        hidden_1NC = args[0] if args else kwargs["hidden_states"]
        self._token_count, self._is_reading = hidden_1NC.shape[1], True
        try:
            self.block(*args, **kwargs)
        except _AttentionReachedError as read:
            self._keys_and_values = read.key, read.value
        finally:
            self._is_reading = False
        return tuple(map(self._select_chosen_tokens, args)), {
            name: self._select_chosen_tokens(value) for name, value in kwargs.items()
        }

    def _after_block(self, _block: Any, _args: Any, output: Any) -> Any:
        self._keys_and_values = None
        if isinstance(output, tuple):
            return (self._scatter_chosen_tokens(output[0]), *output[1:])
        return self._scatter_chosen_tokens(output)

    def _select_chosen_tokens(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._select_chosen_tokens, value))
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[:2] == (1, self._token_count):
            return value.index_select(1, self.chosen_M.to(value.device))
        return value

    def _scatter_chosen_tokens(self, hidden_1MC: Tensor) -> Tensor:
        hidden_1NC = hidden_1MC.new_zeros(1, self._token_count, hidden_1MC.shape[2])
        return hidden_1NC.index_copy(1, self.chosen_M.to(hidden_1MC.device), hidden_1MC)


class _AttentionReachedError(Exception):
    """Stops the first run of the block at its attention."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__("the first run of the last block stops at its attention")
        self.key, self.value = key, value
