"""A base of which every rank holds a part of each layer, by transformers' tensor parallel plan.

A rank has the same number of key/value heads of every layer as the others, in order. So the slots of a prefix are cut
to a rank's own heads where they enter attention; prefixes themselves, and the shape of a base, always have all heads.
Knows plans and heads; does not know prefixes.
"""

from dataclasses import replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from components.config import BaseConfig
from components.errors import BaseModelError, ConfigError
from components.model.base.shapes import PrefixShape
from components.model.base.text_config import find_text_configs
from components.model.ranks import count_ranks, gather_from_ranks, get_rank, is_inside_operation

_parallel_models: "WeakSet[nn.Module]" = WeakSet()
_FIX = "start the command without torchrun; for several GPUs set base.device_map"


def is_tensor_parallel(model: Any) -> bool:
    """Whether this process holds a part of every layer's heads."""
    return model in _parallel_models


def make_parallel_options(model_config: Any, config: BaseConfig, quantization: str) -> dict[str, Any]:
    """Return the options of `from_pretrained` with which each rank reads its own parts from the files.

    Raises:
        ConfigError: `base.device_map` is set.
        BaseModelError: the base cannot be divided among these ranks.
    """
    from transformers.distributed import DistributedConfig

    if config.device_map is not None:
        got = f"base.device_map: {config.device_map}, and {count_ranks()} processes of torchrun"
        raise ConfigError("one way to divide the base", got, "set base.device_map to null, or leave out torchrun")
    text = find_text_configs(model_config)[0]
    kinds = {
        "quantised weights": bool(quantization),
        "an encoder and a decoder": model_config.is_encoder_decoder,
        "parts beside its text model": text is not model_config,
        "no tensor parallel plan in transformers": not getattr(text, "base_model_tp_plan", None),
    }
    for reason, applies in kinds.items():
        if applies:
            raise _make_error(f"{config.path} ({model_config.model_type}): {reason}")
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(text, name, None) or text.num_attention_heads
        if heads % count_ranks():
            fix = "start a number of processes that divides the heads"
            got = f"{name} {heads} and {count_ranks()} processes"
            raise BaseModelError("heads that the processes of torchrun share equally", f"{config.path}: {got}", fix)
    return {"distributed_config": DistributedConfig(tp_size=count_ranks())}


def check_same_files(digest: str, path: str) -> None:
    """Check that all ranks read the same model. Raises BaseModelError on every rank."""
    digests = gather_from_ranks(digest)
    if len(set(digests)) > 1:
        got = ", ".join(f"{one[:12]} on rank {rank}" for rank, one in enumerate(digests))
        raise BaseModelError(f"the same files of {path} on all ranks", f"digests {got}", "copy them to every machine")


def register_parallel_model(model: Any) -> None:
    """Let the functions here treat `model` as one part; its forwards outside of operations become an error."""
    _parallel_models.add(model)
    if not get_rank():
        for part in (model, model.base_model, model.get_input_embeddings()):
            part.register_forward_pre_hook(_check_forward)


def check_divided(model: Any, layers: Any, blocks: int) -> None:
    """Check that every block of a model has attention, all with the same shape, and that the plan divides its heads.

    `layers` are those of `find_attention_layers`.

    Raises:
        BaseModelError: the plan leaves heads whole; layers have no or shared keys, or differ.
    """
    text = find_text_configs(model.config)[0]
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    shapes = {layer.shape for layer in layers.values()}
    name = type(model).__name__
    if any(layer.is_shared for layer in layers.values()) or len(layers) != blocks:
        raise _make_error(f"{name}: layers without keys and values of their own")
    if len(shapes) > 1 or any(shape.key_dim != shape.value_dim for shape in shapes):
        raise _make_error(f"{name}: keys and values of different sizes")
    if {shape.kv_heads for shape in shapes} != {heads}:
        raise _make_error(f"{name}: a plan that does not divide its {heads} key/value heads")


def check_whole(model: Any, what: str) -> None:
    """Raise BaseModelError if `model` is divided among processes, for what needs all of it."""
    if is_tensor_parallel(model):
        raise _make_error(what)


def scale_heads(model: Any, local_heads: int) -> int:
    """Return the key/value heads of all ranks together."""
    return local_heads * count_ranks() if is_tensor_parallel(model) else local_heads


def cut_shape(model: Any, shape: PrefixShape) -> PrefixShape:
    """Return the shape of what this rank keeps of a prefix for `model`, whose layers are even."""
    return replace(shape, kv_heads=shape.kv_heads // count_ranks()) if is_tensor_parallel(model) else shape


def cut_heads(model: Any, tensor: Tensor, dim: int) -> Tensor:
    """Return this rank's key/value heads of a tensor that has all heads in `dim`; gradients flow back."""
    if not is_tensor_parallel(model):
        return tensor
    count = tensor.shape[dim] // count_ranks()
    return tensor.narrow(dim, get_rank() * count, count)


def gather_heads(model: Any, tensor: Tensor, dim: int) -> Tensor:
    """Return the heads of all ranks of a tensor that has this rank's heads in `dim`; without gradients."""
    if not is_tensor_parallel(model):
        return tensor
    own = tensor.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(count_ranks())]
    torch.distributed.all_gather(parts, own)
    return torch.cat(parts, dim=dim)


def _check_forward(model: Any, _inputs: Any) -> None:
    if not is_inside_operation():
        raise _make_error(f"{type(model).__name__} divided among processes, in an operation that only one of them does")


def _make_error(got: str) -> BaseModelError:
    wanted = "a base and an operation that the processes of torchrun can divide (docs/bases.md)"
    return BaseModelError(wanted, got, _FIX)
