"""What the scheduler tells the workers in each step, and what they report. Data only; sent between processes."""

from dataclasses import dataclass, field

from prefixfleet_vllm.errors import Kind
from prefixfleet_vllm.orders import ArtifactRef

BlockIds = tuple[list[int], ...]
"""The ids of a request's blocks in each KV cache group."""


@dataclass(frozen=True, slots=True)
class ReadArtifact:
    """Begin to read an artifact in the background; `number` names this attempt."""

    number: int
    artifact: ArtifactRef
    folder: str
    base_digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class RemoveArtifact:
    """Forget an artifact, whether it is loaded or still being read."""

    number: int


@dataclass(frozen=True, slots=True)
class WriteSlots:
    """Write the slots from `start` to `stop` of a loaded artifact into a request's blocks."""

    number: int
    start: int
    stop: int
    block_ids: BlockIds


@dataclass(frozen=True, slots=True)
class FailRequest:
    """Report a request as failed."""

    request_id: str


@dataclass(frozen=True, slots=True)
class EraseBlocks:
    """Overwrite blocks with zeros: block id -> the first token slot of it that is erased."""

    first_slots: dict[int, int]


Command = ReadArtifact | RemoveArtifact | WriteSlots | FailRequest | EraseBlocks


@dataclass(slots=True)
class Report:
    """How attempts to read artifacts ended, on one worker or on several."""

    loaded: dict[int, int] = field(default_factory=dict)
    """Number of the attempt -> workers that have loaded it."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Number of the attempt -> bytes on a worker, of a LoRA artifact, whose size only its files tell."""
    failed: dict[int, tuple[Kind, str]] = field(default_factory=dict)
    """Number of the attempt -> why a worker could not."""

    def merge(self, other: "Report") -> None:
        """Add another worker's report."""
        for number, workers in other.loaded.items():
            self.loaded[number] = self.loaded.get(number, 0) + workers
        self.sizes.update(other.sizes)
        self.failed.update(other.failed)
