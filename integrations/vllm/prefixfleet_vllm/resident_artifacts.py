"""Which artifacts the workers hold, decided by the scheduler: bounded, the least recently used ones first out.

Prefixes are bounded in bytes, LoRA artifacts in number, as vLLM bounds its own LoRA. The scheduler decides and the
workers obey its commands in order, so that an artifact that it counts on is there, on every rank. An artifact stays
while a request waits for its slots or computes with its LoRA, or while it is pinned. Knows artifacts by name, size and
state; does not know files, tensors or blocks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from prefixfleet_vllm.commands import Command, ReadArtifact, RemoveArtifact, Report
from prefixfleet_vllm.errors import Kind, PluginError
from prefixfleet_vllm.manifest import LORA
from prefixfleet_vllm.orders import ArtifactRef

_MAX_ERRORS = 1024


@dataclass(slots=True)
class Resident:
    """An artifact that is loaded, is being read, or could not be read."""

    number: int
    artifact: ArtifactRef
    size_bytes: int
    """On a worker; of a LoRA artifact 0 until it is loaded."""
    workers_left: int
    """Workers that have not reported it as loaded."""
    waiting: set[str] = field(default_factory=set)
    """Requests that need its slots, or its LoRA until their end."""
    pinned: bool = False
    error: tuple[Kind, str] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether every worker holds it."""
        return self.workers_left == 0

    @property
    def cost(self) -> int:
        """What counts against the limit: bytes of a prefix, 1 of a LoRA artifact, 0 after a failure."""
        if self.artifact.method == LORA:
            return int(self.error is None)
        return self.size_bytes


class ResidentArtifacts:
    """The artifacts in the workers' memory."""

    def __init__(
        self,
        limit_bytes: int,
        workers: int,
        base_digests: Iterable[str],
        count_bytes: Callable[[int], int],
        find_folder: Callable[[str, str], str],
        max_loras: int = 0,
    ) -> None:
        """Start empty. `count_bytes` takes a number of slots, `find_folder` a sha256 and an address.

        `limit_bytes`: of prefixes; `max_loras`: LoRA artifacts, 0 if vLLM runs without LoRA.
        """
        self.limit_bytes, self.max_loras = limit_bytes, max_loras
        self._workers, self.base_digests = workers, frozenset(base_digests)
        self._count_bytes, self._find_folder = count_bytes, find_folder
        self._numbers = count(1)
        self._by_artifact: OrderedDict[ArtifactRef, Resident] = OrderedDict()
        self._by_number: dict[int, Resident] = {}
        self._commands: list[Command] = []
        self.last_errors: OrderedDict[str, tuple[Kind, str]] = OrderedDict()
        """The sha256 of artifacts whose last load failed, and why."""
        self.loads = self.failed_loads = self.evictions = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all prefixes that are loaded or being read, on one worker."""
        return sum(one.cost for one in self._by_artifact.values() if one.artifact.method != LORA)

    @property
    def used_loras(self) -> int:
        """LoRA artifacts that are loaded or being read."""
        return sum(one.cost for one in self._by_artifact.values() if one.artifact.method == LORA)

    @property
    def lora_bytes(self) -> int:
        """Bytes of host memory of all loaded LoRA artifacts, on one worker."""
        return sum(one.size_bytes for one in self._by_artifact.values() if one.artifact.method == LORA)

    @property
    def residents(self) -> list[Resident]:
        """All artifacts, the least recently used first."""
        return list(self._by_artifact.values())

    def want(self, artifact: ArtifactRef, request_id: str) -> Resident | None:
        """Return the artifact, which is loaded or being read; None while there is no memory for it.

        It is kept for the request until `release`.

        Raises:
            PluginError: it could not be loaded, or does not fit beside the pinned artifacts.
        """
        resident = self._by_artifact.get(artifact) or self._start_reading(artifact)
        if resident is None:
            return None
        resident.waiting.add(request_id)
        self._by_artifact.move_to_end(artifact)
        if resident.error is not None:
            kind, reason = resident.error
            raise PluginError(
                kind, f"artifact {artifact.sha256} of {artifact.tenant}", reason, "correct this and retry"
            )
        return resident

    def get_loaded(self, artifact: ArtifactRef) -> Resident:
        """Return an artifact that `want` has returned to a request, which keeps it."""
        return self._by_artifact[artifact]

    def release(self, artifact: ArtifactRef, request_id: str) -> None:
        """Keep the artifact no longer for this request."""
        resident = self._by_artifact.get(artifact)
        if resident is None:
            return
        resident.waiting.discard(request_id)
        if resident.error is not None and not resident.waiting:  # the next request tries again
            self._remove(resident)

    def pin(self, artifact: ArtifactRef, pinned: bool) -> None:
        """Keep a loaded artifact until it is dropped, or no longer."""
        self._by_artifact[artifact].pinned = pinned

    def drop(self, sha256s: Iterable[str]) -> int:
        """Remove artifacts, pinned ones too, and what is known of them; return how many were in memory."""
        wanted = set(sha256s)
        found = [one for one in self._by_artifact.values() if one.artifact.sha256 in wanted]
        for one in found:
            self._remove(one)
        for sha256 in wanted:
            self.last_errors.pop(sha256, None)
        return len(found)

    def record(self, report: Report) -> None:
        """Note what the workers have loaded."""
        for number, workers in report.loaded.items():
            if (resident := self._by_number.get(number)) is not None:
                resident.workers_left -= workers
                resident.size_bytes = report.sizes.get(number, resident.size_bytes)
                self.loads += resident.is_loaded
        for number, error in report.failed.items():
            resident = self._by_number.get(number)
            if resident is None or resident.error is not None:
                continue
            self.failed_loads += 1
            resident.error, resident.size_bytes = error, 0
            self._commands.append(RemoveArtifact(number))
            self.last_errors[resident.artifact.sha256] = error
            self.last_errors.move_to_end(resident.artifact.sha256)
            while len(self.last_errors) > _MAX_ERRORS:
                self.last_errors.popitem(last=False)
            if not resident.waiting:
                self._remove(resident)

    def take_commands(self) -> list[Command]:
        """Return the commands since the last call, in order."""
        commands, self._commands = self._commands, []
        return commands

    def add_command(self, command: Command) -> None:
        """Append a command of another part, in order with those about artifacts."""
        self._commands.append(command)

    def _start_reading(self, artifact: ArtifactRef) -> Resident | None:
        size_bytes = self._count_bytes(artifact.length)
        self._check_fits(artifact, size_bytes)
        folder = self._find_folder(artifact.sha256, artifact.address)
        if not self._make_space(artifact, size_bytes):
            return None
        resident = Resident(next(self._numbers), artifact, size_bytes, self._workers)
        self._by_artifact[artifact] = self._by_number[resident.number] = resident
        self.last_errors.pop(artifact.sha256, None)
        self._commands.append(ReadArtifact(resident.number, artifact, folder, self.base_digests))
        return resident

    def _check_fits(self, artifact: ArtifactRef, size_bytes: int) -> None:
        """Raise PluginError if there can be no memory for an artifact while the pinned ones stay."""
        pinned = sum(one.cost for one in self._list_same_kind(artifact) if one.pinned)
        if artifact.method == LORA:
            if not self.max_loras:
                fix = "start vLLM with --enable-lora, if it has LoRA for this base, or use PrefixFleet's own engine"
                raise PluginError("setup", "vLLM with LoRA for an artifact of method lora", "vLLM without it", fix)
            if pinned >= self.max_loras:
                got = f"{pinned} of {self.max_loras} places in use by pinned artifacts"
                raise PluginError("memory", "a place for a LoRA", got, "raise --max-cpu-loras, or pin fewer artifacts")
        elif size_bytes + pinned > self.limit_bytes:
            wanted = f"{size_bytes} bytes of memory for {artifact.length} slots"
            got = f"{pinned} of {self.limit_bytes} bytes in use by pinned artifacts"
            raise PluginError("memory", wanted, got, "raise resident_mb, or pin fewer artifacts")

    def _make_space(self, artifact: ArtifactRef, size_bytes: int) -> bool:
        """Evict what is not in use, the least recently used first; change nothing if that does not suffice."""
        others, evicted = self._list_same_kind(artifact), []
        needed, limit = (1, self.max_loras) if artifact.method == LORA else (size_bytes, self.limit_bytes)
        excess = sum(one.cost for one in others) + needed - limit
        for one in others:
            if excess <= 0:
                break
            if one.is_loaded and not one.waiting and not one.pinned:
                evicted.append(one)
                excess -= one.cost
        if excess > 0:
            return False
        for one in evicted:
            self._remove(one)
        self.evictions += len(evicted)
        return True

    def _list_same_kind(self, artifact: ArtifactRef) -> list[Resident]:
        return [one for one in self._by_artifact.values() if one.artifact.method == artifact.method]

    def _remove(self, resident: Resident) -> None:
        del self._by_artifact[resident.artifact], self._by_number[resident.number]
        if resident.error is None:
            self._commands.append(RemoveArtifact(resident.number))
