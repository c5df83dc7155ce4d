"""The config of a model's text model, which in a multimodal model is a part of its config, and the windows in it.

Knows configs; does not know models.
"""

from collections.abc import Iterable
from typing import Any

_WINDOW_FIELDS = (
    "sliding_window",
    "sliding_window_size",
    "attention_chunk_size",
    "attention_window",
    "local_attention",
    "local_radius",
    "window_size",
)


def find_text_configs(config: Any) -> list[Any]:
    """Return the config of the decoder's text model; for an encoder-decoder model also that of the encoder's."""
    sides = ("decoder", "encoder") if getattr(config, "is_encoder_decoder", False) else ("decoder",)
    parts = [config.get_text_config(**{side: True}) for side in sides]
    # Of an encoder-decoder config without parts, transformers returns a rebuilt copy in which ids are the defaults.
    return [config if type(part) is type(config) else part for part in parts]


def find_windows(config: Any) -> list[int]:
    """Return the lengths of all windows and chunks in a model's config, in tokens, whether they are in use or not."""
    values = (getattr(text, field, None) for text in find_text_configs(config) for field in _WINDOW_FIELDS)
    return [window for value in values for window in _flatten(value) if isinstance(window, int) and window > 0]


def _flatten(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]
