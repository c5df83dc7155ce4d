"""A tenant's prefix out to PEFT, and PEFT's in as a tenant's prefix.

An imported prefix lies in out/train like a trained one, under the fingerprint of today's data, parameters and base: it
is evaluated, judged, registered and served like one, and training leaves it alone until one of the three changes. Its
manifest names the checkpoint's tensors under `made_from`. Does not know PEFT's files.
"""

import shutil
from pathlib import Path
from typing import Any

from components.config import TrainConfig
from components.data.schema import check_tenant_id
from components.errors import ArtifactError, BaseModelError, ConfigError, DataError, RegistryError
from components.registry.artifact import load_artifact, save_artifact
from components.registry.manifest import Manifest
from components.registry.peft.format import PeftPrefix, read_peft, write_peft
from components.stages.base import read_base_facts
from components.stages.dataset import find_tenants_with_drops
from components.stages.plan import plan_tenant
from components.stages.progress import log_info, log_warning
from components.stages.stamps import write_csv
from components.stages.train import LOSS_FILE, STATE_FOLDER, TRAINING_FILE
from components.stages.workspace import Workspace

IMPORTED_KEY = "imported"
"""What `made_from` calls the sha256 of the checkpoint's tensors."""

_DIGEST_KEYS = {"base_digest": "digest", "tokenizer_digest": "tokenizer_digest"}
"""A manifest's digests, and what base.json calls them."""
_REFUSAL_REASONS = {
    "infix": "it stands between source and target, where PEFT puts nothing",
    "embedding": "a soft prompt, which has no keys and values of its own",
    "in-context": "examples, which are not trained",
}
_BASE_FIX = "point base.path at the base it was trained on, or train the tenant on this one"


def export_peft(
    workspace: Workspace, tenant: str, folder: Path, number: str | None = None, *, trained: bool = False
) -> str:
    """Write the tenant's champion, or version `number`, as a PEFT folder; returns what was exported, for people.

    A tenant without any version, or `trained`, gives the prefix in out/train.

    Raises:
        RegistryError: no champion or no such version, or MLflow does not answer.
        ArtifactError: the prefix is damaged or PEFT has no place for it, or the folder holds something else.
        BaseModelError: no usable base.

    """
    check_tenant_id(tenant)
    source, name = _find_source(workspace, tenant, number, trained)
    delta, manifest = load_artifact(source, None)
    if manifest.method != "prefix" or delta.prefix is None:
        why = _REFUSAL_REASONS.get(manifest.method, "it changes the base's weights")
        fix = "keep it in PrefixFleet, or train the tenant with train.method: prefix"
        raise ArtifactError("keys and values alone, all that PEFT's prefix tuning can hold", f"{name}: {why}", fix)
    base = read_base_facts(workspace)
    place, revision = workspace.base_config.path, workspace.params.base.revision
    if manifest.base_digest != base["digest"]:
        log_warning(f"{name} is on base {manifest.base_name}, not on today's {base['name']}: load it on its own base")
        place, revision = manifest.base_name, None
    facts = {"tenant": tenant, "artifact": manifest.sha256, **{key: getattr(manifest, key) for key in _DIGEST_KEYS}}
    write_peft(folder, delta.prefix, base_name=place, revision=revision, facts=facts)
    return f"{name}: {delta.prefix.length} slots, {delta.parameter_count:,} values, base {place}"


def import_peft(workspace: Workspace, tenant: str, folder: Path) -> Manifest:
    """Make a PEFT folder the tenant's prefix in out/train, in place of one that lies there.

    Raises:
        ArtifactError: the folder holds no prefix checkpoint, or a broken one.
        BaseModelError: the checkpoint is of another base.
        ConfigError: the tenant's train section asks for something else than this checkpoint; says what to set.
        DataError: the tenant has no data, or a drop that waits.

    """
    check_tenant_id(tenant)
    workspace.list_tenants([tenant])
    if tenant in find_tenants_with_drops(workspace):
        fix = f"take it in first: prefixfleet data take --tenant {tenant}"
        raise DataError(f"all data of {tenant} taken in", "a drop that waits, and asks for another prefix", fix)
    base = read_base_facts(workspace)
    item = plan_tenant(workspace, tenant, base["digest"])
    found = read_peft(folder)
    _check_base(found, base, folder)
    _check_train(workspace, tenant, item.train, found.prefix.length, folder)
    trained = workspace.get_output_folder("train", tenant)
    shutil.rmtree(trained / STATE_FOLDER, ignore_errors=True)
    (trained / TRAINING_FILE).unlink(missing_ok=True)
    write_csv(trained / LOSS_FILE, ["step"], [])
    manifest = save_artifact(
        trained,
        found.prefix,
        tenant=tenant,
        base_name=base["name"],
        base_digest=base["digest"],
        tokenizer_digest=base["tokenizer_digest"],
        dataset_version=workspace.dataset_version,
        data_digest=item.data_digest,
        train=item.train.model_dump(mode="json"),
        fingerprint=item.fingerprint,
        method=item.train.method,
        made_from={IMPORTED_KEY: found.sha256},
    )
    log_info(f"{tenant}: {manifest.prefix_length} slots imported from {folder}")
    others = [other for other in workspace.list_tenants() if workspace.params.for_tenant(other).train.shared == tenant]
    if others:
        log_warning(f"{', '.join(others)} stand on {tenant}'s former slots until they are trained again")
    return manifest


def _find_source(workspace: Workspace, tenant: str, number: str | None, trained: bool) -> tuple[Path, str]:
    """The folder of the artifact to export, and its name."""
    out = workspace.get_output_folder("train", tenant)
    local = (out, f"{tenant}'s prefix in {out}")
    if trained:
        return local
    versions = workspace.registry.find_versions(tenant)
    champion = workspace.registry.find_champion(tenant) if number is None else None
    found = champion or next((version for version in versions if version.version == number), None)
    if found is not None:
        return workspace.registry.fetch(
            found, workspace.get_champion_folder(found)
        ), f"{tenant}, version {found.version}"
    if number is None and not versions:
        log_info(f"{tenant} has no version in MLflow: taking its prefix in out/train")
        return local
    wanted = f"a champion of {tenant}" if number is None else f"version {number} of {tenant}"
    known = ", ".join(version.version for version in versions) or "none"
    raise RegistryError(wanted, f"versions: {known}", "name one of these with --version, or take --trained")


def _check_base(found: PeftPrefix, base: dict[str, Any], folder: Path) -> None:
    """Shapes must be the base's, and digests where the folder names them; PEFT itself names none."""
    told = f"{folder} (trained on {found.base_name})" if found.base_name else str(folder)
    if base.get("encoder_decoder"):
        fix = "train the tenant here: PEFT's prefix is a decoder's alone"
        raise BaseModelError("a decoder-only base for PEFT's prefix", f"{base['name']}, an encoder-decoder model", fix)
    shape, sizes = found.prefix.shape, ("layers", "kv_heads", "head_dim")
    if any(getattr(shape, size) != base[size] for size in sizes):
        wanted = f"{base['layers']} layers x {base['kv_heads']} key/value heads x {base['head_dim']}"
        raise BaseModelError(f"a checkpoint for {base['name']}: {wanted}", f"one of {shape} in {told}", _BASE_FIX)
    if found.prefix.length >= base["context"]:
        wanted = f"a prefix shorter than the context of {base['name']}, {base['context']} tokens"
        raise BaseModelError(wanted, f"{found.prefix.length} slots in {told}", _BASE_FIX)
    for digest, key in _DIGEST_KEYS.items():
        if found.facts.get(digest, base[key]) != base[key]:
            what = digest.replace("_", " ")
            wanted = f"a checkpoint for {base['name']}, {what} {base[key]}"
            raise BaseModelError(wanted, f"{what} {found.facts[digest]} in {told}", _BASE_FIX)
    names = {Path(str(name)).name for name in (base["name"], base["path"])}
    if not found.facts and found.base_name and Path(found.base_name).name not in names:
        log_warning(
            f"the checkpoint says it was trained on {found.base_name}, the base here is {base['name']}: "
            "their shapes are the same, more cannot be checked; see what the evaluation says"
        )


def _check_train(workspace: Workspace, tenant: str, train: TrainConfig, length: int, folder: Path) -> None:
    """Refuse a prefix that is not of the method and length of the tenant's `train` section: its fingerprint says so."""
    file = workspace.get_override_file(tenant)
    section, place = ("train", str(file)) if file.exists() else (f"tenants.{tenant}.train", "params.yaml")
    if train.method != "prefix" or train.shared:
        got = f"method {train.method}, on the slots of {train.shared}" if train.shared else f"method {train.method}"
        fix = f"set {section}.method: prefix and {section}.shared: null in {place}"
        raise ConfigError(f"a prefix of its own for {tenant}", got, fix)
    most = next(rule.le for rule in TrainConfig.model_fields["prefix_length"].metadata if hasattr(rule, "le"))
    if length > most:
        raise ArtifactError(f"a prefix of at most {most} slots", f"{length} in {folder}", "train a shorter one")
    if length != train.prefix_length:
        wanted = f"{train.prefix_length} slots, as train.prefix_length says for {tenant}"
        raise ConfigError(wanted, f"{length} in {folder}", f"set {section}.prefix_length: {length} in {place}")
