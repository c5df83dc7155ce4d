"""The plan: which tenants need a new prefix, and why. Reads digests and manifests only; trains nothing.

A tenant is left alone when out/train holds its prefix with the fingerprint of today's data, parameters and base.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.config import TrainConfig
from components.data.digests import compute_tenant_digest
from components.data.fingerprint import compute_fingerprint
from components.errors import ArtifactError, ConfigError, TrainingError
from components.registry.manifest import ARTIFACT_SCHEMA, TENSORS_FILE, Manifest, read_manifest
from components.stages.base import BASE_FILE, read_base_facts
from components.stages.progress import join_abbreviated
from components.stages.stamps import read_json
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One tenant: what its prefix must be made from, and why the one at hand will not do ("" when it will).

    `outdated` tells a prefix of other data, parameters or base from one that is missing or damaged here. `shared` is
    the item of the tenant in `train.shared`, without a reason; None if there is no such tenant or it has no data.
    """

    tenant: str
    fingerprint: str
    data_digest: str
    train: TrainConfig
    reason: str = ""
    outdated: bool = False
    shared: "PlanItem | None" = None


SharedItems = dict[str, PlanItem | None]
"""Tenant in another one's `train.shared` -> its item; None if it has no data."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`items` need training, `skipped` do not."""

    base: dict[str, Any]
    items: tuple[PlanItem, ...]
    skipped: tuple[PlanItem, ...]

    @property
    def sentence(self) -> str:
        """The plan in one line, which names the first of many."""
        if not self.items:
            return f"nothing to train: the prefixes of all {len(self.skipped)} tenants stand"
        reasons = join_abbreviated([f"{item.tenant} ({item.reason})" for item in self.items])
        return f"{len(self.items)} to train, {len(self.skipped)} stand: {reasons}"

    @property
    def reasons(self) -> dict[str, str]:
        """Tenant -> why it needs training; only the tenants that do."""
        return {item.tenant: item.reason for item in self.items}

    def collect_fingerprints(self, tenants: Iterable[str] | None = None) -> dict[str, str]:
        """Tenant -> fingerprint of all (or the named) tenants; those to train come first."""
        every = {item.tenant: item.fingerprint for item in (*self.items, *self.skipped)}
        return every if tenants is None else {tenant: every[tenant] for tenant in tenants}


def plan(workspace: Workspace, tenants: Sequence[str] | None = None) -> Plan:
    """Compare every (or the named) tenant's fingerprint with the prefix in out/train.

    Raises:
        BaseModelError: no usable base.
        ConfigError: a tenant stands on itself, or on one that stands on another.
        DataError: no data, or a named tenant without.

    """
    base = read_base_facts(workspace)
    named = workspace.list_tenants(tenants)
    shared: SharedItems = {}
    every = [plan_tenant(workspace, tenant, base["digest"], shared) for tenant in named]
    workspace.save_digests()
    every.sort(key=lambda item: item.train.shared is not None)  # whoever others stand on comes first
    return Plan(
        base=base,
        items=tuple(item for item in every if item.reason),
        skipped=tuple(item for item in every if not item.reason),
    )


def plan_tenant(workspace: Workspace, tenant: str, base_digest: str, shared: SharedItems | None = None) -> PlanItem:
    """Compute a tenant's fingerprint, and compare the prefix in out/train with it.

    `shared` remembers shared tenants from one call to the next; leave it out for a single call.

    Raises:
        ConfigError: it stands on itself, or on one that stands on another.
        DataError: it has no data.
    """
    item = (shared or {}).get(tenant) or _compute_item(workspace, tenant, base_digest, shared)
    if item.train.shared is not None and item.shared is None:
        return replace(item, reason=f"it stands on {item.train.shared}, which has no data")
    reason, outdated = find_reason(workspace, item, base_digest)
    return replace(item, reason=reason, outdated=outdated)


def confirm_item(
    workspace: Workspace, tenant: str, fingerprint: str, reason: str, base_digest: str, shared: SharedItems
) -> PlanItem:
    """Make the item of a plan again, from this workspace's data, parameters and base; looks at no prefix.

    `fingerprint` and `reason` are the plan's, which may come from another machine; `shared` as for `plan_tenant`.

    Raises:
        TrainingError: data, parameters and base have another fingerprint here.
        DataError: the tenant has no data here.
    """
    item = _compute_item(workspace, tenant, base_digest, shared)
    if item.fingerprint != fingerprint:
        wanted = f"data, parameters and base of {tenant} as planned, with fingerprint {fingerprint[:12]}"
        fix = "change none of them during a run, and run again (`prefixfleet retrain`)"
        raise TrainingError(wanted, f"fingerprint {item.fingerprint[:12]}", fix)
    return replace(item, reason=reason)


def read_planned_manifest(workspace: Workspace, tenant: str, fingerprint: str) -> Manifest:
    """The manifest of the prefix in out/train, which must have the plan's fingerprint; reads no tensors.

    Raises:
        TrainingError: there is no prefix, it is damaged, or it is made from something else than planned.
    """
    folder = workspace.get_output_folder("train", tenant)
    try:
        manifest = read_manifest(folder)
    except ArtifactError as problem:
        damaged = f"its prefix is damaged: {problem.got}"
        raise make_prefix_error(tenant, damaged if (folder / TENSORS_FILE).is_file() else "no prefix yet") from None
    if manifest.fingerprint != fingerprint:
        raise make_prefix_error(tenant, f"fingerprint {manifest.fingerprint[:12]}, not {fingerprint[:12]} as planned")
    under = manifest.train.get("shared")
    if under is not None and _has_shared_changed(workspace, under, manifest):
        raise make_prefix_error(tenant, "its shared prefix changed")
    return manifest


def make_prefix_error(tenant: str, got: str) -> TrainingError:
    """The error of a step that needs a tenant's prefix and finds `got` in its place."""
    fix = "train it first (`prefixfleet retrain`)"
    return TrainingError(f"{tenant}'s prefix for today's data, parameters and base", got, fix)


def _compute_item(workspace: Workspace, tenant: str, base_digest: str, shared: SharedItems | None) -> PlanItem:
    """The item without a reason."""
    train = workspace.params.for_tenant(tenant).train
    digest = compute_tenant_digest(workspace.data, tenant, workspace.digests.digest_file)
    under = None
    if train.shared is not None:
        known = {} if shared is None else shared
        if train.shared not in known:
            known[train.shared] = _compute_shared_item(workspace, tenant, train.shared, base_digest)
        under = known[train.shared]
    fingerprint = compute_fingerprint(
        data_digest=digest,
        train=train,
        base_digest=base_digest,
        artifact_schema=ARTIFACT_SCHEMA,
        shared=None if train.shared is None else under.fingerprint if under else "",
    )
    return PlanItem(tenant, fingerprint, digest, train, shared=under)


def _compute_shared_item(workspace: Workspace, tenant: str, under: str, base_digest: str) -> PlanItem | None:
    """None where `under` has no data: trouble of those that stand on it, and of nobody else."""
    further = workspace.params.for_tenant(under).train.shared
    if under == tenant or further is not None:
        got = f"{tenant} on {under}, which is {'itself' if under == tenant else f'on {further}'}"
        fix = f"set tenants.{under}.train.shared to null, or name another tenant"
        raise ConfigError("train.shared to name a tenant whose prefix stands alone", got, fix)
    if not any((workspace.data / under).glob("*.jsonl")):
        return None
    return _compute_item(workspace, under, base_digest, None)


def find_reason(workspace: Workspace, item: PlanItem, base_digest: str) -> tuple[str, bool]:
    """Why the prefix in out/train is not the one of `item` ("" when it is), and whether it is outdated."""
    folder = workspace.get_output_folder("train", item.tenant)
    if not (folder / TENSORS_FILE).is_file():
        return "no prefix yet", False
    try:
        manifest = read_manifest(folder)
    except ArtifactError as problem:
        return f"its prefix is damaged: {problem.got}", False
    if manifest.fingerprint != item.fingerprint:
        return _describe_difference(manifest, item, base_digest), True
    base = read_json(workspace.get_output_folder("base") / BASE_FILE) or {}
    if base.get("tokenizer_digest", manifest.tokenizer_digest) != manifest.tokenizer_digest:
        return "tokenizer changed", True
    if workspace.digests.digest_file(folder / TENSORS_FILE) != manifest.sha256:
        return "its prefix is damaged: the tensors are not those that the manifest names", False
    if item.train.shared is not None and _has_shared_changed(workspace, item.train.shared, manifest):
        return "its shared prefix changed", True
    return "", False


def _has_shared_changed(workspace: Workspace, under: str, manifest: Manifest) -> bool:
    """Whether the prefix in out/train is another one than went in: an import has the fingerprint of a training."""
    today = workspace.digests.digest_file(workspace.get_output_folder("train", under) / TENSORS_FILE)
    then = manifest.made_from.get("shared")
    return None not in (today, then) and today != then


def _describe_difference(manifest: Manifest, item: PlanItem, base_digest: str) -> str:
    now = item.train.model_dump(mode="json")
    changed = [f"train.{key}" for key, value in now.items() if manifest.train.get(key) != value]
    parts = [
        *(["data changed"] if manifest.data_digest != item.data_digest else []),
        *([f"{', '.join(changed)} changed"] if changed else []),
        *(["base changed"] if manifest.base_digest != base_digest else []),
    ]
    return "; ".join(parts) or ("its shared prefix changed" if item.train.shared else "fingerprint changed")
