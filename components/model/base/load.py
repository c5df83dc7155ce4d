"""The base: one frozen language model, decoder-only or encoder-decoder, with its tokenizer, named by content digests.

Knows how to find, load, check and freeze it. Does not know prefixes' values, training or decoding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.digests import compute_model_digest, compute_tokenizer_digest
from components.model.base.dtype import measure_fastest_dtype
from components.model.base.shapes import PrefixShape
from components.model.text.texts import TextCodec

_DEFAULT_CONTEXT = 512
_UNLIMITED_CONTEXT = 10**6
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True)
class Base:
    """A frozen model in evaluation mode, its tokenizer, and their digests."""

    model: Any
    tokenizer: Any
    name: str
    digest: str
    tokenizer_digest: str
    parameter_count: int
    context: int
    """Most tokens that the model can attend to. A decoder-only model counts prefix, source and target together; an
    encoder-decoder model counts source and target separately, and no prefix."""

    @property
    def eos_id(self) -> int:
        """The token that separates source from target and ends the target."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """The token that pads rows: the tokenizer's padding token, or its end token if it has none."""
        pad = self.tokenizer.pad_token_id
        return self.eos_id if pad is None else int(pad)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self.model.device
        return device

    @property
    def text_codec(self) -> TextCodec:
        """The codec between texts and token ids of this base."""
        return TextCodec(self.tokenizer, self.is_encoder_decoder)

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the source and a decoder writes the target."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def decoder_start_id(self) -> int:
        """The token that an encoder-decoder model's decoder starts with."""
        start = self.model.generation_config.decoder_start_token_id
        start = self.model.config.decoder_start_token_id if start is None else start
        return self.pad_id if start is None else int(start)

    @cached_property
    def shape(self) -> PrefixShape:
        """The shape that a prefix for this base must have."""
        return find_prefix_shape(self.model)


def load_base(config: BaseConfig, *, device: torch.device | str | None = None) -> Base:
    """Load and freeze a base from a local folder or the Hugging Face hub. Without `device`: on a GPU if there is one.

    Raises:
        BaseModelError: the base is missing, has no safetensors weights or no tokenizer, or prefixes cannot be attached
            to its model (the message names the model's class).
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder, device = _find_folder(config), device or ("cuda" if torch.cuda.is_available() else "cpu")
    digest, digest_of_tokenizer = compute_model_digest(folder), compute_tokenizer_digest(folder)
    try:
        model_config = AutoConfig.from_pretrained(folder)
        _check_supported(model_config, config.path)
        auto = AutoModelForSeq2SeqLM if model_config.is_encoder_decoder else AutoModelForCausalLM
        with _hide_progress_bar():
            model = auto.from_pretrained(
                folder, config=model_config, dtype=_choose_dtype(config, device), use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        got = f"{config.path}: {str(problem).splitlines()[0]}"
        raise BaseModelError("a generative transformers model", got, "check base.path in params.yaml") from problem
    if tokenizer.eos_token_id is None:
        raise BaseModelError("a tokenizer with an end-of-text token", f"none in {config.path}", "set its eos_token")
    _fuse_activations(model)
    model.requires_grad_(False).eval().to(device)
    base = Base(
        model=model,
        tokenizer=tokenizer,
        name=folder.name if Path(config.path).exists() else config.path,
        digest=digest,
        tokenizer_digest=digest_of_tokenizer,
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
        context=_read_context(model_config, tokenizer),
    )
    find_prefix_shape(model)  # raises for an unsupported model now, before any training
    return base


def describe_base(base: Base) -> dict[str, Any]:
    """Return the content of `out/base/base.json`: names, digests and sizes."""
    return {
        "name": base.name,
        "digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "architecture": type(base.model).__name__,
        "encoder_decoder": base.is_encoder_decoder,
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "parameters": base.parameter_count,
        "context": base.context,
        "vocabulary": len(base.tokenizer),
        "layers": base.shape.layers,
        "kv_heads": base.shape.kv_heads,
        "head_dim": base.shape.head_dim,
    }


def _find_folder(config: BaseConfig) -> Path:
    path = Path(config.path)
    if path.is_dir():
        return path.resolve()
    wanted = f"a base at {config.path}"
    if path.is_absolute() or config.path.startswith(".") or config.path.count("/") > 1:
        raise BaseModelError(wanted, "no such folder", "build the base or correct base.path in params.yaml")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(config.path, revision=config.revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as problem:
        got = f"no such folder, and the hub answered: {str(problem).splitlines()[0]}"
        raise BaseModelError(wanted, got, "build the base or correct base.path in params.yaml") from None


def _choose_dtype(config: BaseConfig, device: torch.device | str) -> torch.dtype:
    dtype: torch.dtype = measure_fastest_dtype(device) if config.dtype == "fastest" else getattr(torch, config.dtype)
    return dtype


def _check_supported(model_config: Any, path: str) -> None:
    wanted, fix = "a base with full attention in every layer", "choose GPT-2, Llama, BART or the like"
    context = getattr(model_config, "max_position_embeddings", None)
    kinds = set(getattr(model_config, "layer_types", None) or ["full_attention"])
    window = getattr(model_config, "sliding_window", None)
    if kinds != {"full_attention"} or (window and context and window < context):
        got = f"{path} ({model_config.model_type}): {', '.join(sorted(kinds))}, window {window}"
        raise BaseModelError(wanted, got, fix)


def _read_context(model_config: Any, tokenizer: Any) -> int:
    """The model's limit of positions; a model with relative positions has none, so the tokenizer's limit is used."""
    positions = getattr(model_config, "max_position_embeddings", None) or getattr(model_config, "n_positions", None)
    if positions:
        return int(positions)
    limit = int(tokenizer.model_max_length)
    return limit if limit < _UNLIMITED_CONTEXT else _DEFAULT_CONTEXT


@contextmanager
def _hide_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _fuse_activations(model: Any) -> None:
    """Replace transformers' GELU (eight kernels) by torch's (one kernel): a step of a small GPT-2 is 5 % faster."""
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
