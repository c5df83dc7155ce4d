"""The errors: their three parts, and the tree by which callers catch them."""

import json

import pytest

from components import errors
from components.errors import ArtifactError, PrefixFleetError, SchemaError, read_error

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PrefixFleetError)]


@pytest.mark.parametrize("error_class", CLASSES)
def test_an_error_keeps_its_three_parts_and_prints_them_on_one_line(error_class: type[PrefixFleetError]) -> None:
    problem = error_class("a base", "none", "set base.path")
    assert (problem.wanted, problem.got, problem.fix) == problem.args == ("a base", "none", "set base.path")
    assert str(problem) == "wanted a base; got none; set base.path"


@pytest.mark.parametrize("error_class", CLASSES)
def test_an_error_is_the_same_after_a_message_to_another_process(error_class: type[PrefixFleetError]) -> None:
    problem = error_class("a base", "none", "set base.path")
    again = read_error(json.loads(json.dumps(problem.to_json())))
    assert (type(again), again.args) == (error_class, problem.args)


def test_the_docstring_lists_every_class() -> None:
    assert errors.__doc__
    assert [each.__name__ for each in CLASSES if each.__name__ not in errors.__doc__] == []


def test_an_unreadable_schema_is_an_artifact_error() -> None:
    assert issubclass(SchemaError, ArtifactError)
