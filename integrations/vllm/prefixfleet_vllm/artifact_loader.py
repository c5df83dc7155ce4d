"""Reads, verifies and slices artifacts in threads of a worker, so that no step of the model waits for a disk.

Knows commands and files; does not know the model's cache, nor which artifacts stay in memory.

Shapes: P slots, H key/value heads of this rank, D head size.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefixfleet_vllm.artifact import VerifiedPrefix, check_wanted, read_artifact
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.commands import ReadArtifact
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.head_slices import LayerShape, check_layers, slice_heads
from prefixfleet_vllm.lora_artifact import VerifiedLora

SlotLayers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, each [P, H, D]: the order in which vLLM takes tokens."""


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA artifact as vLLM's LoRA holds it."""

    model: Any
    """vLLM's LoRAModel."""
    size_bytes: int


Loaded = SlotLayers | LoraAdapter
ConvertLora = Callable[[VerifiedLora, int, str], LoraAdapter]
"""Takes a verified artifact, the number of the attempt, and where the files are. Raises PluginError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankShape:
    """What this rank of the model holds."""

    layers: Sequence[LayerShape]
    rank: int
    ranks: int
    dtype: torch.dtype


class ArtifactLoader:
    """Artifacts that are being read."""

    def __init__(
        self, store: ArtifactStore, shape: RankShape, threads: int, convert_lora: ConvertLora | None = None
    ) -> None:
        """Start no thread yet. Without `convert_lora`, LoRA artifacts are refused."""
        self._store, self._shape, self._convert_lora = store, shape, convert_lora
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefixfleet artifacts")
        self._reading: dict[int, Future[Loaded]] = {}

    def start(self, command: ReadArtifact) -> None:
        """Begin to read an artifact."""
        self._reading[command.number] = self._pool.submit(self._read, command)

    def cancel(self, number: int) -> None:
        """Forget an attempt; nothing is reported of it."""
        if (future := self._reading.pop(number, None)) is not None:
            future.cancel()

    def take_finished(self) -> list[tuple[int, Loaded | PluginError]]:
        """Return the attempts that have ended since the last call, and how."""
        ended = [(number, future) for number, future in self._reading.items() if future.done()]
        found: list[tuple[int, Loaded | PluginError]] = []
        for number, future in ended:
            del self._reading[number]
            problem = future.exception()
            if problem is None:
                found.append((number, future.result()))
            elif isinstance(problem, PluginError):
                found.append((number, problem))
            else:  # whatever it is, it must not end the engine, which serves other tenants
                got = f"{type(problem).__name__}: {problem}"
                found.append(
                    (number, PluginError("artifact", "an artifact that can be read", got, "report this error"))
                )
        return found

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, command: ReadArtifact) -> Loaded:
        artifact, folder = command.artifact, command.folder
        verified = read_artifact(lambda name, limit: self._store.read_file(folder, name, limit), folder)
        check_wanted(
            verified.manifest,
            sha256=artifact.sha256,
            tenant=artifact.tenant,
            method=artifact.method,
            length=artifact.length,
            base_digests=command.base_digests,
            where=folder,
        )
        if isinstance(verified, VerifiedPrefix):
            return self._slice(verified, folder)
        if self._convert_lora is None:
            raise PluginError("setup", "vLLM with LoRA", f"one without, and {folder}", "start it with --enable-lora")
        return self._convert_lora(verified, command.number, folder)

    def _slice(self, verified: VerifiedPrefix, folder: str) -> SlotLayers:
        shape = self._shape
        check_layers(verified.layers, shape.layers, folder)
        return [
            (self._take_rank(key_HPD, layer), self._take_rank(value_HPD, layer))
            for (key_HPD, value_HPD), layer in zip(verified.layers, shape.layers, strict=True)
        ]

    def _take_rank(self, tensor_HPD: Tensor, layer: LayerShape) -> Tensor:
        own = slice_heads(tensor_HPD, self._shape.rank, self._shape.ranks, layer.rank_heads)
        return own.transpose(0, 1).to(self._shape.dtype).contiguous()
