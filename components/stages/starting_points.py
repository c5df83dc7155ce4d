"""What a training goes out from beside data and base: the prefix that it stands on, the champion that it starts from.

Reads artifacts of other tenants and of the registry; trains nothing.
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
"""Kind of weights -> the fields of a train section without which a champion's do not compute the same."""


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """An artifact that goes into another one."""

    delta: "Delta"
    manifest: Manifest
    description: str
    """What it is, for people."""

    @property
    def sha256(self) -> str:
        """Of its tensors' file."""
        return self.manifest.sha256

    @property
    def run_key(self) -> str:
        """Of the run that trained it."""
        manifest = self.manifest
        return make_run_key(manifest.fingerprint, manifest.tokenizer_digest, manifest.made_from.get("shared"))

    @property
    def prefix(self) -> "Prefix | None":
        """Its keys and values."""
        return self.delta.prefix


def find_shared_prefix(workspace: Workspace, item: PlanItem) -> StartingPoint | None:
    """The prefix of the tenant that `train.shared` names, as today's data and parameters ask for it.

    Raises:
        DataError: that tenant has no data.
        TrainingError: its prefix is not trained yet, or it has none to stand on.
        ArtifactError: its prefix is damaged.
    """
    name = item.train.shared
    if name is None:
        return None
    under = item.shared
    if under is None:
        workspace.list_tenants([name])  # names a tenant with a similar id; it reads the names of all tenants
        under = plan_tenant(workspace, name, workspace.base.digest)
    if under.train.method != "prefix":
        got = f"{name}, whose method is {under.train.method}"
        raise TrainingError("train.shared to name a tenant of method prefix", got, "name another tenant")
    reason, _ = find_reason(workspace, under, workspace.base.digest)
    if reason:
        fix = f"train it first (`prefixfleet retrain --tenant {name}`)"
        raise TrainingError(f"the prefix of {name}, which {item.tenant}'s stands on", reason, fix)
    return StartingPoint(
        *load_artifact(workspace.get_output_folder("train", name), workspace.base), f"the prefix of {name}"
    )


def find_champion_start(workspace: Workspace, item: PlanItem, shared: StartingPoint | None) -> StartingPoint | None:
    """The champion to start a retraining from, where `train.warm_start` asks for it and there is one that fits.

    Method in-context trains nothing, so it has no start.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not item.train.warm_start or item.train.method == "in-context":
        return None
    champion = workspace.registry.find_champion(item.tenant)
    if champion is None:
        log_info(f"{item.tenant}: train.warm_start finds no champion")
        return None
    told = f"champion version {champion.version}"
    try:
        folder = workspace.registry.fetch(champion, workspace.get_champion_folder(champion))
        delta, manifest = load_artifact(folder, workspace.base)
    except (ArtifactError, BaseModelError) as problem:
        log_warning(f"{item.tenant}: no warm start from {told}: wanted {problem.wanted}, got {problem.got}")
        return None
    other = _find_differences(manifest, item.train, shared)
    if other:
        log_warning(f"{item.tenant}: no warm start from {told}: it has another {', '.join(other)}")
        return None
    return StartingPoint(delta, manifest, told)


def make_run_key(fingerprint: str, tokenizer_digest: str, shared_sha256: str | None) -> str:
    """The name of a run: what it is made from, how it is read, and the very slots that it stands on."""
    return "-".join([fingerprint, tokenizer_digest, *([shared_sha256] if shared_sha256 else [])])


def _find_differences(manifest: Manifest, train: TrainConfig, shared: StartingPoint | None) -> list[str]:
    """The facts by which the champion's tensors would not stand or not mean the same in a training of `train`."""
    from components.model.delta import SLOT_METHODS, make_weights_config

    before = {**train.model_dump(mode="json"), **manifest.train, "method": manifest.method}
    now = train.model_dump(mode="json")
    weights = make_weights_config(train)
    names = ["method", *(_SIZE_FIELDS.get(weights.kind, ()) if weights else ())]
    under = shared.manifest.prefix_length if shared else 0
    if train.method in SLOT_METHODS:
        names += ["prefix_length", "mlp_hidden", "shared"]
    found = [f"train.{name}" for name in names if before[name] != now[name]]
    if not found and train.method in SLOT_METHODS and manifest.prefix_length != under + train.prefix_length:
        return ["number of shared slots"]
    if found or shared is None:
        return found
    joint_before, joint = (values["shared_training"] == "joint" for values in (before, now))
    if joint_before and not joint:
        return ["train.shared_training"]
    return ["shared prefix"] if joint and manifest.made_from.get("shared") != shared.sha256 else []
