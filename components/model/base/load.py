"""The base: one frozen language model, decoder-only or encoder-decoder, with its tokenizer, named by content digests.

Knows how to find, load, check and freeze it. Does not know prefixes' values, training or decoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from components.config import BaseConfig
from components.config.quantizers import compute_base_digest
from components.errors import BaseModelError
from components.model.base.activation import fuse_activations
from components.model.base.attention_sites import find_attention_layers, find_prefix_shape
from components.model.base.blocks import find_decoder_blocks
from components.model.base.digests import (
    compute_model_digest,
    compute_tokenizer_digest,
    mark_tokenizer_digest,
    read_stored_dtypes,
)
from components.model.base.dtype import measure_fastest_dtype
from components.model.base.four_bit_kernels import check_four_bit_kernels
from components.model.base.model_folder import (
    check_files,
    convert_errors,
    find_folder,
    require_safetensors,
    silence_transformers,
)
from components.model.base.packed_products import pack_products
from components.model.base.placement import check_placement, choose_device_map, get_first_device
from components.model.base.quantization import (
    check_quantized,
    count_parameters,
    find_quantization,
    make_quantization_options,
    prepare_quantized,
)
from components.model.base.shapes import PrefixShape
from components.model.base.span_check import check_spans
from components.model.base.tensor_parallel import (
    check_divided,
    check_same_files,
    make_parallel_options,
    register_parallel_model,
)
from components.model.base.text_config import find_text_configs
from components.model.base.text_model import load_model, take_text_model
from components.model.base.token_limits import check_token_ids, count_token_rows, find_decoder_start_id
from components.model.base.weight_checks import check_finite_weights, check_loading_report, check_stored_dtypes
from components.model.ranks import count_ranks, run_on_all_ranks, share
from components.model.text.chat import ChatCodec
from components.model.text.chat_files import compute_chat_digest, read_named_template
from components.model.text.chat_template import ChatTemplate
from components.model.text.running_text import find_running_text
from components.model.text.texts import TextCodec

_DEFAULT_CONTEXT = 512
_UNLIMITED_CONTEXT = 10**6


@dataclass(frozen=True)
class Base:
    """A frozen model in evaluation mode, its tokenizer, and their digests."""

    model: Any
    tokenizer: Any
    name: str
    digest: str
    """Of its files, and of how they are quantised while they are loaded, if they are."""
    tokenizer_digest: str
    parameter_count: int
    context: int
    """Most tokens that the model can attend to. A decoder-only model counts prefix, source and target together; an
    encoder-decoder model counts source and target separately, and no prefix."""
    tokenizer_files_digest: str = ""
    """Of the tokenizer's files alone; `tokenizer_digest` also covers how texts are encoded."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Values of the chat template's own variables."""
    chat_template_digest: str = ""
    """Of what conversations are rendered with beside the tokenizer's own files; "" if nothing."""
    files_digest: str = ""
    """Of the model's files alone."""
    quantization: str = ""
    """`base.quantize`, or the method that the folder was quantised with; "": none."""
    interchangeable: frozenset[str] = frozenset()
    """Digests of other bases whose prefixes this one takes."""
    text_model_of: str = ""
    """The class of the multimodal model whose text model this is; "" for a model of text alone."""

    @property
    def eos_id(self) -> int:
        """The token that separates source from target and ends the target."""
        return int(self.tokenizer.eos_token_id)

    @property
    def bos_id(self) -> int | None:
        """The token that a text begins with: what the tokenizer puts first, or its BOS; None if it has neither."""
        lead, bos = find_running_text(self.tokenizer).lead_ids, self.tokenizer.bos_token_id
        return lead[0] if lead else None if bos is None else int(bos)

    @property
    def pad_id(self) -> int:
        """The token that pads rows: the tokenizer's padding token, or its end token if it has none."""
        pad = self.tokenizer.pad_token_id
        return self.eos_id if pad is None else int(pad)

    @property
    def device(self) -> torch.device:
        """The model's device; of several, the first, which gets the tokens."""
        device: torch.device = self.model.device
        return device

    @property
    def text_codec(self) -> TextCodec:
        """The codec between texts and token ids of this base."""
        return TextCodec(self.tokenizer, self.is_encoder_decoder, token_rows=count_token_rows(self.model))

    @cached_property
    def chat_codec(self) -> ChatCodec:
        """The codec between conversations and token ids of this base."""
        return ChatCodec(self.tokenizer, self.chat_template_kwargs, count_token_rows(self.model))

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the source and a decoder writes the target."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def decoder_start_id(self) -> int:
        """The token that an encoder-decoder model's decoder starts with."""
        start = find_decoder_start_id(self.model)
        return self.pad_id if start is None else start

    @cached_property
    def shape(self) -> PrefixShape:
        """The shape that a prefix for this base must have."""
        return find_prefix_shape(self.model)


def load_base(config: BaseConfig, *, device: torch.device | str | None = None) -> Base:
    """Load and freeze a base from a local folder or the Hugging Face hub.

    Without `device`: where `base.device_map` says, or on a GPU if there is one. In a command that torchrun has started
    several times, every process loads its part.

    Raises:
        BaseModelError: the base is missing, has no safetensors weights or no tokenizer; its weights are not exactly
            those of its config, or not finite; the tokenizer has ids that the model does not know; prefixes cannot
            be attached to its model (the message names the model's class); or it is quantised in a way that this
            machine cannot compute.
    """
    if count_ranks() > 1 and config.dtype == "fastest":  # measured once: the ranks might find different ones
        dtype = _choose_dtype(config, get_first_device(None))
        config = config.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    base: Base = run_on_all_ranks(_load_base, config, device)
    return base


def _load_base(config: BaseConfig, device: torch.device | str | None) -> Base:
    from transformers import AutoConfig, AutoTokenizer

    is_parallel = count_ranks() > 1
    folder, device_map = find_folder(config), None if is_parallel else choose_device_map(config, device)
    require_safetensors(folder, config)
    files_digest, tokenizer_files_digest = compute_model_digest(folder), compute_tokenizer_digest(folder)
    check_same_files(files_digest, config.path)
    with convert_errors(config.path), silence_transformers():
        model_config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        check_files(model_config, folder)
        first_device = get_first_device(device_map)
        quantization, dtype = find_quantization(config, model_config, first_device), _choose_dtype(config, first_device)
        parallel = make_parallel_options(model_config, config, quantization) if is_parallel else {}
        model, report = load_model(
            model_config,
            folder,
            dtype=dtype,
            **(parallel or {"device_map": device_map}),
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            **make_quantization_options(config, dtype),
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if (template := read_named_template(config)) is not None:
        tokenizer.chat_template = template
        ChatTemplate(tokenizer, config.chat_template_kwargs).check()
    if is_parallel:
        register_parallel_model(model)
    check_placement(model, config.path)
    check_loading_report(report, type(model).__name__, config.path)
    if quantization:
        check_quantized(model, quantization, config.path)
        check_four_bit_kernels(model, config.path)
        prepare_quantized(model, dtype)
    check_stored_dtypes(read_stored_dtypes(folder), model, config.path)
    whole_class, model = type(model).__name__, take_text_model(model, config.path)
    if tokenizer.eos_token_id is None:
        raise BaseModelError("a tokenizer with an end-of-text token", f"none in {config.path}", "set its eos_token")
    check_token_ids(tokenizer, model, config.path)
    fuse_activations(model)
    model.requires_grad_(False).eval()
    pack_products(model)
    check_finite_weights(model, config.path)
    base = Base(
        model=model,
        tokenizer=tokenizer,
        name=folder.name if Path(config.path).exists() else config.path,
        digest=compute_base_digest(files_digest, config.quantize),
        files_digest=files_digest,
        quantization=quantization,
        interchangeable=frozenset(config.interchangeable),
        tokenizer_digest=mark_tokenizer_digest(
            tokenizer_files_digest,
            plain=model_config.is_encoder_decoder or find_running_text(tokenizer).is_plain,
        ),
        tokenizer_files_digest=tokenizer_files_digest,
        parameter_count=count_parameters(model),
        chat_template_kwargs=config.chat_template_kwargs,
        chat_template_digest=compute_chat_digest(folder, config),
        context=_read_context(model_config, tokenizer),
        text_model_of="" if type(model).__name__ == whole_class else whole_class,
    )
    find_prefix_shape(model)  # raises for an unsupported model now, before any training
    check_spans(model, base.context)
    if is_parallel:
        check_divided(model, find_attention_layers(model), len(find_decoder_blocks(model)))
        share(model)
    share(base)
    return base


def describe_base(base: Base) -> dict[str, Any]:
    """Return the content of `out/base/base.json`: names, digests and sizes."""
    return {
        "name": base.name,
        "digest": base.digest,
        "files_digest": base.files_digest,
        "quantization": base.quantization,
        "tokenizer_digest": base.tokenizer_digest,
        "tokenizer_files_digest": base.tokenizer_files_digest,
        "chat_template_digest": base.chat_template_digest,
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


def _choose_dtype(config: BaseConfig, device: torch.device | str) -> torch.dtype:
    dtype: torch.dtype = measure_fastest_dtype(device) if config.dtype == "fastest" else getattr(torch, config.dtype)
    return dtype


def _read_context(model_config: Any, tokenizer: Any) -> int:
    """The model's limit of positions; a model with relative positions has none, so the tokenizer's limit is used."""
    text = find_text_configs(model_config)[0]
    positions = getattr(text, "max_position_embeddings", getattr(text, "n_positions", None))
    if positions is not None:
        if positions < 1:
            raise BaseModelError("a context of 1 token or more", f"{positions} in config.json", "correct config.json")
        return int(positions)
    limit = int(tokenizer.model_max_length)
    return limit if limit < _UNLIMITED_CONTEXT else _DEFAULT_CONTEXT
