"""Move the padding of left-padded rows to the right for an encoder's forward, and restore the order of its output.

An encoder with absolute positions counts padding on the left as tokens, so a row's output would depend on the length
of the other rows.

Shapes: B batch rows, T tokens, C hidden size.
"""

from typing import Any

import torch
from torch import Tensor, nn


def register_right_padding_hooks(encoder: nn.Module) -> list[Any]:
    """Make `encoder` compute right-padded rows; its output keeps the order of its input. Return the hooks' handles."""
    order_BT: list[Tensor | None] = [None]

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = kwargs.get("attention_mask")
        order_BT[0] = None
        if mask is None or mask.dim() != 2 or not bool((mask[:, 1:] > mask[:, :-1]).any()):
            return args, kwargs
        order = torch.argsort(mask, dim=1, descending=True, stable=True)
        order_BT[0] = order
        kwargs = {**kwargs, "attention_mask": mask.gather(1, order)}
        for name in ("input_ids", "inputs_embeds"):
            if kwargs.get(name) is not None:
                kwargs[name] = _reorder_tokens(kwargs[name], order)
        return tuple(_reorder_tokens(value, order) if index == 0 else value for index, value in enumerate(args)), kwargs

    def after(_module: Any, _args: tuple[Any, ...], output: Any) -> Any:
        if order_BT[0] is not None:
            output["last_hidden_state"] = _reorder_tokens(output["last_hidden_state"], order_BT[0].argsort(dim=1))
        return output

    return [
        encoder.register_forward_pre_hook(before, with_kwargs=True),
        encoder.register_forward_hook(after),
    ]


def _reorder_tokens(values: Tensor, order_BT: Tensor) -> Tensor:
    index = order_BT if values.dim() == 2 else order_BT[:, :, None].expand(-1, -1, values.shape[2])
    return values.gather(1, index)
