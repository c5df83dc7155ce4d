"""Artifacts that a training starts from: the shared prefix that it builds on, and the champion for a warm start.

Reads other tenants' artifacts and the registry's; trains nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError, TrainingError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest
from components.stages.plan import PlanItem, find_reason, plan_tenant
from components.stages.progress import log_info, log_warning
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.model.delta import Delta
    from components.model.prefix.prefix import Prefix

_SIZE_FIELDS = {
    "top-k": ("top_layers",),
    "adapter": ("adapter_size", "adapter_share"),
    "lora": ("lora_rank", "lora_alpha", "lora_targets"),
}
"""Kind of weights -> the fields of a train section that a champion must share for a warm start."""


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """An artifact that another training uses."""

    delta: "Delta"
    manifest: Manifest
    description: str
    """For people, e.g. "champion version 3"."""

    @property
    def sha256(self) -> str:
        """The digest of its tensors' file."""
        return self.manifest.sha256

    @property
    def run_key(self) -> str:
        """The key of the training run that made it."""
        manifest = self.manifest
        return make_run_key(manifest.fingerprint, manifest.tokenizer_digest, manifest.made_from.get("shared"))

    @property
    def prefix(self) -> "Prefix | None":
        """Its keys and values; None for a method without a prefix."""
        return self.delta.prefix


def find_shared_prefix(workspace: Workspace, item: PlanItem) -> StartingPoint | None:
    """Load the prefix of the tenant in `train.shared`; None if no tenant is named there.

    Raises:
        DataError: that tenant has no data.
        TrainingError: its prefix is not trained or out of date or has initial states, its method makes no prefix, or
            its first slot is another one.
        ArtifactError: its prefix is damaged.
    """
    name = item.train.shared
    if name is None:
        return None
    shared = item.shared
    if shared is None:
        workspace.list_tenants([name])  # raises an error that suggests a tenant with a similar id
        shared = plan_tenant(workspace, name, workspace.base.digest)
    if shared.train.method != "prefix":
        got = f"{name}, whose method is {shared.train.method}"
        raise TrainingError("in train.shared a tenant of method prefix", got, "name another tenant")
    if shared.train.initial_state:
        wanted, got = "in train.shared a tenant without initial states", f"{name}, which has train.initial_state: true"
        raise TrainingError(wanted, got, f"set it to false for {name}, or name another tenant")
    if shared.train.first_slot != item.train.first_slot:
        wanted = f"train.first_slot: {item.train.first_slot} of {name}, as of {item.tenant}: they have one first slot"
        fix = f"set the same train.first_slot for {name} and {item.tenant}"
        raise TrainingError(wanted, shared.train.first_slot, fix)
    reason, _ = find_reason(workspace, shared, workspace.base.digest)
    if reason:
        fix = f"train it first (`prefixfleet retrain --tenant {name}`)"
        raise TrainingError(f"the prefix of {name}, which the prefix of {item.tenant} builds on", reason, fix)
    return StartingPoint(
        *load_artifact(workspace.get_output_folder("train", name), workspace.base), f"the prefix of {name}"
    )


def find_champion_start(workspace: Workspace, item: PlanItem, shared: StartingPoint | None) -> StartingPoint | None:
    """Load the champion to start training from; None without `train.warm_start` or without a champion that fits.

    Always None for method in-context, which trains nothing.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not item.train.warm_start or item.train.method == "in-context":
        return None
    champion = workspace.registry.find_champion(item.tenant)
    if champion is None:
        log_info(f"{item.tenant}: no warm start: there is no champion")
        return None
    description = f"champion version {champion.version}"
    if champion.fault:
        log_warning(f"{item.tenant}: no warm start from {description}: {champion.fault}")
        return None
    try:
        folder = workspace.registry.fetch(champion, workspace.get_champion_folder(champion))
        delta, manifest = load_artifact(folder, workspace.base)
    except (ArtifactError, BaseModelError) as problem:
        log_warning(f"{item.tenant}: no warm start from {description}: wanted {problem.wanted}, got {problem.got}")
        return None
    differences = _find_differences(manifest, item.train, shared)
    if differences:
        log_warning(f"{item.tenant}: no warm start from {description}: it has another {', '.join(differences)}")
        return None
    return StartingPoint(delta, manifest, description)


def make_run_key(fingerprint: str, tokenizer_digest: str, shared_sha256: str | None) -> str:
    """Return the key of a training run: its fingerprint, tokenizer, and the tensors of the shared prefix, if any."""
    return "-".join([fingerprint, tokenizer_digest, *([shared_sha256] if shared_sha256 else [])])


def _find_differences(manifest: Manifest, train: TrainConfig, shared: StartingPoint | None) -> list[str]:
    """Return the names of the values that keep the champion's tensors from fitting a training with `train`."""
    from components.model.delta import SLOT_METHODS, make_weights_config

    newer = {"first_slot": "free", "initial_state": False}  # manifests of earlier releases do not have them
    before = {**train.model_dump(mode="json"), **newer, **manifest.train, "method": manifest.method}
    now = train.model_dump(mode="json")
    weights = make_weights_config(train)
    names = ["method", *(_SIZE_FIELDS.get(weights.kind, ()) if weights else ())]
    shared_length = shared.manifest.prefix_length if shared else 0
    if train.method in SLOT_METHODS:
        names += ["prefix_length", "mlp_hidden", "shared", "initial_state", "first_slot"]
    differences = [f"train.{name}" for name in names if before[name] != now[name]]
    length = shared_length + train.prefix_length
    if not differences and train.method in SLOT_METHODS and manifest.prefix_length != length:
        return ["number of shared slots"]
    if differences or shared is None:
        return differences
    joint_before, joint = (values["shared_training"] == "joint" for values in (before, now))
    if joint_before and not joint:
        return ["train.shared_training"]
    return ["shared prefix"] if joint and manifest.made_from.get("shared") != shared.sha256 else []
