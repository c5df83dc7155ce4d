"""Writes one run and one version for one checked artifact folder.

Knows a version's tags and its base's location. Sets no alias: the caller decides that.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import ArtifactError
from components.registry.artifact import load_artifact
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, Manifest, find_layers_outside_blocks
from components.registry.mlflow.direct_calls import set_version_tag
from components.registry.mlflow.ownership import Ownership
from components.registry.mlflow.packaging import write_model
from components.registry.mlflow.runs import RunLog, clip_tags, open_run
from components.registry.mlflow.versions import (
    ARTIFACT_BYTES_TAG,
    BASE_TAG,
    LORA_OUTSIDE_TAG,
    LORA_RANK_TAG,
    MADE_FROM_TAG,
    Version,
    to_model_name,
    to_version,
)

_TAKEN_BY_PROMPT = "already taken by a prompt"
_MANIFEST_TAGS = ("method", "fingerprint", "dataset_version", "data_digest", BASE_TAG, "sha256")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One artifact to register as a version."""

    tenant: str
    artifact: Path
    """Folder with prefix.safetensors and manifest.json."""
    base_path: str
    """Folder, relative to the workspace, or id on the hub."""
    tags: Mapping[str, str] = field(default_factory=dict)
    run_log: RunLog = field(default_factory=RunLog)
    alias: str | None = None
    """Alias that `Registry.register_all` sets on the version; None: no alias."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of predict's params; see `components.registry.mlflow.packaging.DEFAULT_DECODING`."""
    revision: str | None = None
    dtype: str = "float32"
    quantize: str | None = None
    """`base.quantize`: the version loads the base as it was trained on."""
    has_model: bool = False
    """Whether the tenant is known to have a registered model; saves the call that makes it."""


def check_artifact(registration: Registration) -> Manifest:
    """Return the artifact's manifest after every check that needs no base.

    Raises:
        ArtifactError: the folder fails a check, or is another tenant's.
    """
    manifest = load_artifact(registration.artifact, None)[1]
    if manifest.tenant != registration.tenant:
        got = f"an artifact of {manifest.tenant} in {registration.artifact}"
        raise ArtifactError(f"an artifact of {registration.tenant}", got, "pass this tenant's folder")
    return manifest


def write_version(
    client: Any,
    experiment_id: str,
    ownership: Ownership,
    registration: Registration,
    manifest: Manifest,
    revision: str | None,
) -> Version:
    """Make a run and a version, or update the tags of the version that already has this artifact.

    Raises:
        OwnershipError: that version belongs to another workspace.
    """
    name = to_model_name(registration.tenant)
    tags = _make_tags(registration, manifest, revision)
    known = _find_registered(client, name, manifest, has_model=registration.has_model)
    if known is not None:
        ownership.check_version(to_version(registration.tenant, known, []), f"register {registration.tenant}")
        tags = {**ownership.make_tags(), **known.tags, **tags}
        for key, value in tags.items():
            if known.tags.get(key) != value:
                set_version_tag(client, name, str(known.version), key, value)
        entity = client.get_model_version(name, str(known.version))
        return to_version(registration.tenant, entity, entity.aliases)
    base = {
        "path": _resolve_base_path(registration.base_path, ownership.workspace),
        "revision": registration.revision,
        "dtype": registration.dtype,
        **({"quantize": registration.quantize} if registration.quantize else {}),
    }
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch:
        write_model(Path(scratch, "model"), registration.artifact, base, registration.decoding)
        run_log = ownership.mark(registration.run_log)
        with open_run(client, experiment_id, registration.tenant, run_log, Path(scratch)) as run:
            source = f"{run.info.artifact_uri}/model"
            entity = client.create_model_version(
                name,
                source,
                run_id=run.info.run_id,
                tags={**tags, **clip_tags(ownership.make_tags())},
                await_creation_for=None,
            )
    return to_version(registration.tenant, entity, [])


def find_git_revision(folder: Path) -> str | None:
    """Return the commit that is checked out in `folder`, with `-dirty` if files differ; None outside of git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _find_registered(client: Any, name: str, manifest: Manifest, *, has_model: bool) -> Any:
    """Create the registered model if it is missing; return the version of this artifact, or None."""
    if not has_model and _create_model(client, name):
        return None
    candidates = client.search_model_versions(f"name = '{name}' AND tags.fingerprint = '{manifest.fingerprint}'")
    return next((entity for entity in candidates if entity.tags.get("sha256") == manifest.sha256), None)


def _create_model(client: Any, name: str) -> bool:
    """Create the registered model; return whether it was missing."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS" or _TAKEN_BY_PROMPT in str(problem):
            raise
        return False
    return True


def _make_tags(registration: Registration, manifest: Manifest, revision: str | None) -> dict[str, str]:
    metrics = {f"metric.{name}": f"{value:.6g}" for name, value in registration.run_log.metrics.items()}
    from_manifest = {field: getattr(manifest, field) for field in _MANIFEST_TAGS}
    if manifest.method == "lora":
        rank = manifest.parse_train_config(registration.artifact).lora_rank
        from_manifest[LORA_RANK_TAG] = str(rank)
        if outside := find_layers_outside_blocks(manifest.shapes):
            from_manifest[LORA_OUTSIDE_TAG] = ",".join(outside)
    if manifest.made_from:
        from_manifest[MADE_FROM_TAG] = json.dumps(manifest.made_from, sort_keys=True)
    size = sum((registration.artifact / name).stat().st_size for name in (TENSORS_FILE, MANIFEST_FILE))
    return clip_tags(
        {
            "git_revision": revision,
            **metrics,
            **registration.tags,
            **from_manifest,
            "tenant": registration.tenant,
            ARTIFACT_BYTES_TAG: str(size),
        }
    )


def _resolve_base_path(base_path: str, workspace: Path) -> str:
    folder = workspace / base_path
    return str(folder.resolve()) if folder.is_dir() else base_path
