"""The artifacts that this server has verified for its engines, and their removal from all of them.

Knows the cache of verified artifacts, the engines and their store; does not know rows.
"""

from collections.abc import Iterable, Mapping

from cachetools import TTLCache

from components.registry.manifest import find_layers_outside_blocks, find_lora_layers
from components.serving.engine.artifacts.cache import ArtifactCache, LoadedArtifact
from components.serving.errors import UnsupportedArtifactError
from components.serving.interface import ArtifactRef
from components.serving.remote.engine_store import EngineStore
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.server_group import ServerGroup
from components.serving.thread_pool import FairThreadPool

_COPIES = 4
"""Artifacts that are copied to the engines' store at the same time."""
_REFUSED_LAYERS, _REFUSED_SECONDS = 256, 60.0
"""How many sets of layers that engines have refused are remembered, and for how long: engines may be replaced."""
_FIX = "train it with other train.lora_targets, or set serve.fallback: local or serve.engine: local"


class RemoteArtifacts:
    """See `components.serving.interface.HeldArtifacts`. Like the base here, verified artifacts take no memory."""

    def __init__(self, cache: ArtifactCache, store: EngineStore, servers: ServerGroup) -> None:
        """`cache` has a base without weights; `store` copies from the folder of its files."""
        self._cache, self._store, self._servers = cache, store, servers
        self._pool = FairThreadPool("copies to the engines' store", _COPIES)
        self._taken_layers: set[frozenset[str]] = set()
        """Sets of layers of which an engine has loaded a LoRA."""
        self._refused_layers: TTLCache[frozenset[str], UnsupportedArtifactError] = TTLCache(
            _REFUSED_LAYERS, _REFUSED_SECONDS
        )

    @property
    def owners(self) -> Mapping[str, str]:
        """See `HeldArtifacts.owners`."""
        return self._cache.owners

    @property
    def resident(self) -> Mapping[str, str]:
        """See `HeldArtifacts.resident`: those that are verified and may be in an engine's memory."""
        return self._cache.resident

    @property
    def store_error(self) -> str:
        """See `HeldArtifacts.store_error`."""
        return self._cache.store_error

    @property
    def load_errors(self) -> Mapping[str, str]:
        """See `HeldArtifacts.load_errors`."""
        return self._cache.load_errors

    @property
    def counts(self) -> tuple[int, int, int]:
        """As `ArtifactCache.counts`."""
        return self._cache.counts

    async def acquire(self, artifact: ArtifactRef, rows: int) -> tuple[LoadedArtifact, StoredArtifact]:
        """Return the verified artifact, kept until `release`, and where the engines read it.

        Raises:
            UnsupportedArtifactError: vLLM cannot answer with it, or no engine has LoRA of its rank or its layers.
            WorkersError: it cannot be copied to the engines' store.
            PrefixFleetError: what `ArtifactCache.acquire` raises; of the first LoRA of its layers, what
                `ServerGroup.load` raises.
        """
        loaded = await self._cache.acquire(artifact, rows)
        try:
            lora_rank = _check_method(loaded, artifact)
            if lora_rank > self._servers.max_lora_rank:
                raise _make_lora_error(artifact, lora_rank, self._servers.max_lora_rank)
            if not self._store.is_published(artifact.sha256):
                await self._pool.run(lambda: self._store.publish(artifact.sha256), artifact.tenant)
            address = self._store.get_address(artifact.sha256)
            stored = StoredArtifact(artifact, loaded.delta.length, address, lora_rank)
            if loaded.delta.weights is not None:
                await self._check_layers(find_lora_layers(loaded.delta.weights.tensors), stored)
        except BaseException:
            self._cache.release(artifact, rows)
            raise
        return loaded, stored

    def release(self, artifact: ArtifactRef, rows: int = 1) -> None:
        """Let the artifact go for so many rows."""
        self._cache.release(artifact, rows)

    async def preload(self, artifact: ArtifactRef) -> None:
        """See `HeldArtifacts.preload`; the engine that will be asked loads it too."""
        _, stored = await self.acquire(artifact, 1)
        try:
            await self._pool.run(lambda: self._servers.load(stored), artifact.tenant)
        finally:
            self.release(artifact)

    def evict(self, sha256s: Iterable[str]) -> None:
        """See `HeldArtifacts.evict`; returns when every engine that answers has removed them."""
        names = list(sha256s)
        self._store.remove(names)
        self._cache.evict(names)
        self._servers.drop(names)

    async def retry_failed_fetch(self) -> None:
        """See `HeldArtifacts.retry_failed_fetch`."""
        await self._cache.retry_failed_fetch()

    async def close(self) -> None:
        """End the threads."""
        await self._pool.run(self._cache.close)
        self._pool.close()

    async def _check_layers(self, layers: frozenset[str], stored: StoredArtifact) -> None:
        """Let an engine load the first LoRA of these layers: only the engine knows which ones it can change."""
        if layers in self._taken_layers:
            return
        refused = self._refused_layers.get(layers)
        if refused is not None:
            raise refused
        try:
            await self._pool.run(lambda: self._servers.load(stored), stored.artifact.tenant)
        except UnsupportedArtifactError as problem:
            self._refused_layers[layers] = problem
            raise
        self._taken_layers.add(layers)


def _check_method(loaded: LoadedArtifact, artifact: ArtifactRef) -> int:
    """Return the rank of a LoRA artifact, 0 for a prefix.

    Raises:
        UnsupportedArtifactError: the artifact is neither slots before the text alone, nor a LoRA of the blocks alone.
    """
    delta, prefix, weights = loaded.delta, loaded.delta.prefix, loaded.delta.weights
    has_others = delta.prompt_PW is not None or bool(delta.demonstrations) or loaded.is_infix
    if prefix is not None and not prefix.states and weights is None and not has_others:
        return 0
    if prefix is None and weights is not None and weights.config.kind == "lora" and not has_others:
        if outside := find_layers_outside_blocks(weights.tensors):
            got = f"version {artifact.version} of {artifact.tenant}, which changes {', '.join(outside)}"
            raise UnsupportedArtifactError("a LoRA of layers in the base's blocks, as vLLM has it", got, _FIX)
        return weights.config.lora_rank
    wanted = "an artifact that is a prefix in attention layers, or a LoRA (train.method: prefix or lora)"
    got = f"version {artifact.version} of {artifact.tenant}, of another method or with initial states"
    fix = "train it with method prefix or lora, or set serve.fallback: local or serve.engine: local"
    raise UnsupportedArtifactError(wanted, got, fix)


def _make_lora_error(artifact: ArtifactRef, rank: int, largest: int) -> UnsupportedArtifactError:
    engines = f"engines with ranks up to {largest}" if largest else "engines without LoRA"
    return UnsupportedArtifactError(
        f"an engine for version {artifact.version} of {artifact.tenant}, a LoRA of rank {rank}",
        engines,
        "start one with LoRA (serve.vllm.max_lora_rank), or set serve.fallback: local or serve.engine: local",
    )
