"""The compiled activation against torch's own; a model gets its own activations back."""

import pytest
import torch
from torch import nn

from components.errors import ConfigError
from components.model.base import activation
from components.model.base.activation import compile_activations, gelu, gelu_gradient


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_values_and_gradient_equal_those_of_torch(dtype: torch.dtype, close: float) -> None:
    x = (torch.randn(50, 40, generator=torch.Generator().manual_seed(0)) * 4).to(dtype).requires_grad_()
    gradient = torch.ones_like(x)
    own = nn.functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(gelu(x.detach()), own.detach(), rtol=close, atol=close)
    (wanted,) = torch.autograd.grad(own, x, gradient)
    torch.testing.assert_close(gelu_gradient(x.detach(), gradient), wanted, rtol=20 * close, atol=20 * close)


@pytest.mark.slow
def test_compiled_activations_are_equal_and_the_model_gets_its_own_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # no pool of processes for two kernels
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(approximate="tanh"), nn.Linear(16, 4), nn.GELU())
    before = list(model)
    x = torch.randn(5, 8, requires_grad=True)
    own = model(x)
    (wanted,) = torch.autograd.grad(own.sum(), x)
    with compile_activations(model):
        assert type(model[1]) is activation.CompiledGelu
        output = model(x)
        (got,) = torch.autograd.grad(output.sum(), x)
    torch.testing.assert_close(output, own)
    torch.testing.assert_close(got, wanted)
    assert all(one is other for one, other in zip(model, before, strict=True))


def test_a_machine_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation.shutil, "which", lambda _name: None)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler.*engine.compile"), compile_activations(nn.Sequential()):
        pass
