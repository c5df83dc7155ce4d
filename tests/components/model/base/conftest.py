"""Models on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    """A function that saves a model with a tokenizer of letters to a folder, and returns the folder."""

    def write(model: Any) -> Path:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        folder = tmp_path / "tiny"
        model.save_pretrained(folder)
        letters = {"<eos>": 0, "<pad>": 1, **{chr(97 + index): 2 + index for index in range(26)}}
        tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
        fast.save_pretrained(folder)
        return folder

    return write
