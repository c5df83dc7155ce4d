"""Hold a tokenizer and a model against each other: every id must have a row in the embeddings and in the output layer.

Knows tokenizers and models; does not know texts.
"""

from collections.abc import Iterator
from typing import Any

from components.errors import BaseModelError
from components.model.base.quantization import is_full_tensor
from components.model.base.text_config import find_text_configs

_TOKENIZER_IDS = ("eos_token_id", "pad_token_id", "bos_token_id", "unk_token_id", "sep_token_id", "cls_token_id")
_GENERATION_IDS = (
    "forced_bos_token_id",
    "forced_eos_token_id",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
)
_REQUIRED_IDS = ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")
"""Ids that decoding uses, so that a negative one cannot mean "none", as it does in the old files of Llama."""


def count_token_rows(model: Any) -> int:
    """Return how many ids the model knows: the rows of its embeddings or of its output layer, whichever has fewer."""
    layers = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
    return min(_count_rows(layer) for layer in layers)


def check_token_ids(tokenizer: Any, model: Any, path: str) -> None:
    """Check all ids of the tokenizer and of the generation config.

    Raises:
        BaseModelError: an id has no row; the message has the token and how to add rows.
    """
    rows = count_token_rows(model)
    wanted = f"token ids below {rows}, the rows of the model's embeddings and output layer"
    vocabulary = tokenizer.get_vocab()
    outside = sorted((number, token) for token, number in vocabulary.items() if not 0 <= number < rows)
    if outside:
        got = f"{path}: {len(outside)} tokens outside, first {outside[0][1]!r} with id {outside[0][0]}"
        size = max(vocabulary.values()) + 1
        fix = f"call model.resize_token_embeddings({size}), train the new rows, and save the model and the tokenizer"
        raise BaseModelError(wanted, got, fix)
    for name in _TOKENIZER_IDS:
        number = getattr(tokenizer, name, None)
        if number is not None and not 0 <= number < rows:
            raise BaseModelError(wanted, f"{path}: {name} {number}", "correct tokenizer_config.json")
    for name, number in _list_generation_ids(model):
        is_none = isinstance(number, int) and number < 0 and name not in _REQUIRED_IDS
        if not is_none and not (isinstance(number, int) and 0 <= number < rows):
            got = f"{path}: {name} {number!r}"
            raise BaseModelError(wanted, got, "correct generation_config.json and config.json")


def find_decoder_start_id(model: Any) -> int | None:
    """Return the id that an encoder-decoder model's decoder starts with; None if no config says it."""
    for config in (model.generation_config, model.config, find_text_configs(model.config)[0]):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    return None


def _count_rows(layer: Any) -> int:
    """The rows of a weight; of a quantised layer, whose values may be packed, what it announces."""
    announced = getattr(layer, "out_features", None) or getattr(layer, "num_embeddings", None)
    return int(layer.weight.shape[0] if announced is None or is_full_tensor(layer.weight) else announced)


def _list_generation_ids(model: Any) -> Iterator[tuple[str, Any]]:
    if model.config.is_encoder_decoder and (start := find_decoder_start_id(model)) is not None:
        yield "decoder_start_token_id", start
    for name in _GENERATION_IDS:
        value = getattr(model.generation_config, name, None)
        for number in value if isinstance(value, list | tuple) else [value]:
            if number is not None:
                yield name, number
