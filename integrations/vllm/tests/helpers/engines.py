"""vLLM in this process with the connector, a store of artifacts, and requests in the form of the gateway."""

import gc
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefixfleet_vllm.base_digest import compute_base_digest
from tiny_models import CONTEXT, VOCABULARY, Layers, Matrices, Model
from vllm import LLM, SamplingParams
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
from written_artifacts import write_artifact, write_lora

PLACEHOLDER = 7


@dataclass(frozen=True)
class Artifact:
    """An artifact in the store."""

    sha256: str
    tenant: str
    layers: Layers
    matrices: Matrices = field(default_factory=dict)
    """Of a LoRA artifact, which has no layers."""

    @property
    def length(self) -> int:
        return self.layers[0][0].shape[1] if self.layers else 0

    @property
    def fields(self) -> dict[str, Any]:
        what = {"method": "lora"} if self.matrices else {"length": self.length}
        return {"sha256": self.sha256, "tenant": self.tenant, **what}


@dataclass(frozen=True)
class Asked:
    """A request, and the tokens that it has to get; None: an error and no token."""

    prompt: dict[str, Any]
    params: SamplingParams
    expected: list[int] | None


@dataclass
class Served:
    """An engine and its store."""

    model: Model
    store: Path
    llm: LLM
    base_digest: str

    def write(self, length: int, seed: int, *, layers: Layers | None = None, **changes: Any) -> Artifact:
        """Write an artifact of a tenant into the store; `changes` replace fields of its manifest."""
        tenant, layers = f"tenant-{seed}", layers or self.model.make_prefix(length, seed)
        fields = {"base_digest": self.base_digest, **changes}
        return Artifact(write_artifact(self.store, layers, tenant, **fields), tenant, layers)

    def write_lora(self, rank: int, seed: int, *, matrices: Matrices | None = None, **changes: Any) -> Artifact:
        """Write a LoRA artifact of a tenant; `changes` replace fields of its manifest."""
        tenant, matrices = f"tenant-{seed}", matrices or self.model.make_lora(rank, seed)
        fields = {"base_digest": self.base_digest, **changes}
        return Artifact(write_lora(self.store, matrices, tenant, **fields), tenant, [], matrices)

    def ask(
        self,
        artifact: Artifact | None,
        ids: list[int],
        tokens: int = 8,
        *,
        fails: bool = False,
        fields: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Asked:
        """Make a request; `fields` and `changes` replace parts of it."""
        prompt: dict[str, Any] = {"prompt_token_ids": list(ids)}
        sampling: dict[str, Any] = {"temperature": 0, "max_tokens": tokens}
        if artifact is not None:
            prompt = {"prompt_token_ids": [PLACEHOLDER] * artifact.length + list(ids), "cache_salt": artifact.sha256}
            order = {**artifact.fields, **(fields or {})}
            sampling["extra_args"] = {"kv_transfer_params": {"prefixfleet": order}}
        sampling |= {key: value for key, value in changes.items() if key not in ("cache_salt", "prompt_token_ids")}
        prompt |= {key: value for key, value in changes.items() if key in ("cache_salt", "prompt_token_ids")}
        prompt = {key: value for key, value in prompt.items() if value is not None}
        layers, matrices = (artifact.layers, artifact.matrices) if artifact is not None else (None, None)
        with self.model.with_lora(None if fails else matrices):
            expected = None if fails else self.model.generate(layers, ids, tokens)
        return Asked(prompt, SamplingParams(**sampling), expected)

    def check(self, *asked: Asked) -> None:
        """Answer requests in one batch and compare every answer."""
        outputs = self.llm.generate([one.prompt for one in asked], [one.params for one in asked], use_tqdm=False)
        for number, (one, output) in enumerate(zip(asked, outputs, strict=True)):
            answer = output.outputs[0]
            if one.expected is None:
                assert (list(answer.token_ids), answer.finish_reason) == ([], "error"), number
            else:
                assert list(answer.token_ids) == one.expected, number

    def order(self, **order: Any) -> dict[str, Any]:
        """Give an order to the plugin and return its reply."""
        params = SamplingParams(max_tokens=1, extra_args={"kv_transfer_params": {"prefixfleet": order}})
        (output,) = self.llm.generate([{"prompt_token_ids": [PLACEHOLDER]}], params, use_tqdm=False)
        return output.kv_transfer_params["prefixfleet"]

    @property
    def core(self) -> Any:
        return self.llm.llm_engine.engine_core.engine_core

    @property
    def lora_manager(self) -> Any:
        """What holds vLLM's LoRA adapters."""
        return self.core.model_executor.driver_worker.worker.model_runner.lora_manager._adapter_manager

    @property
    def scheduler_side(self) -> Any:
        return self.core.scheduler.connector._scheduler

    def count_preemptions(self) -> int:
        """Return how often vLLM took a running request's blocks away."""
        found = [metric for metric in self.llm.get_metrics() if metric.name == "vllm:num_preemptions"]
        return sum(metric.value for metric in found)

    def close(self) -> None:
        """Stop the engine and give its memory back."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        gc.collect()
        cleanup_dist_env_and_memory()


def make_ids(count: int, seed: int) -> list[int]:
    """Return random token ids."""
    chooser = random.Random(seed)
    return [chooser.randrange(10, VOCABULARY) for _ in range(count)]


def serve(model: Model, store: Path, settings: dict[str, Any], options: dict[str, Any]) -> Served:
    """Start an engine in this process."""
    transfer = {
        "kv_connector": "PrefixFleetConnector",
        "kv_role": "kv_consumer",
        "kv_connector_extra_config": {"stores": [str(store)], "serve_base": True, **settings},
        **options.pop("transfer", {}),
    }
    given: dict[str, Any] = {
        "model": str(model.folder),
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": CONTEXT,
        "max_num_seqs": 32,
        "block_size": 32,
        "kv_cache_memory_bytes": 32 << 20,
        "distributed_executor_backend": "uni",
        "kv_transfer_config": transfer,
        "disable_log_stats": False,
        **options,
    }
    try:
        llm = LLM(**given)
    except Exception:
        cleanup_dist_env_and_memory()
        raise
    return Served(model, store, llm, compute_base_digest(model.folder))
