"""The cells of an experiment: how many there are, how they are trained, and their keys."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.errors import BaseModelError, DataError
from components.reproduction.plan import BaseFacts, TablePoint, plan_points
from components.reproduction.request import make_request
from components.reproduction.sources import PublishedDataset, read_published_dataset


@pytest.fixture
def planned(e2e: Path, facts: BaseFacts) -> Callable[..., list[TablePoint]]:
    """A function that plans the points of an experiment on 24 training pairs."""

    def make(
        experiment: str, base: BaseFacts = facts, data: PublishedDataset | None = None, **options: Any
    ) -> list[TablePoint]:
        dataset = data or read_published_dataset(str(e2e), ["e2e"])
        return plan_points(make_request(experiment, base="b", data=str(e2e), **options), base, dataset)

    return make


@pytest.fixture
def many(tmp_path: Path, write_e2e: Callable[..., Path]) -> PublishedDataset:
    return read_published_dataset(str(write_e2e(tmp_path / "many", train=2_600, validation=200)), ["e2e"])


@pytest.fixture
def talk(tmp_path: Path, write_dialogsum: Callable[..., Path]) -> PublishedDataset:
    return read_published_dataset(
        str(write_dialogsum(tmp_path / "talk", {"train": 20, "dev": 5, "test": 8})), ["dialogsum"]
    )


def test_table1_has_a_cell_for_every_seed_of_a_trained_method_and_one_otherwise(
    planned: Callable[..., list[TablePoint]],
) -> None:
    points = {point.row: point for point in planned("table1", seeds="0,1,2")}
    assert list(points) == ["full", "top-2", "adapter-3", "adapter-0.1", "lora", "prefix", "in-context", "base"]
    assert [len(point.cells) for point in points.values()] == [3, 3, 3, 3, 3, 3, 1, 1]
    assert [cell.seed for cell in points["prefix"].cells] == [0, 1, 2]
    trains = {row: point.cells[0].train for row, point in points.items()}
    assert trains["base"] is None
    assert trains["prefix"].method == "prefix"
    assert (trains["prefix"].prefix_length, trains["prefix"].mlp_hidden, trains["prefix"].loss) == (
        5,
        512,
        "sequence-sum",
    )
    assert (trains["top-2"].method, trains["top-2"].top_layers) == ("top-k", 2)
    assert (trains["adapter-0.1"].adapter_share, trains["lora"].lora_rank) == (0.001, 4)
    assert trains["in-context"].demonstration_choice == "nearest"


def test_steps_are_those_of_the_papers_epochs_limited_by_the_budget(planned: Callable[..., list[TablePoint]]) -> None:
    prefix = planned("table1", only="prefix")[0].cells[0].train
    assert prefix.max_steps == 5 * 3  # 24 pairs in batches of 10
    assert planned("table1", only="prefix", budget="7")[0].cells[0].train.max_steps == 7
    assert planned("table1", only="prefix", budget="70")[0].cells[0].train.max_steps == 15


def test_table_to_text_decodes_with_five_beams_and_without_newlines(planned: Callable[..., list[TablePoint]]) -> None:
    decoding = planned("table1", only="base")[0].cells[0].decoding
    assert (decoding.num_beams, decoding.banned) == (5, ("\n",))


def test_low_data_follows_the_papers_protocol(planned: Callable[..., list[TablePoint]], many: PublishedDataset) -> None:
    points = planned("lowdata", data=many)
    assert [(point.row, point.x) for point in points][:4] == [("full", size) for size in (50, 100, 200, 500)]
    for point in points:
        assert {(cell.size, cell.sample, cell.seed) for cell in point.cells} == {
            (point.x, sample, seed) for sample in range(5) for seed in (0, 1)
        }
        train = point.cells[0].train
        assert train is not None
        assert (train.max_steps, train.warmup_steps, train.validate_every) == (400, 100, 50)
    assert points[-1].cells[0].train.init_text == "table-to-text:"
    with pytest.raises(DataError, match="at least 2500 training examples"):
        planned("lowdata")


def test_runs_with_different_sizes_share_results(
    planned: Callable[..., list[TablePoint]], many: PublishedDataset
) -> None:
    whole, part = planned("lowdata", data=many), planned("lowdata", data=many, sizes="100", samples=2, seeds="1")
    keys = {cell.key for point in whole for cell in point.cells}
    assert all(cell.key in keys for point in part for cell in point.cells)


def test_init_varies_the_initialization_of_a_prefix(
    planned: Callable[..., list[TablePoint]], many: PublishedDataset
) -> None:
    points = {point.row: point.cells[0].train for point in planned("init", data=many, preset="small")}
    starts = {row: (train.initialization, train.init_text) for row, train in points.items()}
    assert starts == {
        "random": ("random", None),
        "elephant": ("text", "elephant"),
        "banana": ("text", "banana"),
        "summarize": ("text", "summarize"),
        "table-to-text": ("text", "table-to-text:"),
        "own": ("text", None),
    }


def test_length_and_infix_vary_the_number_of_slots(
    planned: Callable[..., list[TablePoint]], talk: PublishedDataset
) -> None:
    for options in ({}, {"data": talk, "preset": "small"}):
        lengths = planned("length", lengths="1,40", **options)
        assert [(point.x, point.cells[0].train.prefix_length) for point in lengths] == [(1, 1), (40, 40)]
    rows = [(point.row, point.x) for point in planned("infix")]
    assert rows == [(row, x) for row in ("embedding", "infix", "prefix") for x in (1, 10, 20)]


def test_the_same_training_has_one_key_in_two_experiments(planned: Callable[..., list[TablePoint]]) -> None:
    table = planned("table1", only="prefix")[0].cells
    length = planned("length", lengths="5")[0].cells
    assert [cell.key for cell in table] == [cell.key for cell in length]


def test_table3_needs_an_encoder_decoder_and_limits_the_source(
    planned: Callable[..., list[TablePoint]], talk: PublishedDataset, facts: BaseFacts
) -> None:
    with pytest.raises(BaseModelError, match="encoder-decoder base for table3"):
        planned("table3", data=talk)
    encoder_decoder = replace(facts, is_encoder_decoder=True, context=1024)
    points = {point.row: point.cells[0] for point in planned("table3", base=encoder_decoder, data=talk, preset="small")}
    decoding = points["full"].decoding
    beams = (decoding.num_beams, decoding.min_new_tokens, decoding.max_new_tokens, decoding.length_penalty)
    assert beams == (6, 11, 62, 0.8)
    assert points["full"].max_source_tokens == points["base"].max_source_tokens == 512
    # 2 % and 0.1 % of 2,048,000 values, in slots of 2,048.
    assert [points[row].train.prefix_length for row in ("prefix-2", "prefix-0.1")] == [20, 1]


def test_the_source_is_limited_so_that_slots_and_summary_fit_the_context(
    planned: Callable[..., list[TablePoint]], talk: PublishedDataset, facts: BaseFacts
) -> None:
    cell = planned("inputlength", data=talk, preset="small", only="prefix")[0].cells[0]
    assert cell.train.max_source_tokens == cell.max_source_tokens == facts.context - 1 - 20 - 100
    assert cell.slicing == "length"


def test_an_encoders_source_leaves_space_for_special_tokens(
    planned: Callable[..., list[TablePoint]], talk: PublishedDataset, facts: BaseFacts
) -> None:
    encoder_decoder = replace(facts, is_encoder_decoder=True, context=512)
    cell = planned("table3", base=encoder_decoder, data=talk, preset="small", only="full")[0].cells[0]
    assert cell.train.max_source_tokens + 4 == 512


def test_a_key_depends_on_everything_that_determines_the_result(
    planned: Callable[..., list[TablePoint]], facts: BaseFacts, many: PublishedDataset
) -> None:
    def key(**more: Any) -> str:
        return planned("table1", **{"only": "prefix", "seeds": "0", **more})[0].cells[0].key

    others = [
        key(base=replace(facts, digest="c" * 64)),
        key(data=many),
        key(seeds="1"),
        key(budget="3"),
        key(inputs=4),
        key(preset="small"),
        key(only="full"),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key(base=replace(facts, name="another name of the same base")) == key()
