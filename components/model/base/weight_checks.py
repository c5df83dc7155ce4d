"""Check that a model's weights are those of its files: every tensor is there, is used, has the right shape, is finite.

transformers only logs what does not match, and gives missing tensors random values. Knows models and transformers'
loading report; does not know files.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from components.errors import BaseModelError
from components.model.base.quantization import is_full_tensor, list_stored_tensors

_SHOWN_KEYS = 3
_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
_OLD_BUFFERS = re.compile(
    r"(^|\.)((attn|attention)\.(masked_)?bias|position_ids|(encoder|decoder)\.version|rotary_emb\.inv_freq)$"
)
"""Constants that earlier releases of transformers and fairseq saved with the weights; a model computes them itself."""


def check_loading_report(report: Mapping[str, Iterable[Any]], architecture: str, path: str) -> None:
    """Check the report of `from_pretrained(..., output_loading_info=True)`.

    transformers leaves tied weights and the keys that a class declares as ignorable out of the report.

    Raises:
        BaseModelError: keys are missing, unknown or of other shapes; the message has their number and the first ones.
    """
    problems = [
        ("missing", sorted(report["missing_keys"])),
        ("unknown", [key for key in sorted(report["unexpected_keys"]) if not _OLD_BUFFERS.search(key)]),
        ("of other shape", [_format_mismatch(*entry) for entry in sorted(report["mismatched_keys"])]),
    ]
    got = "; ".join(f"{what} {_format_keys(keys)}" for what, keys in problems if keys)
    if not got:
        return
    fix = (
        "save the model again with save_pretrained of this class (a compiled or wrapped model: its inner module; an "
        "adapter: after merge_and_unload), or correct config.json"
    )
    raise BaseModelError(f"exactly the weights of {architecture}, as config.json describes it", f"{path}: {got}", fix)


def check_stored_dtypes(dtypes: Mapping[str, str], model: Any, path: str) -> None:
    """Check that what the model computes with as it is was stored in 16 bits or more.

    transformers casts other numbers without their scales. Weights that the model keeps quantised have theirs beside
    them. `dtypes` are those of the files, by name.

    Raises:
        BaseModelError: weights are stored as integers or in 8 bits.
    """
    names = {name for name, tensor in model.state_dict().items() if is_full_tensor(tensor)}
    known = names | {name.removeprefix(f"{model.base_model_prefix}.") for name in names}
    cast = sorted(name for name, dtype in dtypes.items() if dtype not in _FLOAT_DTYPES and name in known)
    if cast:
        got = f"{path}: {dtypes[cast[0]]} in {_format_keys(cast)}"
        fix = "save the model before it is quantised, or with the quantization_config of its method in config.json"
        raise BaseModelError(f"weights in {', '.join(_FLOAT_DTYPES)}", got, fix)


def check_finite_weights(model: Any, path: str) -> None:
    """Check parameters and saved buffers in one pass; of quantised weights, their scales too.

    Raises:
        BaseModelError: values are NaN or infinite; the message has the number of tensors and the first names.
    """
    seen: set[int] = set()
    broken = []
    for name, weight in model.state_dict().items():
        for tensor in list_stored_tensors(weight):
            if not tensor.is_floating_point() or not tensor.numel() or tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            wide = tensor if tensor.element_size() > 1 else tensor.bfloat16()
            if not all(bool(limit.isfinite()) for limit in torch.aminmax(wide)):
                broken.append(name)
    if broken:
        dtype = str(model.dtype).removeprefix("torch.")
        got = f"{path}: NaN or infinity in {_format_keys(broken)}, loaded as {dtype}"
        fix = "download or save the model again, or set base.dtype to float32 if it overflows in 16 bits"
        raise BaseModelError("finite weights", got, fix)


def _format_keys(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"{len(keys)} key{'s' if len(keys) > 1 else ''}: {', '.join(keys[:_SHOWN_KEYS])}{more}"


def _format_mismatch(key: str, in_file: Any, in_model: Any) -> str:
    return f"{key} {list(in_file)} (config.json: {list(in_model)})"
