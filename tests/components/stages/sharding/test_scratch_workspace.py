"""A scratch workspace has the parent's parameters and dataset version, also texts that YAML may read as numbers."""

import yaml

from components.stages.sharding.request import DvcSource
from components.stages.sharding.scratch_workspace import build_scratch_workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore

POINTER = yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "hash": "md5", "path": "data"}]})


def test_the_parameters_are_those_of_the_parent(request_of_two, tmp_path):
    (tmp_path / "remote").mkdir()
    params = {**request_of_two.params, "base": {**request_of_two.params["base"], "path": "some/model"}}
    for text in ("1e5", "no", "010", "null", "ä: b"):
        params["train"] = {**params["train"], "init_text": text, "learning_rate": 2e-05}
        request = request_of_two.model_copy(
            update={
                "params": params,
                "base": {**request_of_two.base, "source": "hub"},
                "dvc": DvcSource(pointer=POINTER, remote="store", options={"url": str(tmp_path / "remote")}),
            }
        )
        exchange = Exchange(ObjectStore((tmp_path / "exchange").as_uri()))
        workspace = build_scratch_workspace(request, exchange, tmp_path / text[:2], tmp_path / "bases")
        assert workspace.params == request.parsed_params
        assert workspace.params.train.init_text == text
        assert workspace.dataset_version == f"{'a' * 32}.dir"
        assert workspace.base_config.path == "some/model"
    assert not (tmp_path / "bases").exists()
