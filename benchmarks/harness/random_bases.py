"""Bases to measure on: GPT-2 of published shapes with random weights, in a folder that both sides load.

Speed and memory do not depend on the weights' values. Knows no prefix and no training.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SEED = 0
END_WORD = "50256"
"""The last of GPT-2's 50,257 ids ends texts; as a word of the tokenizer of numbers it stands for itself."""


@dataclass(frozen=True)
class GPT2Shape:
    """Sizes of a GPT-2; the vocabulary is GPT-2's own, of 50,257 tokens, and the context 1,024."""

    layers: int
    width: int
    heads: int


SHAPES = {"tiny": GPT2Shape(2, 32, 2), "small": GPT2Shape(12, 768, 12), "medium": GPT2Shape(24, 1024, 16)}


def write_base(folder: Path, shape: GPT2Shape, bpe: Path | None) -> None:
    """Write a base of this shape; its tokenizer is the one of `bpe` (`vocab.json`, `merges.txt`) or one of numbers."""
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerFast

    silence_transformers()
    torch.manual_seed(SEED)
    config = GPT2Config(n_layer=shape.layers, n_embd=shape.width, n_head=shape.heads)
    GPT2LMHeadModel(config).save_pretrained(folder)
    if bpe is not None:
        tokenizer = GPT2Tokenizer.from_pretrained(bpe)
    else:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_make_number_tokenizer(config.vocab_size), eos_token=END_WORD
        )
    tokenizer.save_pretrained(folder)


def silence_transformers() -> None:
    """Keep transformers' progress bars and advice out of the tables."""
    from transformers.utils import logging

    warnings.simplefilter("ignore", FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _make_number_tokenizer(size: int) -> Any:
    """A tokenizer whose texts are their own ids: `17 905` is the tokens 17 and 905."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({str(number): number for number in range(size)}, unk_token="0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


@dataclass(frozen=True)
class BaseSizes:
    """What a base's arithmetic follows from: numbers of weights in its products, and the shapes of these."""

    name: str
    layer_weights: int
    """Weights of all layers' matrices; embeddings, biases and norms multiply nothing."""
    output_weights: int
    """Weights of the output product: vocabulary x width."""
    matrices: tuple[tuple[int, int], ...]
    """Each distinct matrix of weights, the output product's last."""

    def count_operations(self, target_share: float, *, full: bool = False) -> float:
        """Operations that a token needs: a multiplication and an addition per weight, forward and backward.

        Backward of a frozen base is the activations' gradient alone (4 in all); full fine-tuning has the weights' too
        (6). The output product is needed where a target is predicted. Attention's own products are left out: under 2 %
        at these lengths.
        """
        return (6 if full else 4) * (self.layer_weights + self.output_weights * target_share)


def read_base_sizes(folder: Path) -> BaseSizes:
    """Read a base's sizes from its config; no weights are loaded."""
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
    """A base's dropouts, all at 0, to load it with."""
    config = json.loads((folder / "config.json").read_text())
    return {name: 0.0 for name in config if name.endswith(("_pdrop", "dropout"))}
