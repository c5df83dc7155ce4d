"""Compare what a step finds with the plan, and refuse what differs; no step makes its own plan.

A plan may come from another process or another machine, as fingerprints. Does not know training or evaluation.
"""

from dataclasses import dataclass, replace

from components.errors import ArtifactError, TrainingError
from components.registry.manifest import TENSORS_FILE, Manifest, read_manifest
from components.stages.plan import PlanItem, SharedItems, compute_item, has_shared_changed
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ExpectedPrefix:
    """The prefix of a tenant that a plan expects in out/train, and the digest of the base in use."""

    tenant: str
    fingerprint: str
    base_digest: str
    reason: str = ""
    """Why the prefix needs training according to the plan; "" if it is up to date."""


def confirm_item(
    workspace: Workspace, tenant: str, fingerprint: str, reason: str, base_digest: str, shared: SharedItems
) -> PlanItem:
    """Rebuild an item of a plan from the data, parameters and base in this workspace, without examining the prefix.

    `fingerprint` and `reason` come from the plan, perhaps on another machine. `shared` is as in `plan_tenant`.

    Raises:
        TrainingError: the data, parameters and base of this workspace have another fingerprint.
        DataError: the tenant has no data.
    """
    item = compute_item(workspace, tenant, base_digest, shared)
    if item.fingerprint != fingerprint:
        wanted = f"data, parameters and base of {tenant} as planned, with fingerprint {fingerprint[:12]}"
        fix = "do not change them during a run, and run again (`prefixfleet retrain`)"
        raise TrainingError(wanted, f"fingerprint {item.fingerprint[:12]}", fix)
    return replace(item, reason=reason)


def read_planned_manifest(workspace: Workspace, tenant: str, fingerprint: str) -> Manifest:
    """Return the manifest of the prefix in out/train after comparing its fingerprint; does not read the tensors.

    Raises:
        TrainingError: there is no prefix, its manifest is damaged, it has another fingerprint, or the prefix that it
            builds on was replaced.
    """
    folder = workspace.get_output_folder("train", tenant)
    try:
        manifest = read_manifest(folder)
    except ArtifactError as problem:
        damaged = f"its prefix is damaged: {problem.got}"
        raise make_prefix_error(tenant, damaged if (folder / TENSORS_FILE).is_file() else "no prefix yet") from None
    if manifest.fingerprint != fingerprint:
        raise make_prefix_error(tenant, f"fingerprint {manifest.fingerprint[:12]}, not {fingerprint[:12]} as planned")
    shared = manifest.train.get("shared")
    if shared is not None and has_shared_changed(workspace, shared, manifest):
        raise make_prefix_error(tenant, "its shared prefix changed")
    return manifest


def make_prefix_error(tenant: str, got: str) -> TrainingError:
    """Return the error of a step that needs a tenant's prefix; `got` says what it found instead."""
    fix = "train it first (`prefixfleet retrain`)"
    return TrainingError(f"{tenant}'s prefix for its present data, parameters and base", got, fix)
