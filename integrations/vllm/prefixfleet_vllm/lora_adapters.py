"""LoRA artifacts in vLLM's own LoRA of one worker: checked against the model's layers, added, removed, erased.

Everything that depends on vLLM's LoRA classes is here, in `lora_manager_hook` and in `connector`. The scheduler's half
keeps at most as many adapters as vLLM holds in host memory, so vLLM never evicts or reads one itself. Does not know
requests or files.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.model_executor.layers.linear import QKVParallelLinear

from prefixfleet_vllm.artifact_loader import LoraAdapter
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.lora_artifact import VerifiedLora

_FIRST_ID = 1 << 20
"""Before it are ids that vLLM's API server gives to adapters of its own."""
_PEFT_START = "base_model.model."
"""Of the names of layers in files of PEFT."""
_FIX = "serve this tenant with PrefixFleet's own engine, or train it with other train.lora_targets"


def make_lora_request(number: int, sha256: str) -> LoRARequest:
    """Return how vLLM names the adapter of an attempt.

    There is nothing at the path: if vLLM tried to read an adapter that it does not hold, it would fail.
    """
    return LoRARequest(sha256, _FIRST_ID + number, f"/prefixfleet/{sha256}")


class LoraAdapters:
    """The adapters of a worker; `convert` from any thread, the rest from that of the model."""

    def __init__(self, manager: Any, lora_config: Any) -> None:
        """`manager` is vLLM's LoRAModelManager; adapters that vLLM was started with are removed from it."""
        self._manager, self._config = manager, lora_config
        mapper = getattr(manager.model, "hf_to_vllm_mapper", None)
        self._mapper = None if mapper is None else mapper.get_rename_mapper()
        self._layers = find_layer_sizes(manager)
        manager.remove_all_adapters()
        self._erase(range(manager.lora_slots))

    def convert(self, lora: VerifiedLora, number: int, where: str) -> LoraAdapter:
        """Return a verified artifact as vLLM's LoRA holds it.

        Raises:
            PluginError: its rank is too large, a layer is of another size, or one that vLLM's LoRA does not change.
        """
        rank, most = lora.train.lora_rank, self._config.max_lora_rank
        if rank > most:
            got = f"rank {rank} in {where}"
            raise PluginError(
                "setup", f"a LoRA of rank {most} at most", got, "start vLLM with a larger --max-lora-rank"
            )
        tensors: dict[str, Tensor] = {}
        layers: set[str] = set()
        for path, (a, b) in lora.matrices.items():
            names = [f"{_PEFT_START}{path}.lora_{part}.weight" for part in "AB"]
            layer, _ = parse_fine_tuned_lora_name(names[0], self._mapper)
            is_known = layer not in layers and _PEFT_START not in path  # vLLM leaves all of these words out
            sizes = self._layers.get(layer) if is_known else None
            _check_layer(path, sizes, (a.shape[1], b.shape[0]), where)
            layers.add(layer)
            tensors |= dict(zip(names, (a, b), strict=True))
        helper = PEFTHelper.from_dict(
            {"r": rank, "lora_alpha": lora.train.lora_alpha, "target_modules": sorted(lora.matrices)}
        )
        model = LoRAModel.from_lora_tensors(
            _FIRST_ID + number,
            tensors,
            helper,
            device="cpu",
            dtype=self._config.lora_dtype,
            weights_mapper=self._mapper,
        )
        matrices = [each for layer in model.loras.values() for each in (layer.lora_a, layer.lora_b)]
        return LoraAdapter(model, sum(each.numel() * each.element_size() for each in matrices))

    def add(self, adapter: LoraAdapter) -> None:
        """Give an adapter to vLLM, which copies it to the device for the first step that needs it.

        Raises:
            PluginError: vLLM does not take it; it holds nothing of it then.
        """
        try:
            self._manager.add_adapter(adapter.model)
        except Exception as problem:
            got = f"{type(problem).__name__}: {problem}"
            raise PluginError("artifact", "a LoRA that vLLM can join to its layers", got, _FIX) from problem

    def remove(self, number: int) -> None:
        """Remove an attempt's adapter from host memory, and overwrite its place on the device with zeros."""
        adapter_id = _FIRST_ID + number
        places = [place for place, held in enumerate(self._manager.lora_index_to_id) if held == adapter_id]
        self._manager.remove_adapter(adapter_id)
        self._erase(places)

    def _erase(self, places: Iterable[int]) -> None:
        for place in places:
            for layer in self._manager.modules.values():
                layer.reset_lora(place)


def find_layer_sizes(manager: Any) -> Mapping[str, tuple[int, int]]:
    """Return name of each linear layer that vLLM's LoRA can change -> its inputs and outputs on all ranks together.

    Layers that vLLM has joined, such as those of queries, keys and values, are named one by one.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for name, layer in manager.modules.items():
        if not isinstance(layer, BaseLinearLayerWithLoRA):
            continue
        base, parts = layer.base_layer, manager.packed_modules.get(name)
        outputs = _find_outputs(base)
        if parts is None:
            sizes[name] = base.input_size, sum(outputs)
        elif len(parts) == len(outputs):
            sizes |= {part: (base.input_size, count) for part, count in zip(parts, outputs, strict=True)}
    return sizes


def _find_outputs(base: Any) -> list[int]:
    if isinstance(base, QKVParallelLinear):  # its own numbers count heads that several ranks hold several times
        keys = base.total_num_kv_heads * base.head_size
        return [base.total_num_heads * base.head_size, keys, base.total_num_kv_heads * base.v_head_size]
    return list(getattr(base, "output_sizes", None) or [base.output_size])


def _check_layer(path: str, wanted: tuple[int, int] | None, found: tuple[int, int], where: str) -> None:
    if wanted is None:
        raise PluginError("setup", "linear layers that vLLM's LoRA can change", f"{path} in {where}", _FIX)
    if wanted != found:
        got = f"{found[0]} and {found[1]} in {where}"
        fix = "use the base that it was trained on"
        raise PluginError("base", f"{path} with {wanted[0]} inputs and {wanted[1]} outputs", got, fix)
