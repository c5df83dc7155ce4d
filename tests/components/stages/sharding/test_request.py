"""The request of a shard: it survives JSON whole, and whatever is wrong with it is named."""

import json

import pytest

from components.errors import WorkersError
from components.stages.sharding.exchange_sets import list_tenant_files, make_evaluated_set
from components.stages.sharding.request import parse_request


def through_json(request):
    return json.loads(json.dumps(request.model_dump(mode="json")))


def test_a_request_survives_json_with_its_parameters_and_champions(request_of_two):
    found = parse_request(through_json(request_of_two), "shard-1")
    assert found == request_of_two
    assert found.champions["alder"].aliases == ("champion",)
    assert found.parsed_params == request_of_two.parsed_params
    assert found.parsed_params.for_tenant("alder").train.lora_targets == ["c_attn"]


def test_a_missing_request_another_code_and_an_invalid_field_are_named(request_of_two):
    with pytest.raises(WorkersError, match="the request of shard shard-1 in the exchange; got none"):
        parse_request(None, "shard-1")
    values = through_json(request_of_two)
    with pytest.raises(WorkersError, match="wanted code version 0123456789ab, as the parent of shard shard-1 has"):
        parse_request({**values, "code_version": "0123456789ab", "of_newer_code": 1}, "shard-1")
    with pytest.raises(WorkersError, match="reasons: Input should be a valid dictionary"):
        parse_request({**values, "reasons": ["alder"]}, "shard-1")


def test_an_evaluation_has_another_name_if_its_settings_or_its_champion_change(request_of_two):
    name = make_evaluated_set(request_of_two, "alder")
    assert name == make_evaluated_set(parse_request(through_json(request_of_two), "shard-1"), "alder")
    other = request_of_two.model_copy(update={"champions": {}})
    values = through_json(request_of_two)
    values["params"]["tenants"]["alder"]["evaluate"]["num_beams"] = 3
    names = {name, make_evaluated_set(other, "alder"), make_evaluated_set(parse_request(values, "shard-1"), "alder")}
    assert len(names) == 3


def test_the_files_of_a_tenant_are_named_from_the_output_folder(tmp_path):
    for name in ("train/alder/manifest.json", "train/alder/state/train.safetensors", "train/birch/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "train/alder/.manifest.json.12.ab.tmp").write_text("x")
    found = list_tenant_files(tmp_path, "train", "alder")
    assert found == ["train/alder/manifest.json", "train/alder/state/train.safetensors"]
    assert list_tenant_files(tmp_path, "evaluate", "alder") == []
