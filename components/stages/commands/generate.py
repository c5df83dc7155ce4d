"""Text from a tenant's champion: the prefix that MLflow calls champion, on the base that params.yaml names."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.data.schema import check_tenant_id
from components.errors import DataError, RegistryError
from components.registry.artifact import load_artifact
from components.stages.workspace import Workspace


def generate(
    workspace: Workspace, tenant: str, sources: Sequence[str], overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Generate after each source, with the tenant's evaluate parameters and, for this request, the changed ones.

    Raises:
        ConfigError: an unknown or impossible parameter.
        DataError: an empty source, one that exceeds the base's context, or no tenant id.
        RegistryError: the tenant has no champion, or MLflow does not answer.
        ArtifactError, BaseModelError: the champion's files are damaged, or belong to another base.

    """
    check_tenant_id(tenant)
    params = workspace.params.for_tenant(tenant).override_with(
        {"evaluate": dict(overrides or {})}, where="this request"
    )
    if not sources or not all(source.strip() for source in sources):
        raise DataError("a source text", "an empty one", "give text as in the tenant's data")
    champion = workspace.registry.find_champion(tenant)
    if champion is None:
        raise RegistryError(
            f"a champion of {tenant}", "none", "make one (`prefixfleet retrain`); see `prefixfleet status`"
        )
    from components.model.decoding import Decoding, generate_text

    folder = workspace.registry.fetch(champion, workspace.get_champion_folder(champion))
    delta, manifest = load_artifact(folder, workspace.base)
    config = params.evaluate
    decoding = Decoding.from_config(config)
    cut = manifest.parse_train_config(folder).max_source_tokens
    return generate_text(workspace.base, delta, sources, decoding, config.batch_size, max_source_tokens=cut)
