"""The space of a search: points, the values that they mean, and where today's values lie in it."""

import pytest

from components.config import TrainConfig
from components.errors import ConfigError
from components.stages.tuning.search_space import RATE, Wanted, default_rates, space_of

PREFIX = TrainConfig(prefix_length=8, learning_rate=0.1)


def test_a_prefix_is_searched_by_length_start_and_learning_rate():
    space = space_of(PREFIX, Wanted(init_texts=["summarise: the table"]))
    assert space.dimensions == ("length", "start", RATE)
    assert list(space.choices["start"]) == ["own words", '"summarise: the table"', "random"]
    fields = space.fields({"length": "5", "start": '"summarise: the table"', RATE: 0.123456})
    assert fields == {
        "prefix_length": 5,
        "initialization": "text",
        "init_text": "summarise: the table",
        "learning_rate": 0.123,
    }
    assert space.shown(fields) == ("5", '"summarise: the table"', "0.123")


def test_a_rounded_rate_stays_in_its_range():
    space = space_of(PREFIX, Wanted(rates=(0.12345, 0.12349)))
    point = {"length": "5", "start": "random", RATE: 0.12346}
    assert 0.12345 <= space.fields(point)["learning_rate"] <= 0.12349


def test_values_outside_the_space_have_no_place_there_but_are_shown():
    space = space_of(PREFIX, Wanted(lengths=(1, 2), rates=(0.2, 0.3)))
    fields = space.of(PREFIX)
    assert space.point(fields) == {"start": "own words"}
    assert space.shown(fields) == ("8", "own words", "0.1")
    inside = space.of(PREFIX.model_copy(update={"prefix_length": 2, "learning_rate": 0.25}))
    assert space.point(inside) == {"length": "2", "start": "own words", RATE: 0.25}


def test_the_rest_is_what_the_space_does_not_decide():
    space = space_of(PREFIX, Wanted())
    rest = space.rest(PREFIX)
    assert not {"prefix_length", "learning_rate", "init_text", "initialization"} & rest.keys()
    assert rest == space.rest(PREFIX.model_copy(update={"prefix_length": 3, "learning_rate": 0.2}))
    assert rest != space.rest(PREFIX.model_copy(update={"batch_size": 3}))


def test_one_rate_makes_a_space_that_ends():
    space = space_of(PREFIX, Wanted(lengths=(1, 2), rates=(0.1, 0.1)))
    assert space.rates is None
    assert len(list(space.points())) == 4
    assert {space.fields(point)["learning_rate"] for point in space.points()} == {0.1}


@pytest.mark.parametrize(
    ("changes", "dimensions"),
    [
        ({"method": "full"}, (RATE,)),
        ({"method": "top-k"}, ("layers", RATE)),
        ({"method": "adapter"}, ("size", RATE)),
        ({"method": "lora"}, ("rank", RATE)),
        ({"method": "prefix+lora"}, ("length", "start", "rank", RATE)),
        ({"method": "infix"}, ("length", "start", RATE)),
        ({"method": "in-context"}, ("demonstrations", "choice")),
    ],
)
def test_other_methods_are_searched_by_what_they_have(changes, dimensions):
    config = PREFIX.model_copy(update=changes)
    space = space_of(config, Wanted())
    assert space.dimensions == dimensions
    assert len(space.shown(space.of(config))) == len(dimensions)


def test_an_mlp_wants_rates_below_those_of_keys_and_values_themselves():
    assert default_rates(PREFIX.model_copy(update={"mlp_hidden": 16}))[1] < default_rates(PREFIX)[0]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, Wanted(lengths=(0,))),
        ({}, Wanted(lengths=(1025,))),
        ({}, Wanted(rates=(0.0, 1.0))),
        ({}, Wanted(rates=(2.0, 1.0))),
        ({}, Wanted(rates=(float("nan"), 1.0))),
        ({}, Wanted(rates=(1.0, float("inf")))),
        ({}, Wanted(init_texts=["  "])),
        ({}, Wanted(sizes=(1,))),
        ({"method": "full"}, Wanted(lengths=(1,))),
        ({"method": "lora"}, Wanted(init_texts=["a"])),
        ({"method": "in-context"}, Wanted(rates=(0.1, 0.2))),
    ],
)
def test_impossible_wishes_are_refused(changes, wanted):
    with pytest.raises(ConfigError):
        space_of(PREFIX.model_copy(update=changes), wanted)
