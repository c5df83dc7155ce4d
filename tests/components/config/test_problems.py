"""Mistakes in params.yaml: each error says what was expected, what was found and how to fix it."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Discriminator, Field

from components.config.problems import find_section, list_known_keys

GOOD = "base: {path: base}\n"


@pytest.mark.parametrize(
    ("line", "got", "fix"),
    [
        ("trian: {}", "unknown key 'trian'", "did you mean 'train'?"),
        ("train: {prefix_lenght: 3}", "unknown key 'prefix_lenght'", "did you mean 'prefix_length'?"),
        ("gate: {floors: {belu: 3.0}}", "unknown key 'belu'", "did you mean 'bleu'?"),
        ("gate: {non_inferiority: [{metrics: bleu}]}", "unknown key 'metrics'", "did you mean 'metric'?"),
        (
            "tenants: {acme: {train: {lerning_rate: 1.0}}}",
            "unknown key 'lerning_rate'",
            "did you mean 'learning_rate'?",
        ),
        ("tenants: {acme: {trian: {}}}", "unknown key 'trian'", "did you mean 'train'?"),
        ("tenants: {acme: {train: {seed: 0.5}}}", "tenants.acme: train.seed = 0.5", "correct the value"),
        ("tenants: {acme: {train: 5}}", "tenants.acme: train = 5", "correct the value"),
        ("tenants: {int: {train: 5}}", "tenants.int: train = 5", "correct the value"),
        ("train: {7: 1}", ": train.7", "put the key in quotes"),
        ("tenants: {7: {}}", "tenants: 7", "put the key in quotes"),
        ("tenants: {Acme: {}}", "'Acme' under tenants", "at most 63 characters"),
        ("tenants: {../acme: {}}", "'../acme' under tenants", "at most 63 characters"),
        ("train: {max_steps: six}", "train.max_steps = 'six'", "correct the value"),
        ("train: {learning_rate: .inf}", "train.learning_rate = inf", "correct the value"),
        ("train: {max_steps: '8'}", "train.max_steps = '8'", "without quotes"),
        ("evaluate: {lowercase: 'true'}", "evaluate.lowercase = 'true'", "write true or false, without quotes"),
        ("evaluate: {lowercase: y}", "evaluate.lowercase = 'y'", "write true or false, without quotes"),
        ("gate: {floors: null}", "gate.floors = None", "write {} for none, or remove the key to keep the default"),
        (
            "tenants: {acme: {gate: {floors: null}}}",
            "tenants.acme: gate.floors = None",
            "write {} for none, or remove the key to keep the default",
        ),
        (
            "gate: {non_inferiority: null}",
            "gate.non_inferiority = None",
            "write [] for none, or remove the key to keep the default",
        ),
        ("tenants: {acme: null}", "tenants.acme = None", "write {} for none, or remove the key to keep the default"),
        ("train: null", "train = None", "write {} for none, or remove the key to keep the default"),
        ("train: {learning_rate: '1e-3'}", "'1e-3'", "without quotes"),
        ("evaluate: {split: tset}", "evaluate.split = 'tset'", "did you mean 'test'?"),
        ("train: {method: prefx}", "train.method = 'prefx'", "did you mean 'prefix'?"),
        ("train: {method: adaptor}", "train.method = 'adaptor'", "did you mean 'adapter'?"),
        ("train: {method: top_k}", "train.method = 'top_k'", "did you mean 'top-k'?"),
        ("train: {method: prefix+lra}", "train.method = 'prefix+lra'", "did you mean 'prefix+lora'?"),
        ("evaluate: {split: x}", "evaluate.split = 'x'", "set one of these values"),
    ],
)
def test_a_wrong_line_raises_an_error_with_its_fix(refused, line, got, fix):
    problem = refused(f"{GOOD}{line}\n")
    assert got in problem.got
    assert problem.fix.endswith(fix)
    assert "\n" not in str(problem)


def test_an_unknown_method_lists_the_methods(refused):
    assert "'in-context'" in refused(f"{GOOD}train: {{method: prefx}}\n").wanted


@pytest.mark.parametrize(
    ("value", "got", "wanted"),
    [
        ("disk", "base.device_map = 'disk'", "'auto', 'balanced' or 'sequential', or keys with values"),
        ("{lm_head: null}", "base.device_map.lm_head = None", "a valid string, or a valid integer"),
    ],
)
def test_a_value_of_no_allowed_type_is_told_all_types(refused, value, got, wanted):
    problem = refused(f"base: {{path: base, device_map: {value}}}\n")
    assert problem.got.endswith(got)
    assert problem.wanted == wanted


def test_a_missing_section_raises_an_error(refused):
    assert "none in" in refused("train: {}\n").got


def test_a_long_value_is_cut(refused):
    assert "aaa... under tenants" in refused(f"{GOOD}tenants: {{{'a' * 200}: {{}}}}\n").got


class _Text(BaseModel):
    kind: Literal["text"]
    words: str


class _Picture(BaseModel):
    kind: Literal["picture"]
    width: int


class _Page(BaseModel):
    parts: Annotated[list[Annotated[_Text | _Picture, Discriminator("kind")]], Field(min_length=1)] | None = None
    notes: dict[str, list[_Text] | str] = {}


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ([], ("parts", "notes")),
        (["parts", 0, "picture"], ("kind", "width")),
        (["parts", 0, "text"], ("kind", "words")),
        (["parts", 0], ("kind", "words", "width")),
        (["notes", "first", "list[_Text]", 3], ("kind", "words")),
        (["unknown", "parts", 1, "_Picture"], ("kind", "width")),
    ],
)
def test_known_keys_are_those_of_the_models_within_lists_unions_and_mappings(path, known):
    assert list_known_keys(_Page, path) == known


def test_a_field_without_a_model_has_no_section():
    assert find_section(list[str] | None) is None
    assert find_section(dict[str, Annotated[_Text, Field()] | None]) is _Text
