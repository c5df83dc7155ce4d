"""Generate text with a tenant's champion, the version that has the alias `champion` in MLflow, on the base."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.schema import check_tenant_id
from components.errors import ArtifactError, DataError, RegistryError, SchemaError
from components.registry.artifact import load_artifact
from components.registry.judged_decoding import find_judged_decoding
from components.stages.conversations import read_input
from components.stages.gate import read_last_verdict
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.mlflow.versions import Version


def generate(
    workspace: Workspace, tenant: str, sources: Sequence[str], overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Return one text for each source, with the decoding that the champion was judged with.

    A source that is a JSON object with `messages` (and perhaps `tools`) is a conversation to continue. `overrides`
    changes keys of the section `evaluate` for this call.

    Raises:
        ConfigError: an unknown or impossible parameter.
        DataError: a source is empty, has messages that are not well-formed, or exceeds the base's context, or `tenant`
            is no tenant id.
        RegistryError: the tenant has no champion, or MLflow does not answer.
        ArtifactError, BaseModelError: the champion's files are damaged, or belong to another base.

    """
    check_tenant_id(tenant)
    params, changes = workspace.params.for_tenant(tenant), {"evaluate": dict(overrides or {})}
    params.override_with(changes, where="this request")
    if not sources or not all(source.strip() for source in sources):
        raise DataError("a source text", "an empty one", "pass text in the form of the tenant's training sources")
    champion = workspace.registry.find_champion(tenant)
    if champion is None:
        raise _make_no_champion_error(workspace, tenant)
    if champion.fault:
        fix = f"choose another version: `prefixfleet promote {tenant} --version N`, or `prefixfleet retrain`"
        raise RegistryError(
            f"a champion of {tenant} that can serve", f"version {champion.version}: {champion.fault}", fix
        )
    from components.model.decoding import Decoding, generate_text

    folder = _find_files(workspace, champion)
    delta, manifest = load_artifact(folder, workspace.base)
    judged = params.model_copy(update={"evaluate": find_judged_decoding(champion, params)})
    decoding = Decoding.from_config(judged.override_with(changes, where="this request").evaluate)
    cut = manifest.parse_train_config(folder).max_source_tokens
    inputs = [read_input(source) for source in sources]
    return generate_text(workspace.base, delta, inputs, decoding, params.evaluate.batch_size, max_source_tokens=cut)


def _find_files(workspace: Workspace, champion: "Version") -> Path:
    """Return a folder with the champion's files: the last training's if they are the same, which needs no MLflow."""
    trained = workspace.get_output_folder("train", champion.tenant)
    with suppress(ArtifactError, SchemaError):
        if champion.sha256 and load_artifact(trained, None)[1].sha256 == champion.sha256:
            return trained
    return workspace.registry.fetch(champion, workspace.get_champion_folder(champion))


def _make_no_champion_error(workspace: Workspace, tenant: str) -> RegistryError:
    verdict = read_last_verdict(workspace, tenant)
    if verdict is None or verdict.accepted:
        fix = f"run `prefixfleet retrain --tenant {tenant}`, or promote a version; see `prefixfleet status`"
        return RegistryError(f"a champion of {tenant}", "none", fix)
    fix = 'improve the data, or set a floor that this base can reach; see "If the gate rejects" in docs/tenants.md'
    return RegistryError(f"a champion of {tenant}", f"none, its last prefix was rejected. {verdict.sentence}", fix)
