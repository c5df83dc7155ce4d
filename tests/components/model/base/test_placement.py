"""Device maps: divided bases compute the same, offloaded ones are refused. Without GPUs all parts are on the CPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from quantized_bases import load, save_full

from components.config import BaseConfig
from components.data.pairs import TokenizedPair
from components.errors import BaseModelError, ConfigError
from components.model.base.checkpointing import checkpoint_blocks, is_checkpointed
from components.model.base.load import Base, load_base
from components.model.base.placement import check_placement, choose_device_map, is_divided
from components.model.decoding import Decoding, generate_text
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.training.objective import StepDeltas, TrainingExample

ROWS = [TrainingExample(0, TokenizedPair((5, 6, 7), (8, 9, 0))), TrainingExample(0, TokenizedPair((10,), (12, 0)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_full(tmp_path_factory.mktemp("full"))


def compute(base: Base) -> tuple[float, list[torch.Tensor], list[str]]:
    """The loss of two rows, the gradients of a prefix, and the texts that it generates."""
    prefix = make_random_prefix(base.shape, 3, 0, scale=0.5)
    for tensor in prefix.tensors.values():
        tensor.requires_grad_()
    deltas = StepDeltas(base, [Delta(prefix=prefix)])
    sums = deltas.backward(ROWS)
    deltas.propagate_gradients()
    texts = generate_text(base, Delta(prefix=prefix), ["abc", "de"], Decoding(max_new_tokens=8), 2)
    return float(sums.nats_U), [tensor.grad for tensor in prefix.tensors.values()], texts


@pytest.mark.parametrize("quantize", [None, "torchao-int8"])
def test_the_hooks_of_accelerate_change_nothing(folder: Path, quantize: Any) -> None:
    alone = compute(load(folder, quantize))
    base = load_base(BaseConfig(path=str(folder), quantize=quantize, device_map={"": "cpu"}))
    dispatch_model(base.model, {"": "cpu"}, force_hooks=True)
    block = base.model.model.layers[0]
    hooked = vars(block)["forward"]
    assert not is_checkpointed(block)
    nats, gradients, texts = compute(base)
    assert (nats, texts) == (alone[0], alone[2])
    for gradient, other in zip(gradients, alone[1], strict=True):
        torch.testing.assert_close(gradient, other)
    with checkpoint_blocks(base.model):
        assert is_checkpointed(block)
        torch.testing.assert_close(compute(base)[1], alone[1])
    assert vars(block)["forward"] is hooked


def test_auto_uses_the_cpu_where_there_is_no_gpu(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU takes the base")
    base = load_base(BaseConfig(path=str(folder), device_map="auto"))
    assert (str(base.device), is_divided(base.model)) == ("cpu", False)


def test_layers_on_the_disk_are_refused(folder: Path) -> None:
    parts = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    config = BaseConfig(path=str(folder), device_map={**parts, "model.rotary_emb": "cpu", "lm_head": "cpu"})
    with pytest.raises(BaseModelError, match=r"no memory for 'model\.layers\.1'.*base\.quantize"):
        load_base(config)


def test_a_gpu_that_the_machine_does_not_have_is_named(folder: Path) -> None:
    config = BaseConfig(path=str(folder), device_map={"model": "cpu", "lm_head": 97})
    with pytest.raises(ConfigError, match=r"got base\.device_map: GPU 97, and \d+ GPUs on this machine"):
        load_base(config)


@pytest.mark.parametrize("elsewhere", ["cpu", "disk"])
def test_layers_that_do_not_fit_on_the_gpus_are_refused(elsewhere: str) -> None:
    model = SimpleNamespace(hf_device_map={"a": 0, "b": 1, "c": elsewhere})
    with pytest.raises(BaseModelError, match=r"devices that hold the whole base; got folder: no memory for 'c'"):
        check_placement(model, "folder")
    check_placement(SimpleNamespace(hf_device_map={"a": 0, "b": 1}), "folder")
    assert is_divided(SimpleNamespace(hf_device_map={"a": 0, "b": 1}))


def test_a_process_with_a_device_of_its_own_takes_no_device_map() -> None:
    with pytest.raises(ConfigError, match=r"base\.device_map: auto, and a base on cuda:1.*engine\.processes"):
        choose_device_map(BaseConfig(path="base", device_map="auto"), "cuda:1")


def test_processes_of_torchrun_that_have_not_joined_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"2 processes of torchrun that have not joined each other"):
        choose_device_map(BaseConfig(path="base"), None)
