"""The artifacts of tenants in device memory and host memory; the least recently used ones are evicted.

Artifacts are keyed by the sha256 of their content and verified when they are loaded (see `files`). An artifact that
cannot be loaded is an error; the base alone never answers. Loading runs in threads, once for all requests that wait for
the same artifact. Rows in flight pin the artifacts that they use. On a CPU there is no separate host cache. Knows
deltas; does not know where the files come from.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from components.errors import ArtifactError, BaseModelError, PrefixFleetError
from components.model.base.load import Base
from components.model.base.shapes import DECODER, INFIX
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.serving.engine.artifacts.files import ArtifactFiles, ArtifactSource, check_owner
from components.serving.engine.artifacts.lru import LRUCache
from components.serving.interface import ArtifactRef, BusyError
from components.serving.thread_pool import FairThreadPool

if TYPE_CHECKING:
    from components.registry.manifest import Manifest

_RETRY_AFTER_S = 1.0
_MAX_LOADS = 1024
"""Artifacts that are loaded or wait for it."""
_EMPTY_TENSOR_BYTES = 1024
"""About what a tensor without values takes, in a server whose engines run elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMemoryLimits:
    """Limits in bytes."""

    device: int = 1 << 30
    host: int = 4 << 30
    disk: int = 20 << 30


class LoadedArtifact:
    """One artifact in device memory."""

    def __init__(self, delta: Delta, manifest: "Manifest", base: Base) -> None:
        """Copy a verified delta to the base's device and dtype."""
        self.sha256, self.tenant = manifest.sha256, manifest.tenant
        self.is_infix = bool(delta.prefix and delta.prefix.is_infix)
        self.max_source_tokens: int | None = manifest.train.get("max_source_tokens")
        self._slots_L2HPD: Tensor | None = None
        prefix, prompt_PW, weights = delta.prefix, delta.prompt_PW, delta.weights
        has_one_tensor = not base.is_encoder_decoder and prefix is not None and prefix.shape.is_even
        if prefix is not None and has_one_tensor and not prefix.states:
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
            self.size_bytes += base.shape.sites[DECODER].size * len(prompt_PW) * base.model.dtype.itemsize

    def build_slots(self, base: Base) -> Tensor | None:
        """Return keys and values for a decoder-only base [L, 2, H, P, D], or None if the delta has no slots.

        Call it in the model thread: a soft prompt's slots are computed by the model at the first call.

        Raises:
            BaseModelError: the base does not support soft prompts.
        """
        if self._slots_L2HPD is None and self.delta.prompt_PW is not None:
            prefix = self.delta.compute_prefix(base)
            self._slots_L2HPD = prefix.stack_decoder_site() if prefix is not None else None
        return self._slots_L2HPD


class ArtifactCache:
    """Loaded artifacts by sha256; safe to use from many threads, `acquire` from any event loop."""

    def __init__(
        self,
        base: Base,
        source: ArtifactSource,
        folder: Path,
        limits: ArtifactMemoryLimits | None = None,
        load_threads: int = 4,
    ) -> None:
        """Keep the files in `folder`, one subfolder for each artifact; those that are there already are used."""
        self.base = base
        self._limits = limits or ArtifactMemoryLimits()
        self._files = ArtifactFiles(base, source, folder, self._limits.disk)
        self._lock = threading.Lock()
        self._device: LRUCache[LoadedArtifact] = LRUCache(self._limits.device)
        self._host: LRUCache[tuple[Delta, Manifest]] = LRUCache(self._limits.host if base.device.type != "cpu" else 0)
        self._pins: Counter[str] = Counter()
        self._load_errors: dict[str, str] = {}
        self._loading: dict[str, tuple[str, Future[LoadedArtifact]]] = {}
        """sha256 -> the tenant whose request loads it, and the future result."""
        self._load_pool = FairThreadPool(
            "artifact loads", load_threads, tenant_threads=max(1, load_threads // 2), max_calls=_MAX_LOADS
        )

    @property
    def store_error(self) -> str:
        """Why the artifact store did not answer the last fetch; "": it answered."""
        return self._files.store_error

    @property
    def load_errors(self) -> dict[str, str]:
        """The sha256 of each artifact whose files are missing, damaged or of another base at its last load, and why."""
        with self._lock:
            return dict(self._load_errors)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Artifacts in device memory, artifacts in host memory, and bytes in device memory."""
        return len(self._device), len(self._host), self._device.used_bytes

    def count_pins(self, artifact: ArtifactRef) -> int:
        """Return how many rows use it."""
        with self._lock:
            return self._pins.get(artifact.sha256, 0)

    async def acquire(self, artifact: ArtifactRef, rows: int = 1) -> LoadedArtifact:
        """Return the artifact in device memory, pinned by each of the rows until `release`; loads it first if needed.

        Raises:
            ArtifactError: its files are missing, still damaged after a second fetch, or another tenant's.
            BaseModelError: it belongs to another base or tokenizer.
            RegistryError, WorkspaceError: it cannot be fetched.
            BusyError: artifacts of rows in flight use all the memory.
        """
        with self._lock:
            self._pins[artifact.sha256] += rows
        try:
            loaded = await self._get_or_load(artifact)
            check_owner(loaded.tenant, artifact)
        except BaseException:
            self.release(artifact, rows)
            raise
        return loaded

    def release(self, artifact: ArtifactRef, rows: int = 1) -> None:
        """Remove the pins of so many rows."""
        with self._lock:
            self._pins[artifact.sha256] -= rows
            if self._pins[artifact.sha256] <= 0:
                del self._pins[artifact.sha256]

    async def preload(self, artifact: ArtifactRef) -> None:
        """Load the artifact and pin nothing. Raises what `acquire` raises."""
        await self.acquire(artifact)
        self.release(artifact)

    def close(self) -> None:
        """Stop the loading threads."""
        self._load_pool.close()

    @property
    def owners(self) -> dict[str, str]:
        """See `HeldArtifacts.owners`."""
        return self._files.owners | self.resident

    @property
    def resident(self) -> dict[str, str]:
        """See `HeldArtifacts.resident`."""
        with self._lock:
            host = {sha256: manifest.tenant for sha256, (_, manifest) in self._host.values_by_key.items()}
            device = {sha256: loaded.tenant for sha256, loaded in self._device.values_by_key.items()}
        return host | device

    def evict(self, sha256s: Iterable[str]) -> None:
        """Remove these from memory and disk; rows in flight finish with what they hold.

        An artifact that is being loaded stays, and has to be evicted again.
        """
        for sha256 in sha256s:
            with self._lock:
                if sha256 in self._loading:
                    continue
                self._load_errors.pop(sha256, None)
                self._device.remove(sha256)
                self._host.remove(sha256)
            self._files.remove(sha256)

    async def retry_failed_fetch(self) -> None:
        """Repeat the last fetch if it failed; success clears `store_error`."""
        failed = self._files.failed_artifact
        if failed is not None:
            with suppress(PrefixFleetError):
                await self.preload(failed)

    async def _get_or_load(self, artifact: ArtifactRef) -> LoadedArtifact:
        while True:
            with self._lock:
                loaded = self._device.get(artifact.sha256)
                if loaded is not None:
                    return loaded
                if artifact.sha256 not in self._loading:
                    self._loading[artifact.sha256] = artifact.tenant, self._submit_load(artifact)
                tenant, loading = self._loading[artifact.sha256]
            try:
                return await asyncio.shield(asyncio.wrap_future(loading))
            except PrefixFleetError:
                if tenant == artifact.tenant:
                    raise

    def _submit_load(self, artifact: ArtifactRef) -> "Future[LoadedArtifact]":
        return self._load_pool.submit(lambda: self._load(artifact), artifact.tenant)

    def _load(self, artifact: ArtifactRef) -> LoadedArtifact:
        try:
            with self._lock:
                cached = self._host.get(artifact.sha256)
            delta, manifest = cached or self._files.read(artifact)
            loaded = LoadedArtifact(delta, manifest, self.base)
            with self._lock:
                self._load_errors.pop(artifact.sha256, None)
                if self._device.put(artifact.sha256, loaded, loaded.size_bytes, self._pins) is None:
                    raise self._make_full_error(loaded)
                self._host.put(artifact.sha256, (delta, manifest), _count_bytes(delta))
            return loaded
        except (ArtifactError, BaseModelError) as problem:
            with self._lock:
                self._load_errors[artifact.sha256] = str(problem)
            raise
        finally:
            with self._lock:
                del self._loading[artifact.sha256]

    def _make_full_error(self, loaded: LoadedArtifact) -> PrefixFleetError:
        wanted = f"{loaded.size_bytes} bytes of memory for an artifact of {loaded.tenant}"
        if loaded.size_bytes > self._limits.device:
            return ArtifactError(wanted, f"a limit of {self._limits.device} bytes", "raise serve.device_mb")
        got = f"{self._device.used_bytes} of {self._limits.device} bytes in use by rows in flight"
        return BusyError(
            wanted, got, "retry later, or let the operator raise serve.device_mb", retry_after=_RETRY_AFTER_S
        )


def _count_bytes(delta: Delta) -> int:
    return sum(
        _EMPTY_TENSOR_BYTES if tensor.is_meta else tensor.numel() * tensor.element_size()
        for tensor in delta.tensors.values()
    )
