"""The search space: its points, their values, and the point of given values."""

import pytest

from components.config import TrainConfig
from components.errors import ConfigError
from components.stages.tuning.search_space import RATE_DIMENSION, SearchOptions, find_default_rates, make_search_space

PREFIX = TrainConfig(prefix_length=8, learning_rate=0.1)


def test_a_prefix_is_searched_by_length_start_and_learning_rate():
    space = make_search_space(PREFIX, SearchOptions(init_texts=["summarise: the table"]))
    assert space.dimensions == ("length", "start", RATE_DIMENSION)
    assert list(space.choices["start"]) == ["own words", '"summarise: the table"', "random"]
    fields = space.to_fields({"length": "5", "start": '"summarise: the table"', RATE_DIMENSION: 0.123456})
    assert fields == {
        "prefix_length": 5,
        "initialization": "text",
        "init_text": "summarise: the table",
        "learning_rate": 0.123,
    }
    assert space.format_fields(fields) == ("5", '"summarise: the table"', "0.123")


def test_a_rounded_rate_stays_in_its_range():
    space = make_search_space(PREFIX, SearchOptions(rates=(0.12345, 0.12349)))
    point = {"length": "5", "start": "random", RATE_DIMENSION: 0.12346}
    assert 0.12345 <= space.to_fields(point)["learning_rate"] <= 0.12349


def test_values_outside_the_space_have_no_point_but_are_formatted():
    space = make_search_space(PREFIX, SearchOptions(lengths=(1, 2), rates=(0.2, 0.3)))
    fields = space.select_searched(PREFIX)
    assert space.to_point(fields) == {"start": "own words"}
    assert space.format_fields(fields) == ("8", "own words", "0.1")
    inside = space.select_searched(PREFIX.model_copy(update={"prefix_length": 2, "learning_rate": 0.25}))
    assert space.to_point(inside) == {"length": "2", "start": "own words", RATE_DIMENSION: 0.25}


def test_the_fixed_fields_are_all_that_are_not_searched():
    space = make_search_space(PREFIX, SearchOptions())
    fixed = space.select_fixed(PREFIX)
    assert not {"prefix_length", "learning_rate", "init_text", "initialization"} & fixed.keys()
    assert fixed == space.select_fixed(PREFIX.model_copy(update={"prefix_length": 3, "learning_rate": 0.2}))
    assert fixed != space.select_fixed(PREFIX.model_copy(update={"batch_size": 3}))


def test_a_single_learning_rate_makes_a_finite_space():
    space = make_search_space(PREFIX, SearchOptions(lengths=(1, 2), rates=(0.1, 0.1)))
    assert space.rates is None
    assert len(list(space.iterate_points())) == 4
    assert {space.to_fields(point)["learning_rate"] for point in space.iterate_points()} == {0.1}


@pytest.mark.parametrize(
    ("changes", "dimensions"),
    [
        ({"method": "full"}, (RATE_DIMENSION,)),
        ({"method": "top-k"}, ("layers", RATE_DIMENSION)),
        ({"method": "adapter"}, ("size", RATE_DIMENSION)),
        ({"method": "lora"}, ("rank", RATE_DIMENSION)),
        ({"method": "prefix+lora"}, ("length", "start", "rank", RATE_DIMENSION)),
        ({"method": "infix"}, ("length", "start", RATE_DIMENSION)),
        ({"method": "in-context"}, ("demonstrations", "choice")),
    ],
)
def test_every_method_has_its_own_dimensions(changes, dimensions):
    config = PREFIX.model_copy(update=changes)
    space = make_search_space(config, SearchOptions())
    assert space.dimensions == dimensions
    assert len(space.format_fields(space.select_searched(config))) == len(dimensions)


def test_an_mlp_gets_lower_rates_than_keys_and_values():
    assert find_default_rates(PREFIX.model_copy(update={"mlp_hidden": 16}))[1] < find_default_rates(PREFIX)[0]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, SearchOptions(lengths=(0,))),
        ({}, SearchOptions(lengths=(1025,))),
        ({}, SearchOptions(rates=(0.0, 1.0))),
        ({}, SearchOptions(rates=(2.0, 1.0))),
        ({}, SearchOptions(rates=(float("nan"), 1.0))),
        ({}, SearchOptions(rates=(1.0, float("inf")))),
        ({}, SearchOptions(init_texts=["  "])),
        ({}, SearchOptions(sizes=(1,))),
        ({"method": "full"}, SearchOptions(lengths=(1,))),
        ({"method": "lora"}, SearchOptions(init_texts=["a"])),
        ({"method": "in-context"}, SearchOptions(rates=(0.1, 0.2))),
    ],
)
def test_impossible_options_are_refused(changes, options):
    with pytest.raises(ConfigError):
        make_search_space(PREFIX.model_copy(update=changes), options)
