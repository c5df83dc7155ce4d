"""Find the transformer blocks of any model by structure: the module list with the most parameters of a stack.

Knows transformers' `get_encoder` and `get_decoder`. Does not know the name of any model or module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from components.errors import BaseModelError

_last_block_by_model: "WeakKeyDictionary[nn.Module, nn.Module]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class TransformerBlock:
    """One transformer layer: its path in the model, and the width of its hidden states."""

    path: str
    module: nn.Module
    width: int


def find_decoder_blocks(model: Any) -> list[TransformerBlock]:
    """Return the decoder's blocks, first to last; of a decoder-only model, all blocks.

    Raises:
        BaseModelError: the model has no list of blocks.
    """
    return _find_blocks(model, model.get_decoder())


def find_all_blocks(model: Any) -> list[TransformerBlock]:
    """Return the encoder's blocks (none in a decoder-only model), then the decoder's.

    Raises:
        BaseModelError: as `find_decoder_blocks`.
    """
    encoder = _find_blocks(model, model.get_encoder()) if model.config.is_encoder_decoder else []
    return encoder + find_decoder_blocks(model)


def find_last_blocks(model: Any, count: int) -> list[TransformerBlock]:
    """Return the last `count` blocks of the decoder.

    Raises:
        BaseModelError: the decoder has fewer blocks.
    """
    blocks = find_decoder_blocks(model)
    if count > len(blocks):
        raise BaseModelError(f"the top {count} layers", f"a decoder of {len(blocks)}", f"set {len(blocks)} or fewer")
    return blocks[-count:]


def find_last_block(model: Any) -> nn.Module:
    """Return the decoder's last block. Every pass asks for it, so it is searched once per model.

    Raises:
        BaseModelError: as `find_decoder_blocks`.
    """
    if model not in _last_block_by_model:
        _last_block_by_model[model] = find_decoder_blocks(model)[-1].module
    return _last_block_by_model[model]


def _find_blocks(model: Any, stack: Any) -> list[TransformerBlock]:
    lists = [
        modules
        for modules in _find_outermost_lists(stack)
        if len(modules) and all(list(member.children()) for member in modules)
    ]
    if not lists:
        wanted = "a model that keeps its transformer blocks in a list"
        raise BaseModelError(wanted, type(stack).__name__, "choose another base, such as GPT-2, Llama or BART")
    largest = max(lists, key=lambda modules: sum(parameter.numel() for parameter in modules.parameters()))
    paths = {module: path for path, module in model.named_modules()}
    return [TransformerBlock(paths[member], member, stack.config.hidden_size) for member in largest]


def _find_outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _find_outermost_lists(child)
