"""Export a tenant's prefix to PEFT, and import a PEFT checkpoint as a tenant's prefix.

An imported prefix is stored in out/train like a trained one, with the fingerprint of today's data, parameters and base:
it is evaluated, gated, registered and served, and not trained again until one of the three changes. Its manifest names
the checkpoint's tensors under `made_from`. Does not know PEFT's files.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import TrainConfig
from components.data.schema import check_tenant_id
from components.errors import ArtifactError, BaseModelError, ConfigError, DataError, RegistryError
from components.registry.artifact import load_artifact, save_artifact
from components.registry.manifest import Manifest
from components.registry.peft.format import PeftPrefix, read_peft, write_peft
from components.stages.base import read_base_facts
from components.stages.dataset import find_tenants_with_drops
from components.stages.plan import plan_tenant
from components.stages.progress import count_nouns, log_info, log_warning
from components.stages.stamps import TRAINING_FILE, write_csv
from components.stages.train import LOSS_FILE, STATE_FOLDER
from components.stages.workspace import Workspace
from components.storage.atomic_files import remove_tree

if TYPE_CHECKING:
    from components.model.prefix.prefix import Prefix

IMPORTED_KEY = "imported"
"""Key in `made_from` of the sha256 of the checkpoint's tensors."""

_DIGEST_KEYS = {"base_digest": "digest", "tokenizer_digest": "tokenizer_digest"}
"""Digest in the manifest -> its key in base.json."""
_REFUSAL_REASONS = {
    "infix": "an infix comes between source and target; PEFT's prefix comes before the source",
    "embedding": "a soft prompt has no keys and values of its own",
    "in-context": "examples in the prompt have no trained values",
}
_BASE_FIX = "set base.path to the base that it was trained on, or train the tenant on this base"


def export_peft(
    workspace: Workspace, tenant: str, folder: Path, number: str | None = None, *, trained: bool = False
) -> str:
    """Write the tenant's champion, or version `number`, as a PEFT folder; return a description of what was exported.

    With `trained`, or if the tenant has no version, the prefix in out/train is exported.

    Raises:
        RegistryError: no champion, no such version, or MLflow does not answer.
        ArtifactError: the prefix is damaged, PEFT's format cannot hold it, or the folder holds something else.
        BaseModelError: no usable base.

    """
    check_tenant_id(tenant)
    source, name = _find_source(workspace, tenant, number, trained)
    delta, manifest = load_artifact(source, None)
    if manifest.method != "prefix" or delta.prefix is None or delta.prefix.states:
        reason = _REFUSAL_REASONS.get(manifest.method, "it changes the base's weights")
        fix = "train the tenant with train.method: prefix"
        if delta.prefix is not None and delta.prefix.states:
            first = next(name for name in delta.prefix.tensors if name not in delta.prefix.slot_tensors)
            states = count_nouns(len(delta.prefix.states), "initial state")
            reason = f"{states} of recurrent layers, the first {first}"
            fix = "train the tenant with train.initial_state: false"
        raise ArtifactError(
            "a prefix of keys and values, which PEFT's prefix tuning can hold", f"{name}: {reason}", fix
        )
    base = read_base_facts(workspace)
    base_path, revision = workspace.base_config.path, workspace.params.base.revision
    if manifest.base_digest != base["digest"]:
        log_warning(
            f"{name} was trained on base {manifest.base_name}, not on the present base {base['name']}: "
            "load it with the base that it was trained on"
        )
        base_path, revision = manifest.base_name, None
    facts = {"tenant": tenant, "artifact": manifest.sha256, **{key: getattr(manifest, key) for key in _DIGEST_KEYS}}
    write_peft(folder, delta.prefix, base_name=base_path, revision=revision, facts=facts)
    return f"{name}: {delta.prefix.length} slots, {delta.parameter_count:,} values, base {base_path}"


def import_peft(workspace: Workspace, tenant: str, folder: Path) -> Manifest:
    """Replace the tenant's prefix in out/train by a PEFT checkpoint; return its manifest.

    Raises:
        ArtifactError: the folder holds no prefix checkpoint, or a damaged one.
        BaseModelError: the checkpoint was trained on another base.
        ConfigError: the tenant's train section does not match the checkpoint; the fix says what to set.
        DataError: the tenant has no data, or a drop that is not taken yet.

    """
    from components.model.delta import Delta

    check_tenant_id(tenant)
    workspace.list_tenants([tenant])
    if tenant in find_tenants_with_drops(workspace):
        fix = f"take it first: prefixfleet data take --tenant {tenant}"
        raise DataError(f"no drop of {tenant} waiting: it changes the data", f"one in {workspace.drops}", fix)
    base = read_base_facts(workspace)
    item = plan_tenant(workspace, tenant, base["digest"])
    checkpoint = read_peft(folder)
    _check_base(checkpoint, base, folder)
    _check_train(workspace, tenant, item.train, checkpoint.prefix, folder)
    trained = workspace.get_output_folder("train", tenant)
    remove_tree(trained / STATE_FOLDER)
    (trained / TRAINING_FILE).unlink(missing_ok=True)
    write_csv(trained / LOSS_FILE, ["step"], [])
    manifest = save_artifact(
        trained,
        Delta(prefix=checkpoint.prefix, frozen_length=int(item.train.first_slot == "bos")),
        tenant=tenant,
        base_name=base["name"],
        base_digest=base["digest"],
        tokenizer_digest=base["tokenizer_digest"],
        dataset_version=workspace.dataset_version,
        data_digest=item.data_digest,
        train=item.train.model_dump(mode="json"),
        fingerprint=item.fingerprint,
        method=item.train.method,
        made_from={IMPORTED_KEY: checkpoint.sha256},
    )
    log_info(f"{tenant}: {manifest.prefix_length} slots imported from {folder}")
    others = [other for other in workspace.list_tenants() if workspace.params.for_tenant(other).train.shared == tenant]
    if others:
        log_warning(f"{', '.join(others)}: still use the former prefix of {tenant} until they are trained again")
    return manifest


def _find_source(workspace: Workspace, tenant: str, number: str | None, trained: bool) -> tuple[Path, str]:
    """Return the folder of the artifact to export, and its name for messages."""
    out = workspace.get_output_folder("train", tenant)
    local = (out, f"{tenant}'s prefix in {out}")
    if trained:
        return local
    versions = workspace.registry.find_versions(tenant)
    champion = workspace.registry.find_champion(tenant) if number is None else None
    version = champion or next((version for version in versions if version.version == number), None)
    if version is not None:
        folder = workspace.registry.fetch(version, workspace.get_champion_folder(version))
        return folder, f"{tenant}, version {version.version}"
    if number is None and not versions:
        log_info(f"{tenant} has no version in MLflow: exporting its prefix in out/train")
        return local
    wanted = f"a champion of {tenant}" if number is None else f"version {number} of {tenant}"
    known = ", ".join(version.version for version in versions) or "none"
    raise RegistryError(wanted, f"versions: {known}", "pass one of these with --version, or pass --trained")


def _check_base(checkpoint: PeftPrefix, base: dict[str, Any], folder: Path) -> None:
    """Refuse a checkpoint of other shapes, or of other digests if the folder names them; PEFT itself names none."""
    source = f"{folder} (trained on {checkpoint.base_name})" if checkpoint.base_name else str(folder)
    if base.get("encoder_decoder"):
        fix = "train the tenant here; a PEFT checkpoint holds decoder prefixes only"
        raise BaseModelError("a decoder-only base for PEFT's prefix", f"{base['name']}, an encoder-decoder model", fix)
    shape, sizes = checkpoint.prefix.shape, ("layers", "kv_heads", "head_dim")
    if any(getattr(shape, size) != base[size] for size in sizes):
        wanted = f"{base['layers']} layers x {base['kv_heads']} key/value heads x {base['head_dim']}"
        raise BaseModelError(f"a checkpoint for {base['name']}: {wanted}", f"one of {shape} in {source}", _BASE_FIX)
    if checkpoint.prefix.length >= base["context"]:
        wanted = f"a prefix shorter than the context of {base['name']}, {base['context']} tokens"
        raise BaseModelError(wanted, f"{checkpoint.prefix.length} slots in {source}", _BASE_FIX)
    for digest, key in _DIGEST_KEYS.items():
        if checkpoint.facts.get(digest, base[key]) != base[key]:
            label = digest.replace("_", " ")
            wanted = f"a checkpoint for {base['name']}, {label} {base[key]}"
            raise BaseModelError(wanted, f"{label} {checkpoint.facts[digest]} in {source}", _BASE_FIX)
    names = {Path(str(name)).name for name in (base["name"], base["path"])}
    if not checkpoint.facts and checkpoint.base_name and Path(checkpoint.base_name).name not in names:
        log_warning(
            f"the checkpoint names the base {checkpoint.base_name}, the base here is {base['name']}: their shapes are "
            "the same, and nothing else can be checked; look at the scores of the evaluation"
        )


def _check_train(workspace: Workspace, tenant: str, train: TrainConfig, prefix: "Prefix", folder: Path) -> None:
    """Refuse a prefix that is not of the method, length and first slot of the tenant's `train` section."""
    length = prefix.length
    file = workspace.get_override_file(tenant)
    section, source = ("train", str(file)) if file.exists() else (f"tenants.{tenant}.train", "params.yaml")
    if train.initial_state:
        wanted, got = f"a prefix without initial states for {tenant}", f"{section}.initial_state: true in {source}"
        raise ConfigError(wanted, got, "set it to false: a PEFT checkpoint has no states")
    if train.method != "prefix" or train.shared:
        got = f"method {train.method}, on the slots of {train.shared}" if train.shared else f"method {train.method}"
        fix = f"set {section}.method: prefix and {section}.shared: null in {source}"
        raise ConfigError(f"a prefix of its own for {tenant}", got, fix)
    most = next(rule.le for rule in TrainConfig.model_fields["prefix_length"].metadata if hasattr(rule, "le"))
    if length > most:
        raise ArtifactError(f"a prefix of at most {most} slots", f"{length} in {folder}", "train a shorter one")
    if length != train.prefix_length:
        wanted = f"{train.prefix_length} slots, as train.prefix_length says for {tenant}"
        raise ConfigError(wanted, f"{length} in {folder}", f"set {section}.prefix_length: {length} in {source}")
    if train.first_slot == "bos" and not _begins_with_bos(workspace, train, prefix):
        got = f"another slot 0 in {folder}"
        fix = f"set {section}.first_slot: free in {source}"
        raise ConfigError(f"BOS in slot 0, as train.first_slot says for {tenant}", got, fix)


def _begins_with_bos(workspace: Workspace, train: TrainConfig, prefix: "Prefix") -> bool:
    from components.model.prefix.first_slot import find_bos_slot_id, has_bos_slot

    bos_id = find_bos_slot_id(workspace.base, train)
    return bos_id is not None and has_bos_slot(workspace.base, prefix, bos_id)
