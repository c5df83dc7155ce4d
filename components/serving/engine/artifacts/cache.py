"""Tenants' artifacts near the base: on its device and in the host's memory, the least recently used leaving.

Everything is keyed by the sha256 of its content. What comes near the base has been verified against that, against the
tenant that asks, and against base and tenant's tokenizer; whatever cannot be had is an error, never the plain base.
Loading happens in threads of its own, once for all who wait for it; rows on their way pin what they use. On a CPU the
device's memory is the host's, and the middle floor is left out. Knows deltas; where files come from is `files`' part.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from components.errors import ArtifactError, PrefixFleetError
from components.model.base.load import Base
from components.model.base.shapes import DECODER, INFIX
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.serving.engine.artifacts.files import ArtifactFiles, ArtifactSource, check_owner
from components.serving.engine.artifacts.lru import LRUCache
from components.serving.interface import ArtifactRef, BusyError

if TYPE_CHECKING:
    from components.registry.manifest import Manifest

_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMemoryLimits:
    """Bytes that artifacts may take."""

    device: int = 1 << 30
    host: int = 4 << 30
    disk: int = 20 << 30


class LoadedArtifact:
    """One artifact on the base's device."""

    def __init__(self, delta: Delta, manifest: "Manifest", base: Base) -> None:
        """Bring a verified delta to the base's device and dtype."""
        self.sha256, self.tenant = manifest.sha256, manifest.tenant
        self.is_infix = bool(delta.prefix and delta.prefix.is_infix)
        self.max_source_tokens: int | None = manifest.train.get("max_source_tokens")
        self._slots_L2HPD: Tensor | None = None
        prefix, prompt_PW, weights = delta.prefix, delta.prompt_PW, delta.weights
        if prefix is not None and not base.is_encoder_decoder:
            self._slots_L2HPD = prefix.stack_decoder_site().to(base.device, base.model.dtype).contiguous()
            prefix = Prefix.from_site(self._slots_L2HPD, INFIX if self.is_infix else DECODER)
        elif prefix is not None:
            prefix = prefix.to(base.model.dtype, base.device)
        if prompt_PW is not None:
            prompt_PW = prompt_PW.to(base.device)
        weights = None if weights is None else weights.to(base.device)
        self.delta = replace(delta, prefix=prefix, prompt_PW=prompt_PW, weights=weights)
        self.size_bytes = _count_bytes(self.delta)
        if prompt_PW is not None:
            shape, size = base.shape, base.model.dtype.itemsize
            self.size_bytes += shape.layers * 2 * shape.kv_heads * len(prompt_PW) * shape.head_dim * size

    def build_slots(self, base: Base) -> Tensor | None:
        """Keys and values of a decoder-only base [L, 2, H, P, D]; in the model's thread, which may have to make them.

        Raises:
            BaseModelError: the base makes nothing of a soft prompt.
        """
        if self._slots_L2HPD is None and self.delta.prompt_PW is not None:
            prefix = self.delta.compute_prefix(base)
            self._slots_L2HPD = prefix.stack_decoder_site() if prefix is not None else None
        return self._slots_L2HPD


class ArtifactCache:
    """Artifacts by content; safe from many threads, `acquire` from event loops."""

    def __init__(
        self,
        base: Base,
        source: ArtifactSource,
        folder: Path,
        limits: ArtifactMemoryLimits | None = None,
        load_threads: int = 4,
    ) -> None:
        """Keep files under `folder`, a folder for each content; those that are there already count."""
        self.base = base
        self._limits = limits or ArtifactMemoryLimits()
        self._files = ArtifactFiles(base, source, folder, self._limits.disk)
        self._lock = threading.Lock()
        self._device: LRUCache[LoadedArtifact] = LRUCache(self._limits.device)
        self._host: LRUCache[tuple[Delta, Manifest]] = LRUCache(self._limits.host if base.device.type != "cpu" else 0)
        self._pins: Counter[str] = Counter()
        self._loading: dict[str, tuple[str, Future[LoadedArtifact]]] = {}
        """By content: the tenant for whom it is being loaded, and what comes of it."""
        self._load_pool = ThreadPoolExecutor(load_threads, thread_name_prefix="prefixfleet-loader")

    @property
    def store_error(self) -> str:
        """What kept the store's last answer from coming, until one comes."""
        return self._files.store_error

    @property
    def counts(self) -> tuple[int, int, int]:
        """Artifacts on the device, artifacts in the host's memory, and bytes on the device."""
        return len(self._device), len(self._host), self._device.used_bytes

    def count_pins(self, artifact: ArtifactRef) -> int:
        """How many rows hold its content."""
        with self._lock:
            return self._pins.get(artifact.sha256, 0)

    async def acquire(self, artifact: ArtifactRef) -> LoadedArtifact:
        """The artifact on the device, pinned until `release`; whoever waits does not hold up anybody else.

        Raises:
            ArtifactError: its files are missing, damaged (after a second fetch), or another tenant's.
            BaseModelError: it belongs to another base or tokenizer.
            RegistryError, WorkspaceError: it cannot be fetched.
            BusyError: rows in flight use all the memory there is for artifacts.
        """
        with self._lock:
            self._pins[artifact.sha256] += 1
        try:
            resident = await self._get_or_load(artifact)
            check_owner(resident.tenant, artifact)
        except BaseException:
            self.release(artifact)
            raise
        return resident

    def release(self, artifact: ArtifactRef) -> None:
        """Undo one `acquire`."""
        with self._lock:
            self._pins[artifact.sha256] -= 1
            if self._pins[artifact.sha256] <= 0:
                del self._pins[artifact.sha256]

    async def preload(self, artifact: ArtifactRef) -> None:
        """Load the artifact and pin nothing. Raises what `acquire` raises."""
        await self.acquire(artifact)
        self.release(artifact)

    def close(self) -> None:
        """Load nothing more."""
        self._load_pool.shutdown(wait=True, cancel_futures=True)

    @property
    def owners(self) -> dict[str, str]:
        """The sha256 of everything in memory or on disk, and the tenant whose it is."""
        with self._lock:
            host = {sha256: manifest.tenant for sha256, (_, manifest) in self._host.values_by_key.items()}
            device = {sha256: resident.tenant for sha256, resident in self._device.values_by_key.items()}
        return self._files.owners | host | device

    def evict(self, sha256s: Iterable[str]) -> None:
        """Keep these no longer, in memory or on disk; rows in flight finish with what they hold.

        What is being loaded at this moment stays, and has to be dropped again.
        """
        for sha256 in sha256s:
            with self._lock:
                if sha256 in self._loading:
                    continue
                self._device.remove(sha256)
                self._host.remove(sha256)
            self._files.remove(sha256)

    async def retry_failed_fetch(self) -> None:
        """Try once more what the store could not give; where it gives it, there is no trouble any more."""
        failed = self._files.failed_artifact
        if failed is not None:
            with suppress(PrefixFleetError):
                await self.preload(failed)

    async def _get_or_load(self, artifact: ArtifactRef) -> LoadedArtifact:
        while True:
            with self._lock:
                resident = self._device.get(artifact.sha256)
                if resident is not None:
                    return resident
                if artifact.sha256 not in self._loading:
                    self._loading[artifact.sha256] = artifact.tenant, self._load_pool.submit(self._load, artifact)
                tenant, loading = self._loading[artifact.sha256]
            try:
                return await asyncio.shield(asyncio.wrap_future(loading))
            except PrefixFleetError:
                if tenant == artifact.tenant:
                    raise

    def _load(self, artifact: ArtifactRef) -> LoadedArtifact:
        try:
            with self._lock:
                known = self._host.get(artifact.sha256)
            delta, manifest = known or self._files.read(artifact)
            resident = LoadedArtifact(delta, manifest, self.base)
            with self._lock:
                if self._device.put(artifact.sha256, resident, resident.size_bytes, self._pins) is None:
                    raise self._make_full_error(resident)
                self._host.put(artifact.sha256, (delta, manifest), _count_bytes(delta))
            return resident
        finally:
            with self._lock:
                del self._loading[artifact.sha256]

    def _make_full_error(self, resident: LoadedArtifact) -> PrefixFleetError:
        wanted = f"{resident.size_bytes} bytes for an artifact of {resident.tenant}"
        if resident.size_bytes > self._limits.device:
            return ArtifactError(wanted, f"room for {self._limits.device} in all", "give artifacts more memory")
        got = f"{self._device.used_bytes} of {self._limits.device} in use by rows in flight"
        return BusyError(wanted, got, "try again soon, or give artifacts more memory", retry_after=_RETRY_AFTER_S)


def _count_bytes(delta: Delta) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in delta.tensors.values())
