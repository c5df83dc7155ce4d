"""The built-in base as it lies in the repository."""

from pathlib import Path

import pytest

from components.config import BaseConfig
from components.model.base.load import load_base

FOLDER = Path(__file__).resolve().parents[4] / "base"


@pytest.fixture(scope="module")
def base():
    return load_base(BaseConfig(path=str(FOLDER)))


def test_the_base_with_its_tokenizer_and_card_is_at_most_8_mb():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 8_000_000
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= {file.name for file in FOLDER.iterdir()}


def test_the_default_prefix_is_at_most_half_a_percent_of_the_base(base):
    from components.config import load_params

    length = load_params(FOLDER.parent / "params.yaml").train.prefix_length
    values = length * base.shape.layers * 2 * base.shape.kv_heads * base.shape.head_dim
    assert 0 < values <= 0.005 * base.parameter_count


def test_the_base_copies_names_that_are_not_in_its_training_text(base):
    from components.model.decoding import Decoding, generate_text

    sources = [
        "name : Zelkin Brantmere | food : Ostravian | area : Quellham",
        "name : The Copper Otter | food : Thai | area : Vrondle Park",
    ]
    texts = generate_text(base, None, sources, Decoding(max_new_tokens=60), 2)
    assert "Zelkin Brantmere" in texts[0]
    assert "The Copper Otter" in texts[1]
