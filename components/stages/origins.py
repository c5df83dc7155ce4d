"""What a training goes out from beside data and base: the prefix that it stands on, the champion that it starts from.

Reads artifacts of other tenants and of the registry; trains nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.errors import PrefixFleetError, TrainingError
from components.registry.artifact import load_artifact, read_manifest
from components.stages.plan import PlanItem, examine
from components.stages.progress import warn
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.model.delta import Delta
    from components.model.prefix import Prefix


@dataclass(frozen=True, slots=True)
class Origin:
    """An artifact that goes into another one."""

    delta: "Delta"
    sha256: str
    fingerprint: str

    @property
    def prefix(self) -> "Prefix | None":
        """Its keys and values."""
        return self.delta.prefix


def shared_prefix(workspace: Workspace, item: PlanItem) -> Origin | None:
    """The prefix of the tenant that `train.shared` names, as today's data and parameters ask for it.

    Raises:
        TrainingError: it is not trained yet, or has no prefix to stand on.
        ArtifactError: it is damaged.
    """
    name = item.train.shared
    if name is None:
        return None
    under = examine(workspace, name, workspace.base.digest)
    if under.reason:
        fix = f"train it first (`prefixfleet retrain --tenant {name}`)"
        raise TrainingError(f"the prefix of {name}, which {item.tenant}'s stands on", under.reason, fix)
    delta, manifest = load_artifact(workspace.out("train", name), workspace.base)
    if manifest.method != "prefix":
        got = f"one of method {manifest.method} of {name}"
        raise TrainingError("a shared artifact of method prefix", got, "name another tenant in train.shared")
    return Origin(delta, manifest.sha256, manifest.fingerprint)


def champion_start(workspace: Workspace, item: PlanItem) -> Origin | None:
    """The champion to start a retraining from, where `train.warm_start` asks for it and there is one that fits.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not item.train.warm_start:
        return None
    champion = workspace.registry.champion(item.tenant)
    if champion is None:
        return None
    folder = workspace.registry.fetch(champion, workspace.champion_folder(champion))
    manifest = read_manifest(folder)
    sizes = ("method", "prefix_length", "mlp_hidden", "top_layers", "adapter_size", "lora_rank", "shared")
    now = item.train.model_dump(mode="json")
    other = [name for name in sizes if manifest.train.get(name, now[name]) != now[name]]
    if other:
        warn(f"{item.tenant}: starts clean: champion version {champion.version} has another {', '.join(other)}")
        return None
    try:
        delta, _ = load_artifact(folder, workspace.base)
    except PrefixFleetError as problem:
        warn(f"{item.tenant}: starts clean: champion version {champion.version} does not fit: {problem.got}")
        return None
    return Origin(delta, manifest.sha256, manifest.fingerprint)
