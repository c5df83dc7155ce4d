"""What a worker is asked to train: one shard, with all that the worker cannot read from a folder of the parent.

The parent writes it as JSON into the shard's folder of the exchange; the worker reads it there. It holds no secret.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.config import Params
from components.errors import WorkersError
from components.registry.mlflow.versions import Version
from components.stages.sharding.code_version import read_code_version
from components.storage.exchange import ExchangeFolder

REQUEST = "request"
"""Name of the JSON value in the folder of a shard."""
REQUEST_SCHEMA = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DvcSource(_Part):
    """Where the data of the pinned dataset version are."""

    pointer: str = Field(description="content of data.dvc")
    remote: str = Field(description="name of the DVC remote")
    options: dict[str, str] = Field(description="the remote's options: its absolute `url` and others, without secrets")


class SharedPrefix(_Part):
    """The trained prefix of the tenant in `train.shared`."""

    tenant: str
    run_key: str = Field(description="the training that made it, whose set `trained` is in the exchange")


class ShardRequest(_Part):
    """One shard. Every mapping has tenants as keys."""

    schema_version: int = REQUEST_SCHEMA
    shard_id: str
    code_version: str
    params: dict[str, Any] = Field(
        description="the parent's effective parameters, with `workers`; under `tenants` only those of the shard's "
        "tenants and of their shared tenants; `registry.owner` is the parent's owner, `registry.tracking_uri` is "
        "absolute, `base.dtype` is never 'fastest'"
    )
    dvc: DvcSource
    base: dict[str, Any] = Field(description="the content of the parent's base.json")
    fingerprints: dict[str, str] = Field(description="every tenant of the shard -> its fingerprint in the plan")
    reasons: dict[str, str] = Field(description="tenant -> why it is trained; the others are only evaluated")
    run_keys: dict[str, str] = Field(description="every tenant of the shard -> the key of its training run")
    shared: dict[str, SharedPrefix] = Field(default_factory=dict, description="only tenants that have one")
    champions: dict[str, Version] = Field(default_factory=dict, description="only tenants that have one")
    trace: dict[str, str] = Field(default_factory=dict, description="W3C's headers of the parent's span; empty: none")

    @property
    def parsed_params(self) -> Params:
        """The parameters, checked again."""
        return Params.model_validate(self.params)

    @property
    def is_base_sent(self) -> bool:
        """Whether the base is a folder of the parent, and so in the exchange; otherwise it is a model of the hub."""
        return self.base.get("source") != "hub"


def write_request(folder: ExchangeFolder, request: ShardRequest) -> None:
    """Write the request into the shard's folder of the exchange. Raises WorkersError."""
    folder.put_json(REQUEST, request.model_dump(mode="json"))


def parse_request(values: Any, shard_id: str) -> ShardRequest:
    """Return the request of a shard; `values` is its JSON value in the exchange, None if there is none.

    Raises:
        WorkersError: there is none, it is not valid, or its parent has another version of the code.
    """
    wanted = f"the request of shard {shard_id} in the exchange"
    if values is None:
        fix = "check that parent and worker have the same workers.exchange; the parent may have removed an ended shard"
        raise WorkersError(wanted, "none", fix)
    theirs, ours = values.get("code_version") if isinstance(values, dict) else None, read_code_version()
    if theirs != ours:
        fix = "install the same version of PrefixFleet on the parent and on all workers, and restart them"
        raise WorkersError(f"code version {theirs}, as the parent of shard {shard_id} has", f"{ours} here", fix)
    try:
        return ShardRequest.model_validate(values)
    except ValidationError as problems:
        first = problems.errors()[0]
        got = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise WorkersError(wanted, got, "start the parent's run again") from None
