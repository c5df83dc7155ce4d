"""Low-rank updates of linear layers (Hu et al. 2021, arXiv 2106.09685), with the layers of the peft library.

peft chooses the layers, draws the values and computes with them. Its layers are made once per model, and replace the
base's own layers only while the weights are applied.

Shapes: A [rank, inputs], B [outputs, rank].
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.blocks import find_all_blocks
from components.model.weights.applied import MethodWeights, to_parameter
from components.model.weights.config import WeightsConfig

_ADAPTER_NAME = "default"


class LoraWeights(MethodWeights):
    """Low-rank updates, named `lora.<module path>.<A|B>`."""

    name_pattern = re.compile(r"lora\.\S+\.(A|B)")

    def __init__(self, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
        """Hold `tensors` without copying them."""
        super().__init__(tensors, config)
        self._layers_by_model: WeakKeyDictionary[nn.Module, dict[str, Any]] = WeakKeyDictionary()

    @classmethod
    def make_initial_tensors(cls, model: Any, config: WeightsConfig) -> dict[str, Tensor]:
        """Draw values by peft from `config.seed` (Kaiming A, zero B), in float32.

        Raises:
            BaseModelError: a name in `config.lora_targets` matches no linear layer, or peft does not support a layer.
        """
        layers = _make_peft_layers(model, _find_target_paths(model, config), config, drawn=True)
        return {
            f"lora.{path}.{part}": weight.detach().float().clone()
            for path, layer in layers.items()
            for part, weight in (("A", layer.lora_A[_ADAPTER_NAME].weight), ("B", layer.lora_B[_ADAPTER_NAME].weight))
        }

    def find_expected_shapes(self, model: Any) -> Mapping[str, Sequence[int]]:
        """A and B of every layer that the tensors name."""
        modules = dict(model.named_modules())
        wanted: dict[str, Sequence[int]] = {}
        for path in self._list_module_paths():
            if _is_linear(modules.get(path)):
                inputs, outputs = _count_features(modules[path])
                wanted[f"lora.{path}.A"] = (self.config.lora_rank, inputs)
                wanted[f"lora.{path}.B"] = (outputs, self.config.lora_rank)
        return wanted

    def make_installation(self, model: Any) -> "_LayerSubstitution":
        """Make the replacement of the model's layers by peft's."""
        if model not in self._layers_by_model:
            self._layers_by_model[model] = _make_peft_layers(model, self._list_module_paths(), self.config, drawn=False)
        layers = self._layers_by_model[model]
        for path, layer in layers.items():
            for part, linear in (("A", layer.lora_A[_ADAPTER_NAME]), ("B", layer.lora_B[_ADAPTER_NAME])):
                tensor = self.tensors[f"lora.{path}.{part}"]
                linear._parameters["weight"] = to_parameter(tensor, layer.base_layer.weight.device, tensor.dtype)
        return _LayerSubstitution(model, layers)

    def _list_module_paths(self) -> list[str]:
        return list(dict.fromkeys(name.removeprefix("lora.").rpartition(".")[0] for name in self.tensors))


class _LayerSubstitution:
    def __init__(self, model: nn.Module, layers: Mapping[str, Any]) -> None:
        self._places = [(*_find_parent_modules(model, path), layer.base_layer, layer) for path, layer in layers.items()]

    def install(self) -> None:
        for siblings, key, _, layer in self._places:
            siblings[key] = layer

    def refresh(self) -> None:
        """Do nothing: the layers use the parameters themselves."""

    def remove(self) -> None:
        for siblings, key, original, _ in self._places:
            siblings[key] = original


def _make_peft_layers(model: Any, paths: Sequence[str], config: WeightsConfig, *, drawn: bool) -> dict[str, Any]:
    """Return path -> peft's layer around the model's own layer. Without `drawn`, its values are not initialised.

    The model keeps its own layers. peft gets them outside of the model: in a mixture of experts it would take the names
    of dense layers for those of the experts' stacked weights.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

    originals = [model.get_submodule(path) for path in paths]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    peft_config = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=r"\d+",
        fan_in_fan_out=not isinstance(originals[0], nn.Linear),
    )
    layers = nn.ModuleList(originals)
    with torch.random.fork_rng(devices=[]) if drawn else nullcontext():
        if drawn:
            torch.default_generator.manual_seed(config.seed)
        try:
            for path in paths:
                _check_lora_target_modules_mamba(peft_config, model, path.rpartition(".")[2])
            LoraModel(layers, peft_config, _ADAPTER_NAME, low_cpu_mem_usage=not drawn)
        except ValueError as problem:
            raise BaseModelError(
                "layers that peft can adapt", str(problem), "set train.lora_targets to other layers"
            ) from problem
        finally:
            for parameter, requires_grad in trained:
                parameter.requires_grad_(requires_grad)
    return dict(zip(paths, layers, strict=True))


def _find_target_paths(model: Any, config: WeightsConfig) -> list[str]:
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    modules = {path: module for path, module in model.named_modules() if path}
    if config.lora_targets is not None:
        for target in config.lora_targets:
            unfit = [path for path in _find_matching_paths(modules, [target]) if not _is_linear(modules[path])]
            if unfit or not _find_matching_paths(modules, [target]):
                got = f"{unfit[0]} ({type(modules[unfit[0]]).__name__})" if unfit else "no such module"
                raise BaseModelError(
                    f"linear layers named {target}", got, "correct train.lora_targets, or set it to null"
                )
        return _find_matching_paths(modules, list(config.lora_targets))
    default = DEFAULTS.get(model.config.model_type) or DEFAULTS.get(model.get_decoder().config.model_type)
    matching = [path for path in _find_matching_paths(modules, default) if _is_linear(modules[path])] if default else []
    inside = tuple(block.path + "." for block in find_all_blocks(model))
    return matching or [path for path, module in modules.items() if _is_linear(module) and path.startswith(inside)]


def _find_matching_paths(modules: Mapping[str, nn.Module], names: str | list[str]) -> list[str]:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    peft_config = LoraConfig(target_modules=names)
    return [path for path in modules if check_target_module_exists(peft_config, path)]


def _is_linear(module: nn.Module | None) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _count_features(module: Any) -> tuple[int, int]:
    """Return the numbers of inputs and outputs. The weight of transformers' Conv1D is transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    inputs, outputs = module.weight.shape
    return inputs, outputs


def _find_parent_modules(model: nn.Module, path: str) -> tuple[dict[str, Any], str]:
    parent, _, key = path.rpartition(".")
    return model.get_submodule(parent)._modules, key
