"""The text that a prefix starts from: words, or the path of a document; a tenant's value replaces the general one."""

import pytest

from components.config import InitFile, load_params

GOOD = "base: {path: base}\n"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("null", None), ("some words", "some words"), ("{file: texts/a.txt}", InitFile(file="texts/a.txt"))],
)
def test_a_text_a_document_or_neither(tmp_path, value, wanted):
    path = tmp_path / "params.yaml"
    path.write_text(f"{GOOD}train: {{init_text: {value}}}\n")
    params = load_params(path)
    assert params.train.init_text == wanted
    assert params.override_with(params.model_dump(include={"train"}), where="itself").train == params.train


@pytest.mark.parametrize(
    "value",
    [
        "5",
        "[a]",
        "{}",
        "{fiel: a}",
        "{file: 3}",
        "{file: a, text: b}",
        "{file: null}",
        "true",
        "''",
        "' '",
        "{file: ''}",
    ],
)
def test_anything_else_is_refused(refused, value):
    problem = refused(f"{GOOD}train: {{init_text: {value}}}\n")
    assert problem.wanted == "a text that is not blank, {file: PATH} or null"
    assert "train.init_text = " in problem.got


@pytest.mark.parametrize("general", ["words", "{file: a.txt}", "null"])
@pytest.mark.parametrize(
    ("own", "wanted"), [("other", "other"), ("{file: b.txt}", InitFile(file="b.txt")), ("null", None)]
)
def test_a_tenant_replaces_the_general_start(tmp_path, general, own, wanted):
    path = tmp_path / "params.yaml"
    path.write_text(f"{GOOD}train: {{init_text: {general}}}\ntenants: {{acme: {{train: {{init_text: {own}}}}}}}\n")
    assert load_params(path).for_tenant("acme").train.init_text == wanted


@pytest.mark.parametrize("value", ["bso", "true", "null", "1"])
def test_a_first_slot_is_free_or_bos(refused, value):
    assert "train.first_slot" in refused(f"{GOOD}train: {{first_slot: {value}}}\n").got
