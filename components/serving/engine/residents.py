"""Tenants' artifacts near the base: on its device, in the host's memory and on disk, the least recently used leaving.

Everything is keyed by the sha256 of its content. What comes near the base has been verified against that, against the
tenant that asks, and against base and tenant's tokenizer; whatever cannot be had is an error, never the plain base.
Loading happens in threads of its own, once for all who wait for it; rows on their way pin what they use. On a CPU the
device's memory is the host's, and the middle floor is left out. Knows artifacts and folders; not where they come from.

Shapes: L layers, H key/value heads, P slots, D head size.
"""

import asyncio
import shutil
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from components.errors import ArtifactError, PrefixFleetError, RegistryError
from components.model.base import Base
from components.model.delta import Delta
from components.model.prefix import DECODER, INFIX, Prefix
from components.registry.artifact import load_artifact
from components.serving.engine.shelf import Shelf
from components.serving.requests import Artifact, BusyError

if TYPE_CHECKING:
    from components.registry.manifest import Manifest

_CONTENT_LOCKS = 64
_RETRY_S = 1.0


class Source(Protocol):
    """Where artifacts come from."""

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """Put an artifact's files into `folder`, or say in which folder they are; may be called from many threads.

        Raises:
            PrefixFleetError: it cannot be had.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that artifacts may take."""

    device: int = 1 << 30
    host: int = 4 << 30
    disk: int = 20 << 30


class Resident:
    """One artifact on the base's device."""

    def __init__(self, delta: Delta, manifest: "Manifest", base: Base) -> None:
        """Bring a verified delta to the base's device and dtype."""
        self.sha256, self.tenant = manifest.sha256, manifest.tenant
        self.infix = bool(delta.prefix and delta.prefix.is_infix)
        self.max_source_tokens: int | None = manifest.train.get("max_source_tokens")
        self._slots_L2HPD: Tensor | None = None
        prefix, prompt_PW, weights = delta.prefix, delta.prompt_PW, delta.weights
        if prefix is not None and not base.is_encoder_decoder:
            self._slots_L2HPD = prefix.stacked().to(base.device, base.model.dtype).contiguous()
            prefix = Prefix.from_stacked(self._slots_L2HPD, INFIX if self.infix else DECODER)
        elif prefix is not None:
            prefix = prefix.to(base.model.dtype, base.device)
        if prompt_PW is not None:
            prompt_PW = prompt_PW.to(base.device)
        weights = None if weights is None else weights.to(base.device)
        self.delta = replace(delta, prefix=prefix, prompt_PW=prompt_PW, weights=weights)
        self.bytes = _bytes(self.delta)
        if prompt_PW is not None:
            shape, size = base.shape, base.model.dtype.itemsize
            self.bytes += shape.layers * 2 * shape.kv_heads * len(prompt_PW) * shape.head_dim * size

    def slots(self, base: Base) -> Tensor | None:
        """Keys and values of a decoder-only base [L, 2, H, P, D]; in the model's thread, which may have to make them.

        Raises:
            BaseModelError: the base makes nothing of a soft prompt.
        """
        if self._slots_L2HPD is None and self.delta.prompt_PW is not None:
            prefix = self.delta.keys_and_values(base)
            self._slots_L2HPD = prefix.stacked() if prefix is not None else None
        return self._slots_L2HPD


class Residents:
    """Artifacts by content; safe from many threads, `acquire` from event loops."""

    def __init__(
        self, base: Base, source: Source, folder: Path, memory: Memory | None = None, loaders: int = 4
    ) -> None:
        """Keep files under `folder`, a folder for each content; those that are there already count."""
        self.base, self.source, self.folder = base, source, folder
        self._memory = memory or Memory()
        self._lock = threading.Lock()
        self._contents = [threading.Lock() for _ in range(_CONTENT_LOCKS)]
        self._device: Shelf[Resident] = Shelf(self._memory.device)
        self._host: Shelf[tuple[Delta, Manifest]] = Shelf(self._memory.host if base.device.type != "cpu" else 0)
        self._disk: Shelf[Path] = Shelf(self._memory.disk)
        self._pins: Counter[str] = Counter()
        self._loading: dict[Artifact, Future[Resident]] = {}
        self._loaders = ThreadPoolExecutor(loaders, thread_name_prefix="prefixfleet-loader")
        self.trouble = ""
        """What kept the store's last answer from coming, until one comes."""
        folder.mkdir(parents=True, exist_ok=True)
        for kept in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
            self._keep_on_disk(kept)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Artifacts on the device, artifacts in the host's memory, and bytes on the device."""
        return len(self._device), len(self._host), self._device.bytes

    def pinned(self, artifact: Artifact) -> int:
        """How many rows hold its content."""
        with self._lock:
            return self._pins.get(artifact.sha256, 0)

    async def acquire(self, artifact: Artifact) -> Resident:
        """The artifact on the device, pinned until `release`; whoever waits does not hold up anybody else.

        Raises:
            ArtifactError: its files are missing, damaged (after a second fetch), or another tenant's.
            BaseModelError: it belongs to another base or tokenizer.
            RegistryError: it cannot be fetched.
            BusyError: rows in flight use all the memory there is for artifacts.
        """
        with self._lock:
            self._pins[artifact.sha256] += 1
            resident = self._device.get(artifact.sha256)
            if resident is None and artifact not in self._loading:
                self._loading[artifact] = self._loaders.submit(self._load, artifact)
            loading = self._loading.get(artifact)
        try:
            if resident is None:
                assert loading is not None  # noqa: S101 - put there above
                resident = await asyncio.shield(asyncio.wrap_future(loading))
            _check_owner(resident.tenant, artifact)
        except BaseException:
            self.release(artifact)
            raise
        return resident

    def release(self, artifact: Artifact) -> None:
        """Undo one `acquire`."""
        with self._lock:
            self._pins[artifact.sha256] -= 1
            if self._pins[artifact.sha256] <= 0:
                del self._pins[artifact.sha256]

    def close(self) -> None:
        """Load nothing more."""
        self._loaders.shutdown(wait=True, cancel_futures=True)

    def _load(self, artifact: Artifact) -> Resident:
        try:
            # Versions of one content share a folder.
            with self._contents[hash(artifact.sha256) % len(self._contents)]:
                with self._lock:
                    known = self._host.get(artifact.sha256)
                delta, manifest = known or self._read(artifact)
            resident = Resident(delta, manifest, self.base)
            with self._lock:
                if self._device.put(artifact.sha256, resident, resident.bytes, self._pins) is None:
                    raise self._full(resident)
                self._host.put(artifact.sha256, (delta, manifest), _bytes(delta))
            return resident
        finally:
            with self._lock:
                del self._loading[artifact]

    def _full(self, resident: Resident) -> PrefixFleetError:
        wanted = f"{resident.bytes} bytes for an artifact of {resident.tenant}"
        if resident.bytes > self._memory.device:
            return ArtifactError(wanted, f"room for {self._memory.device} in all", "give artifacts more memory")
        got = f"{self._device.bytes} of {self._memory.device} in use by rows in flight"
        return BusyError(wanted, got, "try again soon, or give artifacts more memory", retry_after=_RETRY_S)

    def _read(self, artifact: Artifact) -> "tuple[Delta, Manifest]":
        """From disk, or fetched; what is damaged is fetched again, once."""
        folder = self.folder / artifact.sha256
        if folder.is_dir():
            try:
                found = _verified(folder, artifact, self.base)
            except ArtifactError:
                self._off_disk(folder)
            else:
                self._keep_on_disk(folder)
                return found
        try:
            return self._fetched(folder, artifact)
        except ArtifactError:
            self._off_disk(folder)
            return self._fetched(folder, artifact)

    def _fetched(self, folder: Path, artifact: Artifact) -> "tuple[Delta, Manifest]":
        try:
            place = self.source.fetch(artifact, folder)
        except PrefixFleetError as problem:
            self.trouble = str(problem)
            raise
        except Exception as problem:
            wanted = f"the artifact of {artifact.tenant}, version {artifact.version}"
            fix = "see that the artifact store answers, and ask again"
            told = RegistryError(wanted, f"{type(problem).__name__}: {problem}", fix)
            self.trouble = str(told)
            raise told from problem
        found = _verified(place, artifact, self.base)
        self.trouble = ""
        if place == folder:
            self._keep_on_disk(folder)
        return found

    def _keep_on_disk(self, folder: Path) -> None:
        size = sum(path.stat().st_size for path in folder.glob("*"))
        with self._lock:
            held = {artifact.sha256 for artifact in self._loading}
            gone = self._disk.put(folder.name, folder, size, held)
        for other in [folder] if gone is None else gone:
            shutil.rmtree(other, ignore_errors=True)

    def _off_disk(self, folder: Path) -> None:
        with self._lock:
            self._disk.drop(folder.name)
        shutil.rmtree(folder, ignore_errors=True)


def _verified(folder: Path, artifact: Artifact, base: Base) -> "tuple[Delta, Manifest]":
    """Everything that `load_artifact` checks, and that it is the one that was asked for."""
    delta, manifest = load_artifact(folder, base)
    if manifest.sha256 != artifact.sha256:
        wanted = f"version {artifact.version} of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, f"{manifest.sha256} in {folder}", "register the tenant again")
    _check_owner(manifest.tenant, artifact)
    return delta, manifest


def _check_owner(tenant: str, artifact: Artifact) -> None:
    if tenant != artifact.tenant:
        wanted = f"an artifact of {artifact.tenant} with sha256 {artifact.sha256}"
        raise ArtifactError(wanted, "another tenant's", "register the tenant again")


def _bytes(delta: Delta) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in delta.tensors.values())
