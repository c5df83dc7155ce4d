"""A missing field has the value with which the version was judged."""

import json

import pytest

from components.config import EvaluateConfig, Params
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError
from components.serving.http.generation_settings import make_settings
from components.serving.http.openai import CompletionRequest
from components.serving.interface import TokenControls

JUDGED = {
    **{"max_new_tokens": 6, "num_beams": 3, "length_penalty": 0.5, "guidance": 1.5, "min_new_tokens": 2},
    **{"repetition_penalty": 1.2, "no_repeat_ngram": 4, "banned": ["bad word"]},
}


def make_params(**sections):
    return Params.model_validate({"base": {"path": "base"}, **sections})


def make_version(judged=None):
    tags = {} if judged is None else {"decoding": json.dumps(EvaluateConfig.model_validate(judged).select_decoding())}
    return Version("alder", "1", sha256="0" * 64, tags=tags)


def settle(body, version, params):
    return make_settings(CompletionRequest.model_validate({"model": "alder", "prompt": "x", **body}), version, params)


@pytest.mark.parametrize("is_tagged", [False, True])
def test_a_missing_field_has_the_value_of_the_versions_evaluation(is_tagged):
    params = make_params(evaluate={"max_new_tokens": 9} if is_tagged else JUDGED)
    version = make_version(JUDGED if is_tagged else None)
    first, second = (settle({}, version, params) for _ in range(2))
    assert (first.max_tokens, first.num_beams, first.length_penalty, first.guidance) == (6, 3, 0.5, 1.5)
    assert first.controls == TokenControls(2, 1.2, 4, ("bad word",))
    assert first.seed != second.seed
    sampled = settle({"temperature": 0.7, "logprobs": 1, "frequency_penalty": 0.5}, version, params)
    assert (sampled.num_beams, sampled.temperature, sampled.controls.frequency_penalty) == (1, 0.7, 0.5)
    assert settle({"num_beams": 1, "logprobs": 1}, version, params).num_beams == 1
    with pytest.raises(RefusalError, match="logprobs without a beam search"):
        settle({"logprobs": 1}, version, params)


def test_sampling_is_judged_too_and_a_tag_that_is_no_decoding_is_told_once(caplog):
    judged = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    row = settle({}, make_version(judged), make_params())
    assert (row.temperature, row.top_p, row.top_k, row.num_beams) == (0.5, 0.9, 5, 1)
    broken = Version("alder", "1", sha256="0" * 64, tags={"decoding": '{"num_beams": "many"}'})
    assert [settle({}, broken, make_params(evaluate={"num_beams": 2})).num_beams for _ in range(2)] == [2, 2]
    assert len(caplog.records) == 1
