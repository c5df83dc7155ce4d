"""Load what computes a server's answers: an engine in this process, or one that asks vLLM servers.

Knows the workspace, the settings and both kinds of engine; does not know HTTP.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from components.config.serve import ServeConfig
from components.errors import ConfigError
from components.registry.mlflow.versions import Version
from components.registry.registry import Registry
from components.serving.interface import ArtifactRef, Engine
from components.serving.thread_pool import FairThreadPool
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.model.base.load import Base
    from components.serving.engine.artifacts.cache import ArtifactCache

_MIB = 1 << 20
_FOLDER, _FALLBACK_FOLDER = "prefixes", "prefixes-fallback"
"""Of the artifacts that are served, in var/."""


def load_engine(workspace: Workspace, config: ServeConfig) -> Engine:
    """Load the base and start the engine on it; blocks until the engine runs.

    Raises:
        BaseModelError: there is no such base, or the engine cannot compute rows of many tenants on it.
        ConfigError: an engine's address is none, or settings of one kind of engine are given to the other.
        RefusalError: no vLLM server answers.
        WorkspaceError: vLLM cannot be started.
    """
    if config.engine == "vllm":
        return _load_vllm(workspace, config)
    if config.engines:
        fix = "set serve.engine: vllm, or remove serve.engines"
        raise ConfigError("no serve.engines with serve.engine: local", ", ".join(config.engines), fix)
    return _load_local_engine(workspace, config, _FOLDER)


def _load_vllm(workspace: Workspace, config: ServeConfig) -> Engine:
    if config.fallback == "none":
        return _load_remote_engine(workspace, config)
    from components.serving.routed_engine import RoutedEngine

    local = _load_local_engine(workspace, config, _FALLBACK_FOLDER)
    try:
        remote = _load_remote_engine(workspace, config)
    except BaseException:
        asyncio.run(local.drain())
        raise
    return RoutedEngine(remote, local)


def _load_local_engine(workspace: Workspace, config: ServeConfig, folder: str) -> Engine:
    from components.serving.engine import BatchEngine, EngineLimits  # torch takes seconds to import

    limits = EngineLimits(
        rows=config.rows, step_tokens=config.step_tokens, queue=config.queue, tenant_queue=config.tenant_queue
    )
    return BatchEngine(workspace.base, _make_artifact_cache(workspace, workspace.base, config, folder), limits)


def _load_remote_engine(workspace: Workspace, config: ServeConfig) -> Engine:
    from components.model.base.model_folder import find_folder
    from components.serving.remote.addresses import EngineAddresses
    from components.serving.remote.engine import RemoteEngine
    from components.serving.remote.engine_store import EngineStore
    from components.serving.remote.held_artifacts import RemoteArtifacts
    from components.serving.remote.row_limits import RowLimits
    from components.serving.remote.server_client import ServerClient
    from components.serving.remote.server_group import ServerGroup
    from components.serving.remote.vllm_process import VllmProcess, find_free_port, make_command
    from components.serving.remote.weightless_base import load_weightless_base

    addresses = EngineAddresses(config.engines)
    store = EngineStore(workspace.root / "var" / _FOLDER, config.engine_store)
    process: VllmProcess | None = None
    if not config.engines:
        port = find_free_port()
        addresses = EngineAddresses([f"http://127.0.0.1:{port}"])
        folder = find_folder(workspace.base_config)
        python = workspace.root / config.vllm.python
        command = make_command(config.vllm, python, folder, port, store.url)
        process = VllmProcess(command, workspace.root / "var" / "log" / "vllm.log")
        process.start()  # loads its base while this process reads the same files
    try:
        base = load_weightless_base(workspace.base_config)
        servers = ServerGroup(addresses, lambda url, dropped: ServerClient(url, base.digest, pending_drops=dropped))
        servers.start(config.vllm.start_seconds, must_go_on=process.check_running if process else lambda: None)
    except BaseException:
        if process is not None:
            process.stop()
        raise
    artifacts = RemoteArtifacts(_make_artifact_cache(workspace, base, config, _FOLDER), store, servers)
    pool = FairThreadPool("end of vLLM")

    async def stop() -> None:
        if process is not None:
            await pool.run(process.stop)

    return RemoteEngine(base, artifacts, servers, RowLimits(config.queue, config.tenant_queue), stop)


def _make_artifact_cache(workspace: Workspace, base: "Base", config: ServeConfig, folder: str) -> "ArtifactCache":
    from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits

    memory = ArtifactMemoryLimits(
        device=config.device_mb * _MIB, host=config.host_mb * _MIB, disk=config.disk_mb * _MIB
    )
    return ArtifactCache(base, RegistryArtifactSource(workspace.registry), workspace.root / "var" / folder, memory)


class RegistryArtifactSource:
    """Fetches artifacts from MLflow."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """Download the artifact's files into `folder` and return it.

        Raises:
            RegistryError: MLflow does not answer.
            ArtifactError: the store holds other files under this version.
            WorkspaceError: the disk is full.
        """
        return self._registry.fetch(Version(artifact.tenant, artifact.version, sha256=artifact.sha256), folder)
