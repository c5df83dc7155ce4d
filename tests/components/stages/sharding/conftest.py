"""The request of a shard of two tenants, as a parent writes it."""

import pytest
from workspaces import PARAMS

from components.config import Params
from components.registry.mlflow.versions import Version
from components.stages.sharding.code_version import read_code_version
from components.stages.sharding.request import DvcSource, ShardRequest, SharedPrefix

CHAMPION = Version("alder", "3", ("champion",), "f" * 64, "d" * 32, "a" * 64, {"owner": "us"}, "run")


@pytest.fixture
def request_of_two() -> ShardRequest:
    """Two tenants; one has values of its own, a shared prefix and a champion."""
    own = {"alder": {"train": {"method": "lora", "lora_targets": ["c_attn"]}, "evaluate": {"num_beams": 2}}}
    params = Params.model_validate({**PARAMS, "tenants": own, "workers": {"exchange": "file:///shared"}})
    return ShardRequest(
        shard_id="shard-1",
        code_version=read_code_version(),
        params=params.model_dump(mode="json"),
        dvc=DvcSource(pointer="outs: []", remote="store", options={"url": "s3://bucket/data"}),
        base={"digest": "b" * 64, "files_digest": "b" * 64, "tokenizer_files_digest": "t" * 64, "source": "folder"},
        fingerprints={"alder": "1", "birch": "2"},
        reasons={"alder": "no prefix yet"},
        run_keys={"alder": "1-t", "birch": "2-t"},
        shared={"alder": SharedPrefix(tenant="birch", run_key="2-t")},
        champions={"alder": CHAMPION},
    )
