"""The cache of bases: fetched once, checked before every use, fetched again if damaged."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.errors import WorkersError
from components.model.base.digests import compute_model_digest, compute_tokenizer_digest
from components.stages.sharding.base_cache import fetch_base
from components.stages.sharding.exchange_sets import BASE_SET, locate_base
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore


@pytest.fixture
def base(tmp_path, tiny_base):
    """The folder of a base, its facts, and an exchange that has it."""
    folder = shutil.copytree(tiny_base, tmp_path / "parent" / "base")
    facts = {
        "name": "base",
        "files_digest": compute_model_digest(folder),
        "tokenizer_files_digest": compute_tokenizer_digest(folder),
    }
    exchange = Exchange(ObjectStore((tmp_path / "exchange").as_uri()))
    exchange.open(*locate_base(facts)).put(BASE_SET, folder, [path.name for path in folder.iterdir()])
    return folder, facts, exchange


def test_a_base_is_fetched_once_also_by_several_workers_and_again_if_damaged(base, tmp_path, caplog):
    original, facts, exchange = base
    cache = tmp_path / "home" / "bases"
    with caplog.at_level("INFO", logger="prefixfleet"), ThreadPoolExecutor(3) as workers:
        found = set(workers.map(lambda _: fetch_base(exchange, facts, cache), range(3)))
    (folder,) = found
    assert folder.name == "base"
    assert compute_model_digest(folder) == facts["files_digest"]
    assert caplog.text.count("fetching the base base from the exchange") == 1
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    caplog.clear()
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert fetch_base(exchange, facts, cache) == folder
    assert "fetching the base base from the exchange: the copy here is damaged" in caplog.text
    assert weights.read_bytes() == (original / "model.safetensors").read_bytes()


def test_a_missing_base_another_base_and_a_bad_name_are_refused(base, tmp_path):
    folder, facts, exchange = base
    other = {**facts, "files_digest": "0" * 64}
    with pytest.raises(WorkersError, match="the base base in the exchange, with digest 000000000000; got none"):
        fetch_base(exchange, other, tmp_path / "bases")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_positions": 99}))
    exchange.open(*locate_base(other)).put(BASE_SET, folder, [path.name for path in folder.iterdir()])
    with pytest.raises(WorkersError, match="with digest 000000000000; got model "):
        fetch_base(exchange, other, tmp_path / "bases")
    with pytest.raises(WorkersError, match=r"a base whose name is a folder's name; got '\.\./base'"):
        fetch_base(exchange, {**facts, "name": "../base"}, tmp_path / "bases")
