"""One cell with small parts in the place of training and decoding; scoring is the real one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.evaluation.suites import score_suite
from components.reproduction.cells import Cell
from components.reproduction.measure import Work, input_interval, measure, peak_mib, rescore
from components.reproduction.plan import BaseFacts, plan
from components.reproduction.request import make_request
from components.reproduction.sources import Data, read_data


class Parts:
    """What was trained on what, and how it was decoded; every other text comes out as its first reference."""

    def __init__(self, data: Data) -> None:
        self.answers = {example.source: example.references[0] for example in data.test}
        self.fitted: list[dict[str, Any]] = []
        self.decoded: list[dict[str, Any]] = []

    def fit(self, base: Any, config: Any, train: Sequence[Any], validation: Sequence[Any], **more: Any) -> Any:
        self.fitted.append({"config": config, "train": list(train), "validation": list(validation), **more})
        more["log"](0, {"validation_loss": 2.0})
        delta = SimpleNamespace(parameters=77)
        went = {"steps": config.max_steps, "best_step": 1, "validation_loss": 1.5, "seconds": 4.0, "resumed_from": 0}
        return SimpleNamespace(delta=delta, **went)

    def generate(
        self, base: Any, delta: Any, texts: Sequence[str], decoding: Any, size: int, on_batch: Any, **more: Any
    ) -> list[str]:
        self.decoded.append({"delta": delta, "decoding": decoding, **more})
        on_batch(len(texts))
        return [self.answers[text] if number % 2 else "nothing of it" for number, text in enumerate(texts)]

    @property
    def work(self) -> Work:
        def score(suite: str, texts: Any, references: Any, slices: Any) -> Any:
            metrics = ["rouge1", "rougeL"] if suite == "summarisation" else ["bleu"]
            return score_suite(suite, texts, references, slices, metrics=metrics)

        return Work(self.fit, self.generate, lambda **settings: settings, score)


@pytest.fixture
def told() -> list[tuple[str, int, int, str]]:
    return []


def cell_of(data: Data, facts: BaseFacts, experiment: str, **options: Any) -> Cell:
    return plan(make_request(experiment, base="b", data="d", **options), facts, data)[0].cells[0]


def test_a_cell_is_trained_decoded_and_scored(e2e: Path, facts: BaseFacts, tmp_path: Path, told: list[Any]) -> None:
    data = read_data(str(e2e), ["e2e"])
    parts, cell = Parts(data), cell_of(data, facts, "table1", only="prefix", budget="3")
    result, texts = measure(cell, None, data, parts.work, tmp_path, lambda *line: told.append(line))
    assert parts.fitted[0]["train"] == list(data.train)
    assert (parts.fitted[0]["run_key"], parts.fitted[0]["state"]) == (cell.key, tmp_path)
    assert parts.decoded[0]["decoding"]["banned"] == ("\n",)
    assert told == [("training", 0, 3, "validation loss 2.000"), ("decoding", 8, 8, "")]
    assert (result.cell, result.trained, result.steps, result.train_seconds) == (cell, 77, 3, 4.0)
    assert len(texts) == 8
    (bleu,) = result.values
    assert 10 < bleu.value < 90
    assert bleu.low is not None
    assert bleu.low <= bleu.value <= (bleu.high or 0)
    assert 0 < result.peak_train_mib <= result.peak_mib <= peak_mib()


def test_the_base_alone_is_not_trained(e2e: Path, facts: BaseFacts, tmp_path: Path) -> None:
    data = read_data(str(e2e), ["e2e"])
    parts, cell = Parts(data), cell_of(data, facts, "table1", only="base")
    result, _ = measure(cell, None, data, parts.work, tmp_path, lambda *_: None)
    assert parts.fitted == []
    assert parts.decoded[0]["delta"] is None
    assert (result.trained, result.steps, result.validation_loss) == (0, 0, None)


def test_a_low_data_cell_sees_its_sample_alone(
    tmp_path: Path, write_e2e: Callable[..., Path], facts: BaseFacts
) -> None:
    data = read_data(str(write_e2e(tmp_path / "many", train=600, validation=60)), ["e2e"])
    parts, cell = Parts(data), cell_of(data, facts, "lowdata", sizes="50", samples=1)
    measure(cell, None, data, parts.work, tmp_path, lambda *_: None)
    assert (len(parts.fitted[0]["train"]), len(parts.fitted[0]["validation"])) == (50, 15)


def test_inputs_are_scored_by_quarters_of_their_length(
    tmp_path: Path, write_dialogsum: Callable[..., Path], facts: BaseFacts
) -> None:
    data = read_data(str(write_dialogsum(tmp_path / "talk", {"train": 9, "dev": 3, "test": 12})), ["dialogsum"])
    cell = cell_of(data, facts, "inputlength", preset="small", only="full")
    base = SimpleNamespace(tokenizer=lambda texts, **_: {"input_ids": [text.split() for text in texts]})
    result, texts = measure(cell, base, data, Parts(data).work, tmp_path, lambda *_: None)
    assert result.bounds["shortest quarter"] == (2, 6)
    assert result.bounds["longest quarter"] == (20, 24)
    slices = {(value.metric, value.slice): value.n for value in result.values}
    assert slices["rouge1", "shortest quarter"] == 3
    assert slices["rougeL", "all"] == 12
    assert rescore(result, base, data, texts, Parts(data).work) == result


def test_intervals_are_those_of_metrics_that_can_be_resampled() -> None:
    texts = ["the cat sat on the mat today", "a dog ran in the park"] * 10
    references = [["the cat sat on a mat today"], ["a dog ran in the big park"]] * 10
    scores = {one.metric: one.value for one in score_suite("webnlg", texts, references, metrics=["bleu", "ter"])}
    low, high = input_interval("webnlg", "bleu", scores["bleu"], texts, references) or (0.0, 0.0)
    assert low < scores["bleu"] < high
    assert input_interval("webnlg", "ter", scores["ter"], texts, references) is None
    assert input_interval("webnlg", "bleu", scores["bleu"] + 5, texts, references) is None
