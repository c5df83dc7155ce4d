"""A workspace of many tenants on a tiny base, to measure everything besides arithmetic; texts have E2E's lengths.

The base is a GPT-2 with random weights and a vocabulary of 256 words, the numbers from 0 to 255.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from components.data.schema import Example, format_line

SPLIT_SIZES = {"train": 80, "validation": 10, "test": 10}
"""Split -> number of examples, 100 in all."""
_VOCABULARY_SIZE = 256
_END_WORD = str(_VOCABULARY_SIZE - 1)


def write_workspace(root: Path, tenants: Sequence[str], params: dict[str, Any]) -> None:
    """Make base/, params.yaml and data/ in an empty folder, without git and DVC; data.dvc has a made-up digest."""
    _write_base(root / "base")
    (root / "params.yaml").write_text(yaml.safe_dump({"base": {"path": "base"}, **params}))
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "path": "data"}]}))
    write_data(root / "data", tenants)


def write_data(data: Path, tenants: Sequence[str], seed: int = 0) -> None:
    """Write 100 examples for each tenant; the texts depend on `seed`."""
    from harness.training_examples import E2E_LENGTHS

    for tenant in tenants:
        chooser = random.Random(f"{seed} {tenant}")
        folder = data / tenant
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in SPLIT_SIZES.items():
            lengths = chooser.choices(E2E_LENGTHS, k=count)
            pairs = [Example(_make_text(chooser, source), (_make_text(chooser, target),)) for source, target in lengths]
            (folder / f"{split}.jsonl").write_text("".join(map(format_line, pairs)))


def make_tenant_ids(count: int) -> list[str]:
    """Return the ids of the first `count` tenants."""
    return [f"tenant-{number:05d}" for number in range(count)]


def _make_text(chooser: random.Random, tokens: int) -> str:
    """Return random words; the end token is one of the `tokens`."""
    return " ".join(map(str, chooser.choices(range(_VOCABULARY_SIZE - 1), k=tokens - 1)))


def _write_base(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from harness.random_bases import silence_transformers

    silence_transformers()
    torch.manual_seed(0)
    end = _VOCABULARY_SIZE - 1
    config = GPT2Config(
        vocab_size=_VOCABULARY_SIZE, n_positions=256, n_embd=32, n_layer=2, n_head=2, bos_token_id=end, eos_token_id=end
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({str(number): number for number in range(_VOCABULARY_SIZE)}, unk_token="0"))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token=_END_WORD).save_pretrained(folder)
