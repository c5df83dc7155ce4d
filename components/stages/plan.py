"""The plan: which tenants need a new prefix, and why. Reads digests and manifests only; trains nothing.

A tenant is left alone when out/train holds its prefix with the fingerprint of today's data, parameters and base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.config import TrainConfig
from components.data.digests import compute_tenant_digest
from components.data.fingerprint import compute_fingerprint
from components.errors import ArtifactError, ConfigError
from components.registry.manifest import ARTIFACT_SCHEMA, TENSORS_FILE, Manifest, read_manifest
from components.stages.base import BASE_FILE, read_base_facts
from components.stages.progress import join_abbreviated
from components.stages.stamps import read_json
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One tenant: what its prefix must be made from, and why the one at hand will not do ("" when it will).

    `outdated` tells a prefix of other data, parameters or base from one that is missing or damaged here.
    """

    tenant: str
    fingerprint: str
    data_digest: str
    train: TrainConfig
    reason: str
    outdated: bool = False


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


def plan(workspace: Workspace, tenants: Sequence[str] | None = None) -> Plan:
    """Compare every (or the named) tenant's fingerprint with the prefix in out/train.

    Raises:
        BaseModelError: no usable base.
        ConfigError: a tenant stands on itself, or on one that stands on another.
        DataError: no data, or a named tenant without.

    """
    base = read_base_facts(workspace)
    named = workspace.list_tenants(tenants)
    prints: dict[str, str | None] = {}
    every = [plan_tenant(workspace, tenant, base["digest"], prints) for tenant in named]
    workspace.save_digests()
    every.sort(key=lambda item: item.train.shared is not None)  # whoever others stand on comes first
    return Plan(
        base=base,
        items=tuple(item for item in every if item.reason),
        skipped=tuple(item for item in every if not item.reason),
    )


def plan_tenant(
    workspace: Workspace, tenant: str, base_digest: str, shared_fingerprints: dict[str, str | None] | None = None
) -> PlanItem:
    """One tenant's fingerprint, and whether the prefix in out/train has it.

    `shared_fingerprints` remembers the fingerprints of shared prefixes from one call to the next; leave it out for a
    single one.

    Raises:
        ConfigError: it stands on itself, or on one that stands on another.
    """
    train = workspace.params.for_tenant(tenant).train
    digest = compute_tenant_digest(workspace.data, tenant, workspace.digests.digest_file)
    under = None
    if train.shared is not None:
        known = {} if shared_fingerprints is None else shared_fingerprints
        if train.shared not in known:
            known[train.shared] = _find_shared_fingerprint(workspace, tenant, train.shared, base_digest)
        under = known[train.shared]
    print_ = compute_fingerprint(
        data_digest=digest,
        train=train,
        base_digest=base_digest,
        artifact_schema=ARTIFACT_SCHEMA,
        shared="" if train.shared and under is None else under,
    )
    if train.shared is not None and under is None:
        return PlanItem(tenant, print_, digest, train, f"it stands on {train.shared}, which has no data")
    reason, outdated = _find_reason(workspace, tenant, print_, digest, train, base_digest)
    return PlanItem(tenant, print_, digest, train, reason, outdated)


def _find_shared_fingerprint(workspace: Workspace, tenant: str, under: str, base_digest: str) -> str | None:
    """None where `under` has no data: trouble of those that stand on it, and of nobody else."""
    further = workspace.params.for_tenant(under).train.shared
    if under == tenant or further is not None:
        got = f"{tenant} on {under}, which is {'itself' if under == tenant else f'on {further}'}"
        raise ConfigError("train.shared to name a tenant whose prefix stands alone", got, _suggest_shared_fix(under))
    if not any((workspace.data / under).glob("*.jsonl")):
        return None
    return plan_tenant(workspace, under, base_digest).fingerprint


def _suggest_shared_fix(under: str) -> str:
    return f"set tenants.{under}.train.shared to null, or name another tenant"


def _find_reason(
    workspace: Workspace, tenant: str, fingerprint_: str, digest: str, train: TrainConfig, base_digest: str
) -> tuple[str, bool]:
    folder = workspace.get_output_folder("train", tenant)
    if not (folder / TENSORS_FILE).is_file():
        return "no prefix yet", False
    try:
        manifest = read_manifest(folder)
    except ArtifactError as problem:
        return f"its prefix is damaged: {problem.got}", False
    if manifest.fingerprint != fingerprint_:
        return _describe_difference(manifest, digest, train, base_digest), True
    base = read_json(workspace.get_output_folder("base") / BASE_FILE) or {}
    if base.get("tokenizer_digest", manifest.tokenizer_digest) != manifest.tokenizer_digest:
        return "tokenizer changed", True
    if workspace.digests.digest_file(folder / TENSORS_FILE) != manifest.sha256:
        return "its prefix is damaged: the tensors are not those that the manifest names", False
    if train.shared is not None and _has_shared_changed(workspace, train.shared, manifest):
        return "its shared prefix changed", True
    return "", False


def _has_shared_changed(workspace: Workspace, under: str, manifest: Manifest) -> bool:
    """Whether the prefix in out/train is another one than went in: an import has the fingerprint of a training."""
    today = workspace.digests.digest_file(workspace.get_output_folder("train", under) / TENSORS_FILE)
    then = manifest.made_from.get("shared")
    return None not in (today, then) and today != then


def _describe_difference(manifest: Manifest, digest: str, train: TrainConfig, base_digest: str) -> str:
    now = train.model_dump(mode="json")
    changed = [f"train.{key}" for key, value in now.items() if manifest.train.get(key) != value]
    parts = [
        *(["data changed"] if manifest.data_digest != digest else []),
        *([f"{', '.join(changed)} changed"] if changed else []),
        *(["base changed"] if manifest.base_digest != base_digest else []),
    ]
    return "; ".join(parts) or ("its shared prefix changed" if train.shared else "fingerprint changed")
