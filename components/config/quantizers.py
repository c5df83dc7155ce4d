"""The settings of each value of `base.quantize`, and the digest of a base that is quantised with them.

Knows names and settings; does not know models or the packages that quantise.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

Quantizer = Literal["bitsandbytes-int8", "bitsandbytes-nf4", "torchao-int8", "torchao-int4"]
"""The package and the type of the weights."""

QUANTIZERS: Mapping[Quantizer, Mapping[str, Any]] = {
    "bitsandbytes-int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    "bitsandbytes-nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "torchao-int8": {"kind": "Int8WeightOnlyConfig"},
    "torchao-int4": {"kind": "Int4WeightOnlyConfig", "group_size": 128},
}
"""Arguments of transformers' BitsAndBytesConfig, or of the class `kind` in torchao.quantization."""


def compute_base_digest(files_digest: str, quantizer: Quantizer | None) -> str:
    """Return the digest that names a base: of its files, and of the quantiser with its settings if there is one."""
    if quantizer is None:
        return files_digest
    settings = json.dumps({"quantize": quantizer, **QUANTIZERS[quantizer]}, sort_keys=True)
    return hashlib.sha256(f"{files_digest}\0{settings}".encode()).hexdigest()
