"""From a workspace to a running engine: base, source of artifacts, bounds. Knows both sides, and no HTTP."""

from pathlib import Path

from components.config.serve import ServeConfig
from components.registry.mlflow.versions import Version
from components.registry.registry import Registry
from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.interface import ArtifactRef
from components.stages.workspace import Workspace

_MIB = 1 << 20


class RegistryArtifactSource:
    """Artifacts from MLflow."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """Put the artifact's files into `folder`.

        Raises:
            RegistryError: MLflow does not answer.
            ArtifactError: its store holds something else.
            WorkspaceError: the disk is full.
        """
        return self._registry.fetch(Version(artifact.tenant, artifact.version, sha256=artifact.sha256), folder)


def load_engine(workspace: Workspace, config: ServeConfig) -> BatchEngine:
    """Load the base and start the engine on it; blocks.

    Raises:
        BaseModelError: no such base, or one that cannot compute rows of many tenants at once.
        RegistryError: MLflow's address is none.
    """
    memory = ArtifactMemoryLimits(
        device=config.device_mb * _MIB, host=config.host_mb * _MIB, disk=config.disk_mb * _MIB
    )
    folder = workspace.root / "var" / "prefixes"
    residents = ArtifactCache(workspace.base, RegistryArtifactSource(workspace.registry), folder, memory)
    limits = EngineLimits(
        rows=config.rows, step_tokens=config.step_tokens, queue=config.queue, tenant_queue=config.tenant_queue
    )
    return BatchEngine(workspace.base, residents, limits)


async def preload_artifact(engine: BatchEngine, artifact: ArtifactRef) -> None:
    """Bring an artifact near the base before it is asked for. Raises what `Engine.submit` raises."""
    await engine.artifact_cache.acquire(artifact)
    engine.artifact_cache.release(artifact)
