"""Measuring one cell with fake training and decoding and with the real scoring."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from components.config import BaseConfig
from components.evaluation.suites import score_suite
from components.model.base.load import load_base
from components.reproduction.cells import Cell
from components.reproduction.experiment_run import read_base_facts
from components.reproduction.measure import (
    CellFunctions,
    compute_input_interval,
    make_cell_functions,
    measure_cell,
    read_peak_mib,
    rescore,
)
from components.reproduction.plan import BaseFacts, plan_points
from components.reproduction.request import make_request
from components.reproduction.sources import PublishedDataset, read_published_dataset


class FakeFunctions:
    """Records the arguments of training and decoding; every other text is decoded as its first reference."""

    def __init__(self, data: PublishedDataset) -> None:
        self.answers = {example.source: example.references[0] for example in data.test}
        self.fitted: list[dict[str, Any]] = []
        self.decoded: list[dict[str, Any]] = []

    def fit(self, base: Any, config: Any, train: Sequence[Any], validation: Sequence[Any], **more: Any) -> Any:
        self.fitted.append({"config": config, "train": list(train), "validation": list(validation), **more})
        more["log"](0, {"validation_loss": 2.0})
        delta = SimpleNamespace(parameter_count=77)
        values = {"steps": config.max_steps, "best_step": 1, "validation_loss": 1.5, "seconds": 4.0, "resumed_from": 0}
        return SimpleNamespace(delta=delta, **values)

    def generate(
        self, base: Any, delta: Any, texts: Sequence[str], decoding: Any, size: int, on_batch: Any, **more: Any
    ) -> list[str]:
        self.decoded.append({"delta": delta, "decoding": decoding, **more})
        on_batch(len(texts))
        return [self.answers[text] if number % 2 else "something else" for number, text in enumerate(texts)]

    @property
    def cell_functions(self) -> CellFunctions:
        def score(suite: str, texts: Any, references: Any, slices: Any) -> Any:
            metrics = ["rouge1", "rougeL"] if suite == "summarisation" else ["bleu"]
            return score_suite(suite, texts, references, slices, metrics=metrics)

        return CellFunctions(self.fit, self.generate, lambda **settings: settings, score)


def cell_of(data: PublishedDataset, facts: BaseFacts, experiment: str, **options: Any) -> Cell:
    return plan_points(make_request(experiment, base="b", data="d", **options), facts, data)[0].cells[0]


def test_a_cell_is_trained_decoded_and_scored(e2e: Path, facts: BaseFacts, tmp_path: Path) -> None:
    data = read_published_dataset(str(e2e), ["e2e"])
    fakes, cell = FakeFunctions(data), cell_of(data, facts, "table1", only="prefix", budget="3")
    progress: list[tuple[str, int, int, str]] = []
    result, texts = measure_cell(cell, None, data, fakes.cell_functions, tmp_path, lambda *one: progress.append(one))
    assert fakes.fitted[0]["train"] == list(data.train)
    assert (fakes.fitted[0]["run_key"], fakes.fitted[0]["state"]) == (cell.run_key, tmp_path)
    assert fakes.decoded[0]["decoding"]["banned"] == ("\n",)
    assert progress == [("training", 0, 3, "validation loss 2.000"), ("decoding", 8, 8, "")]
    assert (result.cell, result.trained, result.steps, result.train_seconds) == (cell, 77, 3, 4.0)
    assert len(texts) == 8
    (bleu,) = result.values
    assert 10 < bleu.value < 90
    assert bleu.low is not None
    assert bleu.low <= bleu.value <= (bleu.high or 0)
    assert 0 < result.peak_train_mib <= result.peak_mib <= read_peak_mib()


def test_the_base_alone_is_not_trained(e2e: Path, facts: BaseFacts, tmp_path: Path) -> None:
    data = read_published_dataset(str(e2e), ["e2e"])
    fakes, cell = FakeFunctions(data), cell_of(data, facts, "table1", only="base")
    result, _ = measure_cell(cell, None, data, fakes.cell_functions, tmp_path, lambda *_: None)
    assert fakes.fitted == []
    assert fakes.decoded[0]["delta"] is None
    assert (result.trained, result.steps, result.validation_loss) == (0, 0, None)


def test_a_low_data_cell_is_trained_on_its_sample(
    tmp_path: Path, write_e2e: Callable[..., Path], facts: BaseFacts
) -> None:
    data = read_published_dataset(str(write_e2e(tmp_path / "many", train=600, validation=60)), ["e2e"])
    fakes, cell = FakeFunctions(data), cell_of(data, facts, "lowdata", sizes="50", samples=1)
    measure_cell(cell, None, data, fakes.cell_functions, tmp_path, lambda *_: None)
    assert (len(fakes.fitted[0]["train"]), len(fakes.fitted[0]["validation"])) == (50, 15)


def test_inputs_are_scored_by_quarters_of_their_length(
    tmp_path: Path, write_dialogsum: Callable[..., Path], facts: BaseFacts
) -> None:
    data = read_published_dataset(
        str(write_dialogsum(tmp_path / "talk", {"train": 9, "dev": 3, "test": 12})), ["dialogsum"]
    )
    cell = cell_of(data, facts, "inputlength", preset="small", only="full")
    base = SimpleNamespace(tokenizer=lambda texts, **_: {"input_ids": [text.split() for text in texts]})
    result, texts = measure_cell(cell, base, data, FakeFunctions(data).cell_functions, tmp_path, lambda *_: None)
    assert result.bounds["shortest quarter"] == (2, 6)
    assert result.bounds["longest quarter"] == (20, 24)
    slices = {(value.metric, value.slice): value.n for value in result.values}
    assert slices["rouge1", "shortest quarter"] == 3
    assert slices["rougeL", "all"] == 12
    assert rescore(result, base, data, texts, FakeFunctions(data).cell_functions) == result


def test_only_metrics_that_can_be_resampled_have_intervals() -> None:
    texts = ["the cat sat on the mat today", "a dog ran in the park"] * 10
    references = [["the cat sat on a mat today"], ["a dog ran in the big park"]] * 10
    scores = {one.metric: one.value for one in score_suite("webnlg", texts, references, metrics=["bleu", "ter"])}
    low, high = compute_input_interval("webnlg", "bleu", scores["bleu"], texts, references) or (0.0, 0.0)
    assert low < scores["bleu"] < high
    assert compute_input_interval("webnlg", "ter", scores["ter"], texts, references) is None
    assert compute_input_interval("webnlg", "bleu", scores["bleu"] + 5, texts, references) is None


@pytest.mark.slow
def test_table3_on_a_real_encoder_decoder(tmp_path: Path, write_dialogsum: Callable[..., Path]) -> None:
    data = read_published_dataset(
        str(write_dialogsum(tmp_path / "talk", {"train": 12, "dev": 3, "test": 4})), ["dialogsum"]
    )
    folder = tiny_bart(tmp_path / "bart")
    facts = read_base_facts(str(folder))
    assert (facts.is_encoder_decoder, facts.slot_values) == (True, 3 * 2 * 1 * 2 * 8)
    request = make_request("table3", base="b", data="d", preset="small", only="prefix-2", budget="2", inputs=2)
    cell = plan_points(request, facts, data)[0].cells[0]
    result, texts = measure_cell(
        cell, load_base(BaseConfig(path=str(folder))), data, make_cell_functions(), tmp_path, lambda *_: None
    )
    assert cell.train is not None
    assert cell.train.prefix_length == round(0.02 * facts.parameters / facts.slot_values)
    assert result.trained == cell.train.prefix_length * facts.slot_values
    assert {value.metric for value in result.values} == {"rouge1", "rouge2", "rougeL"}
    assert len(texts) == 2


def tiny_bart(folder: Path) -> Path:
    """A BART of one layer each and random weights, with a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    letters = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(letters),
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=160,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    return folder
