from pathlib import Path

import pytest
from transformers import GPT2Config

from components.config import BaseConfig
from components.model.base.load import load_base


def test_sizes_are_those_of_gpt2_small(tmp_path: Path) -> None:
    from harness.random_bases import read_base_sizes

    GPT2Config().save_pretrained(tmp_path)
    sizes = read_base_sizes(tmp_path)
    assert sizes.layer_weights == 12 * (768 * 2304 + 768 * 768 + 2 * 768 * 3072)
    assert sizes.output_weights == 50_257 * 768
    assert set(sizes.matrices) == {(768, 2304), (768, 768), (768, 3072), (3072, 768), (50_257, 768)}


def test_the_operations_of_a_token(tmp_path: Path) -> None:
    from harness.random_bases import BaseSizes

    sizes = BaseSizes("a base", layer_weights=100, output_weights=40, matrices=())
    assert sizes.count_operations(0.5) == 4 * 120
    assert sizes.count_operations(0.5, full=True) == 6 * 120


def test_the_tokenizer_reads_numbers_as_ids(shaped: Path) -> None:
    base = load_base(BaseConfig(path=str(shaped)), device="cpu")
    assert base.text_codec.encode_sources(["17 905"]) == [[17, 905, 50_256]]
    assert base.text_codec.encode_targets(["1 2 3"]) == [[1, 2, 3, 50_256]]


def test_every_dropout_is_set_to_zero(shaped: Path) -> None:
    from harness.random_bases import make_zero_dropouts

    assert make_zero_dropouts(shaped) == pytest.approx(
        {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "summary_first_dropout": 0.0}
    )
