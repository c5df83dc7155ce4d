"""The size of each method's artifact for one tenant: trained values, their share of the base, bytes on disk.

    python benchmarks/method_sizes.py [FOLDER ...]

Without a folder it measures a GPT-2 small and a BART large with random weights, on which sizes do not depend. Every
artifact is compared with a copy of the whole base in float32, as full fine-tuning would store it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from components.config import BaseConfig, TrainConfig
from components.errors import PrefixFleetError
from components.model.base.load import Base, load_base
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import save_artifact

METHODS: dict[str, dict[str, Any]] = {
    "prefix of 10": {"method": "prefix", "prefix_length": 10},
    "infix of 10": {"method": "infix", "prefix_length": 10},
    "embedding of 10": {"method": "embedding", "prefix_length": 10},
    "full": {"method": "full"},
    "top 2 layers": {"method": "top-k", "top_layers": 2},
    "adapter 3 %": {"method": "adapter", "adapter_share": 0.03},
    "adapter 0.1 %": {"method": "adapter", "adapter_share": 0.001},
    "LoRA of rank 8": {"method": "lora", "lora_rank": 8},
    "in-context, 100 examples": {"method": "in-context"},
    "prefix of 10 + adapter 0.1 %": {"method": "prefix+adapter", "prefix_length": 10, "adapter_share": 0.001},
    "prefix of 10 + LoRA of rank 8": {"method": "prefix+lora", "prefix_length": 10, "lora_rank": 8},
}
PAIRS = [(f"name : Place {number} | eatType : pub", f"Place {number} is a pub in the city.") for number in range(100)]


def main() -> None:
    """Print a table for each base."""
    bases = [load_base(BaseConfig(path=folder), device="cpu") for folder in sys.argv[1:]] or [
        make_base("gpt2"),
        make_base("bart"),
    ]
    for base in bases:
        print(f"{base.name}: {type(base.model).__name__}, {base.parameter_count:,} parameters")
        for name, values in METHODS.items():
            print(format_row(base, name, TrainConfig(initialization="random", **values)))


def format_row(base: Base, name: str, config: TrainConfig) -> str:
    """Format one method's line, or the reason why the base does not support the method."""
    try:
        delta = TrainableDelta(base, config, "", None, PAIRS).collapse()
    except PrefixFleetError as problem:
        return f"  {name:30} not on this base: {problem.got}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_artifact(
            folder,
            delta,
            tenant="sizes",
            base_name=base.name,
            base_digest="0" * 64,
            tokenizer_digest="0" * 64,
            dataset_version="0" * 32,
            data_digest="0" * 64,
            train=config.model_dump(mode="json"),
            fingerprint="0" * 64,
            method=config.method,
        )
        size = sum(file.stat().st_size for file in folder.iterdir())
    whole = sum(parameter.nbytes for parameter in base.model.parameters())
    share = delta.parameter_count / base.parameter_count
    return (
        f"  {name:30} {delta.parameter_count:>11,} values {share:9.4%}  {size:>11,} bytes  "
        f"1/{whole / size:,.0f} of the base"
    )


def make_base(kind: str) -> Base:
    """Make a base of a published shape with random weights and without a tokenizer."""
    from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = GPT2LMHeadModel(GPT2Config()) if kind == "gpt2" else BartForConditionalGeneration(BartConfig())
    model.requires_grad_(False).eval()
    size = sum(parameter.numel() for parameter in model.parameters())
    return Base(model, None, f"{kind} by shape", "0" * 64, "0" * 64, size, 1024)


if __name__ == "__main__":
    main()
