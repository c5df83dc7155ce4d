"""Where things are in the exchange, and which files of out/ belong to which set. Parent and worker both use it.

    tenants/<tenant>/<run key>             sets `input`, `state`, `trained`, `evaluated-<digest>`
    shards/<shard id>                      JSON `request`, `heartbeat`, `outcomes`
    bases/<model digest>-<tokenizer digest>   set `files`: the base's folder; the digests are those of files

The files of a tenant's sets are named relative to out/ (train/<tenant>/manifest.json), so that fetching a set into the
out/ of any workspace puts each file where a local run leaves it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.stages.sharding.request import ShardRequest

INPUT_SET = "input"
"""Written by the parent: the tenant's former files, as far as the work needs them (state, artifact, scores)."""
STATE_SET = "state"
"""Written by the worker at every validation: the file from which an interrupted training resumes."""
TRAINED_SET = "trained"
"""Written by the worker when the training has ended: all of out/train/<tenant>."""
BASE_SET = "files"


def locate_tenant(tenant: str, run_key: str) -> tuple[str, ...]:
    """Return the parts of the folder of one training run, for `Exchange.open`."""
    return "tenants", tenant, run_key


def locate_shard(shard_id: str) -> tuple[str, ...]:
    """Return the parts of the folder of a shard, for `Exchange.open`."""
    return "shards", shard_id


def locate_base(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts of the folder of a base with these facts (the content of base.json), for `Exchange.open`."""
    return "bases", f"{facts['files_digest']}-{facts['tokenizer_files_digest']}"


def make_evaluated_set(request: ShardRequest, tenant: str) -> str:
    """Return the name of the set with all of out/evaluate/<tenant>, made from settings and champion."""
    params, champion = request.parsed_params.for_tenant(tenant), request.champions.get(tenant)
    inputs = {
        "evaluate": params.evaluate.model_dump(mode="json"),
        "min_slice": params.gate.min_slice,
        "champion": None if champion is None else [champion.version, champion.sha256],
    }
    return f"evaluated-{hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]}"


def list_tenant_files(out: Path, stage: str, tenant: str) -> list[str]:
    """Return the names of a tenant's files in out/<stage>, relative to `out`, without temporary files."""
    folder = out / stage / tenant
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(path.relative_to(out).as_posix() for path in paths)
