"""The plan: which tenants need training, and why. Reads digests and manifests only; trains nothing.

A tenant needs no training if its prefix in out/train has the fingerprint of its present data, parameters and base. A
tenant's `train.shared` can name another tenant, whose prefix its own prefix builds on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from components.config import InitFile, TrainConfig
from components.data.digests import compute_tenant_digest
from components.data.fingerprint import compute_fingerprint
from components.errors import ArtifactError, ConfigError, SchemaError
from components.registry.manifest import ARTIFACT_SCHEMA, TENSORS_FILE, Manifest, read_manifest
from components.stages.base import BASE_FILE, find_chat_template_digest, read_base_facts
from components.stages.init_texts import read_init_text
from components.stages.progress import join_abbreviated
from components.stages.stamps import read_json
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One tenant: what its prefix is made from, and whether the prefix in out/train is that one."""

    tenant: str
    fingerprint: str
    data_digest: str
    train: TrainConfig
    """The tenant's effective train section, with the text of the file in `init_text`, if that can be read."""
    reason: str = ""
    """Why the tenant needs training; "" if it does not."""
    outdated: bool = False
    """The prefix has other data, parameters or another base; False if it is missing or damaged."""
    shared: "PlanItem | None" = None
    """The item of the tenant in `train.shared`, without a reason; None if none is named or it has no data."""


SharedItems = dict[str, PlanItem | None]
"""Tenant named in a `train.shared` -> its item; None if it has no data."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`items` need training, `skipped` do not; `base` is the content of base.json."""

    base: dict[str, Any]
    items: tuple[PlanItem, ...]
    skipped: tuple[PlanItem, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Tenant that needs training and is not trained -> why: its budget is spent."""

    @property
    def sentence(self) -> str:
        """One line for people; of many tenants it names the first ten."""
        refused = join_abbreviated([f"{tenant} ({why})" for tenant, why in sorted(self.refused.items())])
        end = f"; {len(self.refused)} not trained: {refused}" if self.refused else ""
        if not self.items:
            others = "the other" if self.refused else "all"
            return f"nothing to train: the prefixes of {others} {len(self.skipped)} tenants are up to date{end}"
        reasons = join_abbreviated([f"{item.tenant} ({item.reason})" for item in self.items])
        return f"{len(self.items)} to train, {len(self.skipped)} up to date: {reasons}{end}"

    @property
    def reasons(self) -> dict[str, str]:
        """Tenant -> why it needs training; only the tenants that do."""
        return {item.tenant: item.reason for item in self.items}

    def leave_out(self, tenants: Collection[str]) -> "Plan":
        """Return the plan of the other tenants."""
        items, skipped = (
            tuple(one for one in some if one.tenant not in tenants) for some in (self.items, self.skipped)
        )
        return replace(self, items=items, skipped=skipped)

    def refuse(self, reasons: Mapping[str, str]) -> "Plan":
        """Return the plan without the tenants in `reasons` (tenant -> why it is not trained)."""
        return replace(self.leave_out(reasons), refused={**self.refused, **reasons})

    def collect_fingerprints(self, tenants: Iterable[str] | None = None) -> dict[str, str]:
        """Return tenant -> fingerprint for all (or the named) tenants; those that need training come first."""
        every = {item.tenant: item.fingerprint for item in (*self.items, *self.skipped)}
        return every if tenants is None else {tenant: every[tenant] for tenant in tenants}


def plan(workspace: Workspace, tenants: Sequence[str] | None = None) -> Plan:
    """Compute every (or each named) tenant's fingerprint and compare the prefix in out/train with it.

    Raises:
        BaseModelError: there is no usable base.
        ConfigError: a tenant's `train.shared` names itself, or a tenant that has a `train.shared` too.
        DataError: no tenant has data, or a named tenant has none.

    """
    base = read_base_facts(workspace)
    named = workspace.list_tenants(tenants)
    shared: SharedItems = {}
    every = [plan_tenant(workspace, tenant, base["digest"], shared) for tenant in named]
    workspace.save_digests()
    return make_plan(base, every)


def make_plan(base: Mapping[str, Any], every: Sequence[PlanItem]) -> Plan:
    """Return the plan of examined tenants; prefixes that others build on come first. `base`: content of base.json."""
    ordered = sorted(every, key=lambda item: item.train.shared is not None)
    return Plan(
        base=dict(base),
        items=tuple(item for item in ordered if item.reason),
        skipped=tuple(item for item in ordered if not item.reason),
    )


def plan_tenant(workspace: Workspace, tenant: str, base_digest: str, shared: SharedItems | None = None) -> PlanItem:
    """Compute one tenant's fingerprint and compare the prefix in out/train with it.

    `shared` is a cache: pass the same dict to several calls, and each shared tenant is examined once.

    Raises:
        ConfigError: `train.shared` names the tenant itself, or a tenant that has a `train.shared` too.
        DataError: the tenant has no data.
    """
    item = (shared or {}).get(tenant) or compute_item(workspace, tenant, base_digest, shared)
    if item.train.shared is not None and item.shared is None:
        return replace(item, reason=f"train.shared is {item.train.shared}, which has no data")
    if isinstance(item.train.init_text, InitFile):
        return replace(item, reason=f"train.init_text names {item.train.init_text.file}, which cannot be read")
    reason, outdated = find_reason(workspace, item, base_digest)
    return replace(item, reason=reason, outdated=outdated)


def compute_item(workspace: Workspace, tenant: str, base_digest: str, shared: SharedItems | None) -> PlanItem:
    """Compute a tenant's fingerprint without examining its prefix; the item has no reason. Raises as `plan_tenant`."""
    train = _read_train(workspace, tenant)
    digest = compute_tenant_digest(workspace.data, tenant, workspace.digests.digest_file)
    shared_item = None
    if train.shared is not None:
        cache = {} if shared is None else shared
        if train.shared not in cache:
            cache[train.shared] = _compute_shared_item(workspace, tenant, train.shared, base_digest)
        shared_item = cache[train.shared]
    fingerprint = compute_fingerprint(
        data_digest=digest,
        train=train,
        base_digest=base_digest,
        artifact_schema=ARTIFACT_SCHEMA,
        shared=None if train.shared is None else shared_item.fingerprint if shared_item else "",
        chat_template=find_chat_template_digest(workspace, tenant),
    )
    return PlanItem(tenant, fingerprint, digest, train, shared=shared_item)


def _read_train(workspace: Workspace, tenant: str) -> TrainConfig:
    """Return the tenant's train section; a document that cannot be read stays a path and stops its tenant alone."""
    train = workspace.params.for_tenant(tenant).train
    try:
        return read_init_text(workspace.root, train)
    except ConfigError:
        return train


def _compute_shared_item(workspace: Workspace, tenant: str, shared: str, base_digest: str) -> PlanItem | None:
    """Return None if `shared` has no data: this stops only the tenants that name it."""
    next_shared = workspace.params.for_tenant(shared).train.shared
    if shared == tenant or next_shared is not None:
        wanted = f"in train.shared of {tenant} another tenant, whose own train.shared is null"
        got = f"{tenant} itself" if shared == tenant else f"{shared}, whose train.shared is {next_shared}"
        raise ConfigError(wanted, got, f"set tenants.{shared}.train.shared to null, or name another tenant")
    if not any((workspace.data / shared).glob("*.jsonl")):
        return None
    return compute_item(workspace, shared, base_digest, None)


def find_reason(workspace: Workspace, item: PlanItem, base_digest: str) -> tuple[str, bool]:
    """Compare the prefix in out/train with `item`; return `PlanItem.reason` and `PlanItem.outdated`."""
    folder = workspace.get_output_folder("train", item.tenant)
    if not (folder / TENSORS_FILE).is_file():
        return "no prefix yet", False
    try:
        manifest = read_manifest(folder)
    except SchemaError:
        return "artifact schema changed", True
    except ArtifactError as problem:
        return f"its prefix is damaged: {problem.got}", False
    if manifest.fingerprint != item.fingerprint:
        return _describe_difference(manifest, item, base_digest), True
    base = read_json(workspace.get_output_folder("base") / BASE_FILE) or {}
    if base.get("tokenizer_digest", manifest.tokenizer_digest) != manifest.tokenizer_digest:
        return "tokenizer changed", True
    if workspace.digests.digest_file(folder / TENSORS_FILE) != manifest.sha256:
        return "its prefix is damaged: the tensors do not match the sha256 in the manifest", False
    if item.train.shared is not None and has_shared_changed(workspace, item.train.shared, manifest):
        return "its shared prefix changed", True
    return "", False


def has_shared_changed(workspace: Workspace, shared: str, manifest: Manifest) -> bool:
    """Return whether the tensors of a shared prefix are others than those that `manifest` was trained with.

    An imported prefix has the same fingerprint as the trained prefix that it replaces, so fingerprints do not tell.
    """
    present = workspace.digests.digest_file(workspace.get_output_folder("train", shared) / TENSORS_FILE)
    used = manifest.made_from.get("shared")
    return None not in (present, used) and present != used


def _describe_difference(manifest: Manifest, item: PlanItem, base_digest: str) -> str:
    now, default = item.train.model_dump(mode="json"), TrainConfig().model_dump(mode="json")
    changed = [f"train.{key}" for key, value in now.items() if manifest.train.get(key, default[key]) != value]
    parts = [
        *(["data changed"] if manifest.data_digest != item.data_digest else []),
        *([f"{', '.join(changed)} changed"] if changed else []),
        *(["base changed"] if manifest.base_digest != base_digest else []),
    ]
    return "; ".join(parts) or ("its shared prefix changed" if item.train.shared else "fingerprint changed")
