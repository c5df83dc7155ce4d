import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.builtin.tenants import BUILTIN_TENANTS, generate_examples
from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.linearization import DEFAULT_FORM, detect_form, linearize_record
from components.errors import DataError

RECORD = {"name": "Blue  Spice", "eatType": ["pub", "bar"], "stars": 4}
WORDS = st.text("abcdefgh ", min_size=1).map(str.strip).filter(bool)


def test_a_record_is_written_in_the_importers_form():
    assert linearize_record(RECORD) == "name : Blue Spice | eatType : pub | eatType : bar | stars : 4"
    assert linearize_record(RECORD, "- key=value; key=value") == "- name=Blue Spice; eatType=pub; eatType=bar; stars=4"


@pytest.mark.parametrize("record", [{}, {"name": []}])
def test_an_empty_record_is_refused(record):
    with pytest.raises(DataError, match="at least one field"):
        linearize_record(record)


@pytest.mark.parametrize(
    "form", ["", "key value", "key : value", "value : key | value : key", "key : value | key: value"]
)
def test_an_invalid_form_is_refused(form):
    with pytest.raises(DataError, match="a form such as"):
        linearize_record(RECORD, form)


@pytest.mark.parametrize("form", [DEFAULT_FORM, "key: value | key: value", "key: value; key: value"])
@settings(max_examples=40)
@given(records=st.lists(st.dictionaries(WORDS, WORDS, min_size=2), min_size=1, max_size=10))
def test_the_form_of_linearized_records_is_detected(form, records):
    assert detect_form([linearize_record(record, form) for record in records]) == form


@pytest.mark.parametrize(
    "sources", [[], ["A dialogue.\nAda: hello"], ["a : b"], [" | Aarhus : city : Denmark | a : b : c : d"] * 0]
)
def test_free_text_has_no_form(sources):
    assert detect_form(sources) is None


@pytest.mark.parametrize("house", BUILTIN_TENANTS, ids=lambda house: house.tenant)
def test_the_builtin_tenants_have_the_default_form(house):
    assert detect_form(str(line["source"]) for line in generate_examples(house)["train"]) == DEFAULT_FORM


@pytest.mark.skipif("PREFIXFLEET_TEST_DATA" not in os.environ, reason="PREFIXFLEET_TEST_DATA names no folder of data")
def test_e2e_has_the_default_form():
    path = Path(os.environ["PREFIXFLEET_TEST_DATA"]) / "e2e-dataset.zip"
    sources = [example.source for example in import_dataset("e2e", str(path), DataConfig())["train"]]
    assert detect_form(sources) == DEFAULT_FORM
