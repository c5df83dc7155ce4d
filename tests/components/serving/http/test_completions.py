import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import Params
from components.registry.mlflow.versions import Version
from components.serving.http.completions import CompletionForm
from components.serving.http.openai import CompletionRequest

VERSION = Version("alder", "1", sha256="0" * 64)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def make_params(**sections):
    return Params.model_validate({"base": {"path": "base"}, **sections})


@given(
    prompts=st.lists(TEXT, min_size=1, max_size=4),
    n=st.integers(1, 8),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(st.text(min_size=1, max_size=5), max_size=3),
    guidance=st.floats(0, 10),
    max_tokens=st.integers(1, 1024),
)
def test_there_is_one_row_for_each_prompt_and_sample_with_the_requests_settings(prompts, n, stop, **settings):
    body = CompletionRequest.model_validate({"model": "alder", "prompt": prompts, "n": n, "stop": stop, **settings})
    rows = CompletionForm(body).make_rows(VERSION, make_params())
    assert [(row.source, row.sample_index) for row in rows] == [
        (prompt, sample) for prompt in prompts for sample in range(n)
    ]
    for row in rows:
        assert row.artifact.sha256 == VERSION.sha256
        assert row.stop == tuple(stop)
        assert {name: getattr(row, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("form", "source"),
    [("", "name : Blue Spice | stars : 3"), ("key=value; key=value", "name=Blue Spice; stars=3")],
)
def test_a_record_is_written_in_the_form_of_the_training_data(form, source):
    version = Version("alder", "1", sha256="0" * 64, tags={"record_form": form})
    body = CompletionRequest.model_validate({"model": "alder", "input": {"name": "Blue Spice", "stars": 3}})
    (row,) = CompletionForm(body).make_rows(version, make_params())
    assert row.source == source
