"""The class that vLLM loads: its hooks, each passed on to the scheduler's half or to a worker's half.

Everything that depends on vLLM's connector interface, which is experimental, is here, in `metrics` and in `admission`;
what depends on its LoRA, in `lora_adapters` and `lora_manager_hook`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vllm.distributed import get_tensor_model_parallel_rank
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)
from vllm.logger import init_logger
from vllm.model_executor.models.utils import extract_layer_index
from vllm.version import __version__ as vllm_version

from prefixfleet_vllm.artifact_loader import ArtifactLoader, RankShape
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.base_digest import compute_base_digest
from prefixfleet_vllm.block_owners import BlockOwners
from prefixfleet_vllm.commands import Command, Report
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.head_slices import LayerShape
from prefixfleet_vllm.lora_adapters import LoraAdapters, make_lora_request
from prefixfleet_vllm.lora_manager_hook import find_lora_manager
from prefixfleet_vllm.metrics import ArtifactMetrics, ArtifactStats, sample
from prefixfleet_vllm.paged_cache import CacheLayer
from prefixfleet_vllm.resident_artifacts import ResidentArtifacts
from prefixfleet_vllm.scheduler_side import SchedulerSide
from prefixfleet_vllm.settings import Settings, parse_settings
from prefixfleet_vllm.supported import check_supported, count_loras
from prefixfleet_vllm.versions import check_vllm_version

_LOG = init_logger("vllm.prefixfleet")


@dataclass
class StepCommands(KVConnectorMetadata):
    """The commands of one step."""

    commands: list[Command] = field(default_factory=list)


@dataclass
class WorkerReport(KVConnectorWorkerMetadata):
    """The report of one worker, or of several."""

    report: Report

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """Add another worker's report."""
        self.report.merge(cast("WorkerReport", other).report)
        return self


class PrefixFleetConnector(KVConnectorBase_V1, SupportsHMA):
    """Serves trained prefixes and LoRA artifacts of many tenants in one batch."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        """Check the setup, and make the half that this process needs.

        Raises:
            PluginError: vLLM's release, an option of it, the model or a setting is not supported.
        """
        super().__init__(vllm_config, role, kv_cache_config)
        self._settings = parse_settings(vllm_config.kv_transfer_config.kv_connector_extra_config)
        self._warning = check_vllm_version(vllm_version, refuses=self._settings.untested_vllm == "refuse")
        check_supported(vllm_config, kv_cache_config)
        if self._warning:
            _LOG.warning(self._warning)
        self._store = ArtifactStore(self._settings.stores)
        self._scheduler: Any = self._make_scheduler_side() if role is KVConnectorRole.SCHEDULER else None
        self._worker: Any = None

    # --- the scheduler's process

    def on_new_request(self, request: Any) -> None:
        """Check a request and begin to read its artifact."""
        self._scheduler.add_request(request)

    def bind_gpu_block_pool(self, gpu_block_pool: Any) -> None:
        """Take the pool of blocks."""
        self._scheduler.bind_block_pool(gpu_block_pool)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """Return how many slots of the request's artifact have to be written."""
        return self._scheduler.count_missing_slots(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Have the slots written into the blocks."""
        self._scheduler.note_allocation(request, blocks.get_block_ids(), num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        """Return the workers' commands for this step."""
        return StepCommands(self._scheduler.build_commands(scheduler_output))

    def update_connector_output(self, connector_output: Any) -> None:
        """Take the workers' reports."""
        if isinstance(connector_output.kv_connector_worker_meta, WorkerReport):
            self._scheduler.record(connector_output.kv_connector_worker_meta.report)

    def request_finished_all_groups(
        self,
        request: Any,
        block_ids: Any,  # noqa: ARG002 - vLLM's signature
    ) -> tuple[bool, dict[str, Any] | None]:
        """Forget the request; return the reply to an order."""
        return False, self._scheduler.finish_request(request)

    # --- a worker's process

    def start_load_kv(self, forward_context: Any, **_: Any) -> None:
        """Carry out this step's commands."""
        if self._worker is None:
            self._worker = self._make_worker_side(forward_context)
        self._worker.execute(cast("StepCommands", self._get_connector_metadata()).commands)

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:  # noqa: ARG002
        """Return the requests that are refused: vLLM ends them with an error."""
        failed = set() if self._worker is None else self._worker.take_failed()
        return KVConnectorTransferResults(finished_recving=failed, failed_recving=set(failed))

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        """Return what was loaded since the last step."""
        report = None if self._worker is None else self._worker.take_report()
        return None if report is None else WorkerReport(report)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Do nothing: slots are written before the step's first layer."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        """Do nothing: nothing is saved."""

    def wait_for_save(self) -> None:
        """Do nothing: nothing is saved."""

    # --- both

    def shutdown(self) -> None:
        """Stop the threads that read artifacts."""
        if self._worker is not None:
            self._worker.close()

    def get_kv_connector_stats(self) -> ArtifactStats | None:
        """Return what artifacts are in memory; the scheduler knows it for all workers."""
        return None if self._scheduler is None else sample(self._scheduler.residents)

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> ArtifactStats:
        """Make the statistics again from what was sent between processes."""
        return ArtifactStats(data or {})

    @classmethod
    def build_prom_metrics(cls, *args: Any) -> ArtifactMetrics:
        """Register the metrics."""
        return ArtifactMetrics(*args)

    def _make_scheduler_side(self) -> SchedulerSide:
        specs = [group.kv_cache_spec for group in self._kv_cache_config.kv_cache_groups]
        layers = [len(group.layer_names) for group in self._kv_cache_config.kv_cache_groups]
        slot_bytes = sum(
            count * spec.real_page_size_bytes // spec.block_size for count, spec in zip(layers, specs, strict=True)
        )
        lora = self._vllm_config.lora_config
        residents = ResidentArtifacts(
            self._settings.resident_bytes,
            self._vllm_config.parallel_config.tensor_parallel_size,
            _find_base_digests(self._vllm_config.model_config, self._settings),
            lambda length: length * slot_bytes,
            self._store.find_folder,
            count_loras(self._vllm_config),
        )
        owners = BlockOwners([spec.block_size for spec in specs])
        return SchedulerSide(
            residents,
            owners,
            serve_base=self._settings.serve_base,
            log=_LOG,
            make_lora_request=make_lora_request,
            max_lora_rank=0 if lora is None else lora.max_lora_rank,
            warning=self._warning,
        )

    def _make_worker_side(self, forward_context: Any) -> Any:
        from prefixfleet_vllm.worker_side import WorkerSide

        ranks = self._vllm_config.parallel_config.tensor_parallel_size
        cache = find_cache_layers(forward_context.no_compile_layers, self._vllm_config, self._kv_cache_config)
        shape = RankShape(
            layers=[layer.shape for layer in cache],
            rank=get_tensor_model_parallel_rank(),
            ranks=ranks,
            dtype=self._vllm_config.model_config.dtype,
        )
        adapters = self._make_adapters()
        convert = None if adapters is None else adapters.convert
        return WorkerSide(
            cache, lambda: ArtifactLoader(self._store, shape, self._settings.load_threads, convert), adapters
        )

    def _make_adapters(self) -> LoraAdapters | None:
        """Return the LoRA adapters of this worker; None if vLLM runs without LoRA."""
        if self._vllm_config.lora_config is None:
            return None
        manager = find_lora_manager()
        if manager is None:
            fix = "start vLLM without --enable-lora, and report this error"
            raise PluginError("setup", "a worker whose LoRA manager is known", "one that vLLM made otherwise", fix)
        return LoraAdapters(manager, self._vllm_config.lora_config)


def find_cache_layers(modules: Any, vllm_config: Any, kv_cache_config: Any) -> list[CacheLayer]:
    """Return the attention layers that have keys and values of their own, in the model's order."""
    ranks, total = vllm_config.parallel_config.tensor_parallel_size, vllm_config.model_config.get_total_num_kv_heads()
    found = []
    for number, group in enumerate(kv_cache_config.kv_cache_groups):
        for name in group.layer_names:
            module = modules[name]
            if module.kv_sharing_target_layer_name is None:
                heads = module.num_kv_heads if ranks == 1 else total
                shape = LayerShape(heads, module.num_kv_heads, module.head_size, module.head_size_v)
                layer = CacheLayer(module, number, group.kv_cache_spec.block_size, shape)
                found.append((extract_layer_index(name), layer))
    return [layer for _, layer in sorted(found, key=lambda pair: pair[0])]


def _find_base_digests(model_config: Any, settings: Settings) -> set[str]:
    """Return the digests of the bases whose artifacts are taken."""
    own = settings.base_digest
    folder = Path(model_config.model)
    if own is None:
        changes = {"quantization": model_config.quantization, "hf_overrides": model_config.hf_overrides}
        if hasattr(model_config.hf_config, "quantization_config"):
            del changes["quantization"]
        changed = [name for name, value in changes.items() if value]
        if changed or not folder.is_dir():
            got = f"{changed[0]}, which changes the model" if changed else f"{folder}, which is no local folder"
            fix = "set base_digest to the digest that PrefixFleet has for this base"
            raise PluginError("setup", "a base whose files give its digest", got, fix)
        own = compute_base_digest(folder)
        _LOG.info("the base in %s has the digest %s", folder, own)
    return {own, *settings.interchangeable}
