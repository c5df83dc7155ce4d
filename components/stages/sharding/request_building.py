"""Builds what a worker is asked: the request of a shard, from the parent's workspace, plan and champions.

Reads digests and settings; sends nothing. Does not know the exchange.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from components.data.dvc import POINTER_FILE, read_default_remote
from components.errors import WorkersError
from components.model.text.chat_files import read_template
from components.registry.manifest import TENSORS_FILE
from components.stages.init_texts import insert_init_text
from components.stages.plan import PlanItem
from components.stages.sharding.code_version import read_code_version
from components.stages.sharding.request import DvcSource, ShardRequest, SharedPrefix
from components.stages.starting_points import make_run_key
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.mlflow.versions import Version


class RequestBuilder:
    """Builds the requests of one run."""

    def __init__(self, workspace: Workspace, facts: Mapping[str, Any], champions: "Mapping[str, Version]") -> None:
        """`facts`: the content of base.json; `champions`: tenant -> champion, as at the beginning of the run."""
        self._workspace, self.facts, self._champions = workspace, dict(facts), champions

    @cached_property
    def code_version(self) -> str:
        """The version of the parent's code."""
        return read_code_version()

    def make_run_key(self, item: PlanItem) -> str:
        """Return the key of a tenant's training; its shared prefix, if it has one, must be trained."""
        shared = item.train.shared
        sha256 = None if shared is None else self._digest_shared(shared)
        return make_run_key(item.fingerprint, self.facts["tokenizer_digest"], sha256)

    def build(
        self, items: Sequence[PlanItem], shard_id: str, trace: Mapping[str, str] = MappingProxyType({})
    ) -> ShardRequest:
        """Return the request of a shard with these tenants; those without a reason are only evaluated.

        `trace`: the headers of the span that sends it.

        Raises:
            WorkersError: there is no DVC remote.
        """
        tenants = [item.tenant for item in items]
        return ShardRequest(
            shard_id=shard_id,
            code_version=self.code_version,
            params=self._dump_params([*tenants, *(item.train.shared for item in items if item.train.shared)]),
            dvc=self._dvc,
            base=self.facts,
            fingerprints={item.tenant: item.fingerprint for item in items},
            reasons={item.tenant: item.reason for item in items if item.reason},
            run_keys={item.tenant: self.make_run_key(item) for item in items},
            shared={item.tenant: self._describe_shared(item.shared) for item in items if item.shared},
            champions={tenant: self._champions[tenant] for tenant in tenants if tenant in self._champions},
            trace=dict(trace),
        )

    def _describe_shared(self, shared: PlanItem) -> SharedPrefix:
        key = make_run_key(shared.fingerprint, self.facts["tokenizer_digest"], None)
        return SharedPrefix(tenant=shared.tenant, run_key=key)

    def _digest_shared(self, tenant: str) -> str | None:
        return self._workspace.digests.digest_file(self._workspace.get_output_folder("train", tenant) / TENSORS_FILE)

    def _dump_params(self, tenants: Sequence[str]) -> dict[str, Any]:
        values = dict(self._general_params)
        values["tenants"] = {name: self._overrides[name] for name in sorted(set(tenants)) if name in self._overrides}
        return values

    @cached_property
    def _overrides(self) -> dict[str, Any]:
        dumped: dict[str, Any] = self._workspace.params.model_dump(mode="json", include={"tenants"})["tenants"]
        sent = {tenant: _leave_out_money(own) for tenant, own in dumped.items()}
        return {tenant: insert_init_text(self._workspace.root, own) for tenant, own in sent.items()}

    @cached_property
    def _general_params(self) -> dict[str, Any]:
        values = _leave_out_money(self._workspace.params.model_dump(mode="json", exclude={"tenants"}))
        values = insert_init_text(self._workspace.root, values)
        values["base"]["dtype"] = self.facts["dtype"]
        values["base"]["chat_template"] = read_template(self._workspace.base_config)
        values["registry"]["owner"] = self._workspace.registry.ownership.owner
        values["registry"]["tracking_uri"] = remove_login(self._workspace.registry.uri)
        return values

    @cached_property
    def _dvc(self) -> DvcSource:
        root = self._workspace.root
        remote = read_default_remote(root)
        if remote is None:
            raise WorkersError("a DVC remote for the workers", f"none in {root}", "run `dvc remote add -d NAME URL`")
        pointer = (root / POINTER_FILE).read_text(encoding="utf-8")
        return DvcSource(pointer=pointer, remote=remote.name, options=remote.options)


def remove_login(url: str) -> str:
    """Return a URL without user and password: workers have their own in their environment."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _leave_out_money(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections without those that are not a worker's business."""
    return {name: section for name, section in values.items() if name not in ("prices", "budget")}
