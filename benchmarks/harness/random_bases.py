"""Bases to measure on: GPT-2 of published shapes with random weights, in a folder that every contender loads.

Speed and memory do not depend on the values of the weights. Knows no prefix and no training.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SEED = 0
END_WORD = "50256"
"""The end token, the last of GPT-2's 50,257 ids, as a word of the tokenizer of numbers."""


@dataclass(frozen=True)
class GPT2Shape:
    """The shape of a GPT-2; its vocabulary has 50,257 tokens and its context 1,024, as GPT-2's own."""

    layers: int
    width: int
    heads: int


SHAPES = {"tiny": GPT2Shape(2, 32, 2), "small": GPT2Shape(12, 768, 12), "medium": GPT2Shape(24, 1024, 16)}


def write_base(folder: Path, shape: GPT2Shape, bpe: Path | None) -> None:
    """Write a base of this shape with the tokenizer in folder `bpe` (`vocab.json`, `merges.txt`), or one of numbers."""
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerFast

    silence_transformers()
    torch.manual_seed(SEED)
    config = GPT2Config(n_layer=shape.layers, n_embd=shape.width, n_head=shape.heads)
    GPT2LMHeadModel(config).save_pretrained(folder)
    if bpe is not None:
        tokenizer = GPT2Tokenizer.from_pretrained(bpe)
    else:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=make_number_tokenizer(config.vocab_size), eos_token=END_WORD
        )
    tokenizer.save_pretrained(folder)


def silence_transformers() -> None:
    """Turn off transformers' progress bars and warnings."""
    from transformers.utils import logging

    warnings.simplefilter("ignore", FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def make_number_tokenizer(size: int) -> Any:
    """Make a tokenizer whose words are token ids: `17 905` is the tokens 17 and 905."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({str(number): number for number in range(size)}, unk_token="0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


@dataclass(frozen=True)
class BaseSizes:
    """The weights in a base's matrix products and their shapes, which determine its number of operations."""

    name: str
    layer_weights: int
    """Number of weights in the layers' matrices, without embeddings, biases and norms."""
    output_weights: int
    """Number of weights in the output projection: vocabulary x width."""
    matrices: tuple[tuple[int, int], ...]
    """The distinct shapes of matrices, the output projection's last."""

    def count_operations(self, target_share: float, *, full: bool = False) -> float:
        """Return the operations for one token: a multiplication and an addition per weight, forward and backward.

        The backward pass of a frozen base computes only the gradient of the activations (4 operations per weight in
        all); full fine-tuning also computes that of the weights (6). Only the share of tokens that are targets needs
        the output projection. Attention's own products are not counted: they are below 2 % at these lengths.
        """
        return (6 if full else 4) * (self.layer_weights + self.output_weights * target_share)

    def count_decoding_operations(self, rows: float, read: float, written: float, beams: int = 1) -> float:
        """Return the operations to read `read` tokens in `rows` rows and to write `written` tokens with each beam.

        The tokens that are read count once a row, and new tokens once a beam, except a row's last.
        """
        steps = beams * (written - rows)
        return 2.0 * (self.layer_weights * (read + steps) + self.output_weights * (rows + steps))

    def count_weight_bytes(self, dtype: str) -> int:
        """Return the bytes of the weights that one forward pass reads; also a backward pass in a frozen base."""
        return (self.layer_weights + self.output_weights) * (2 if dtype == "bfloat16" else 4)


def read_base_sizes(folder: Path) -> BaseSizes:
    """Read a base's sizes from its config, without loading weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    output = model.get_output_embeddings().weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)} | {id(output)}
    body = [weight for weight in model.parameters() if weight.dim() == 2 and id(weight) not in tables]
    shapes = dict.fromkeys((int(weight.shape[0]), int(weight.shape[1])) for weight in [*body, output])
    return BaseSizes(folder.name, sum(weight.numel() for weight in body), output.numel(), tuple(shapes))


def make_zero_dropouts(folder: Path) -> dict[str, float]:
    """Return the names of a base's dropouts with the value 0, as arguments to load it with."""
    config = json.loads((folder / "config.json").read_text())
    return {name: 0.0 for name in config if name.endswith(("_pdrop", "dropout"))}
