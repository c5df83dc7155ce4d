"""Take a model's attention over through transformers' attention interface, for as long as a `with` lasts.

Knows the interface; does not know prefixes, masks or what is computed instead.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from components.model.base.attention_sites import implementation, refused

MASKED, BARE = "prefixfleet", "prefixfleet-bare"
"""The registered names: with transformers' whole mask, and without any."""
_active: "dict[nn.Module, Attends]" = {}


class Attends(Protocol):
    """Whoever computes a model's attention."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """The output [B, T, H, D] of one attention call, of query [B, H, T, D], key and value [B, K, S, D]."""


@contextmanager
def taken_over(model: Any, modules: Iterable[nn.Module], attends: Attends, name: str) -> Iterator[None]:
    """Inside, `attends` computes the attention of every one of `modules`, which are all that `model` has.

    One at a time on a model, from one thread.

    Raises:
        BaseModelError: the model does not let its attention be replaced; or, in a forward, a module is not among those.
    """
    modules = list(modules)
    if any(module in _active for module in modules):
        raise RuntimeError("attention taken over inside a `with` that has taken it over already")
    _register()
    with implementation(model, name):
        _active.update(dict.fromkeys(modules, attends))
        try:
            yield
        finally:
            for module in modules:
                _active.pop(module, None)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        attends = _active.get(module)
        if attends is None:
            raise refused(module, "an attention call without its prefix")
        return attends.attend(module, query, key, value, attention_mask, **kwargs), None

    def whole_mask(*args: Any, **kwargs: Any) -> Any:
        return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    for name in (MASKED, BARE):
        AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(MASKED, whole_mask)  # transformers makes no mask for a name that has none
