"""A worker's half of the connector: carries out the scheduler's commands in order, and reports what it has loaded.

Knows commands; does not know requests beyond the id of a failed one, nor why the scheduler decides what it does.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

from prefixfleet_vllm.artifact_loader import ArtifactLoader, LoraAdapter, SlotLayers
from prefixfleet_vllm.commands import (
    Command,
    EraseBlocks,
    FailRequest,
    ReadArtifact,
    RemoveArtifact,
    Report,
    WriteSlots,
)
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.paged_cache import CacheLayer, SlotWrite, erase_blocks, write_slots


class Adapters(Protocol):
    """See `prefixfleet_vllm.lora_adapters.LoraAdapters`."""

    def add(self, adapter: LoraAdapter) -> None:
        """Make an adapter ready for requests."""

    def remove(self, number: int) -> None:
        """Remove the adapter of an attempt, if there is one."""


class WorkerSide:
    """The artifacts in this worker's memory: slots on the device of its cache, LoRA artifacts in vLLM's LoRA."""

    def __init__(
        self,
        cache: Sequence[CacheLayer],
        make_loader: Callable[[], ArtifactLoader],
        adapters: Adapters | None = None,
    ) -> None:
        """Start empty."""
        self._cache, self._loader, self._adapters = cache, make_loader(), adapters
        self._device = cache[0].module.kv_cache.device
        self._residents: dict[int, SlotLayers] = {}
        self._failed: set[str] = set()
        self._report = Report()

    def execute(self, commands: Iterable[Command]) -> None:
        """Carry out the commands of one step, and take over artifacts that have been read meanwhile."""
        writes: list[SlotWrite] = []
        for command in commands:
            if isinstance(command, WriteSlots):
                layers = self._residents[command.number]
                writes.append(SlotWrite(layers, command.start, command.stop, command.block_ids))
                continue
            if isinstance(command, EraseBlocks):
                self._flush(writes)
                erase_blocks(self._cache, command.first_slots)
            elif isinstance(command, ReadArtifact):
                self._loader.start(command)
            elif isinstance(command, RemoveArtifact):
                self._loader.cancel(command.number)
                self._residents.pop(command.number, None)
                if self._adapters is not None:
                    self._adapters.remove(command.number)
            elif isinstance(command, FailRequest):
                self._failed.add(command.request_id)
        self._flush(writes)
        self._take_over()

    def take_failed(self) -> set[str]:
        """Return the requests that failed since the last call."""
        failed, self._failed = self._failed, set()
        return failed

    def take_report(self) -> Report | None:
        """Return what was loaded since the last call; None if nothing was."""
        report, self._report = self._report, Report()
        return report if report.loaded or report.failed else None

    def close(self) -> None:
        """Stop reading."""
        self._loader.close()

    def _flush(self, writes: list[SlotWrite]) -> None:
        if writes:
            write_slots(self._cache, writes)
            writes.clear()

    def _take_over(self) -> None:
        for number, found in self._loader.take_finished():
            try:
                self._keep(number, found)
            except PluginError as problem:
                self._report.failed[number] = problem.kind, str(problem)
            else:
                self._report.loaded[number] = 1

    def _keep(self, number: int, found: SlotLayers | LoraAdapter | PluginError) -> None:
        """Take over what was read. Raises PluginError: it could not be read, or vLLM does not take it."""
        if isinstance(found, PluginError):
            raise found
        if isinstance(found, LoraAdapter):
            cast("Adapters", self._adapters).add(found)
            self._report.sizes[number] = found.size_bytes
        else:
            self._residents[number] = [(key.to(self._device), value.to(self._device)) for key, value in found]
