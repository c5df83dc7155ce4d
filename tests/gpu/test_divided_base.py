"""A base of which accelerate computes one block on the GPU and the other on the CPU gives what the CPU gives."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from passes import compare, run_pass

from components.model.base.load import Base
from components.model.decoding import Decoding, generate_text
from components.model.packing import is_packable
from components.model.prefix.initialization import make_random_prefix

pytestmark = pytest.mark.gpu


def divide(base: Base, device: torch.device) -> Base:
    """Return a copy whose blocks are on both devices, as `dispatch_model` does it for two GPUs."""
    model: Any = copy.deepcopy(base.model).to(device)
    body = model.get_decoder()
    blocks = next(child for child in body.children() if isinstance(child, torch.nn.ModuleList))
    blocks[0].to("cpu")
    add_hook_to_module(blocks[0], AlignDevicesHook(execution_device=torch.device("cpu")))
    for module in (*blocks[1:], body.norm, model.lm_head):
        add_hook_to_module(module, AlignDevicesHook(execution_device=device))
    model.hf_device_map = {"": str(device), "block": "cpu"}
    return replace(base, model=model)


def test_blocks_on_two_devices_compute_the_same(bases: Any, pairs_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu, on_device = bases("llama")
    divided, pairs = divide(on_cpu, on_device.device), pairs_of(9)
    assert is_packable(divided.model)
    for is_packed in (True, False):
        if not is_packed:
            monkeypatch.setattr("components.training.objective.is_packable", lambda _model: False)
        (losses, gradient), (own_losses, own_gradient) = run_pass(on_cpu, pairs), run_pass(divided, pairs)
        torch.testing.assert_close(own_losses, losses, rtol=1e-4, atol=1e-4)
        assert compare(own_gradient, gradient) < 1e-3
    prefix = make_random_prefix(on_cpu.shape, 3, 0, 0.5)
    texts = [generate_text(base, prefix, ["abc", "de"], Decoding(max_new_tokens=6), 2) for base in (on_cpu, divided)]
    assert texts[0] == texts[1]
