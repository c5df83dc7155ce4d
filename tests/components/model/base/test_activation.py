"""The compiled activation against torch's own; a model gets its own activations back."""

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from components.errors import ConfigError
from components.model.base import activation
from components.model.base.activation import FusedGelu, compile_activations, fuse_activations, gelu, gelu_gradient


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


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 300])
@pytest.mark.parametrize("is_answering", [True, False])
def test_fused_activations_equal_those_of_transformers(
    name: str, dtype: torch.dtype, rows: int, is_answering: bool
) -> None:
    model = nn.Sequential(ACT2FN[name], nn.Sequential(ACT2FN["gelu"], ACT2FN[name]))
    exact, own = model[1][0], ACT2FN[name]
    fuse_activations(model)
    assert [type(model[0]), type(model[1][1]), model[1][0]] == [FusedGelu, FusedGelu, exact]
    x = (torch.randn(rows, 40, generator=torch.Generator().manual_seed(0)) * 5).to(dtype)
    x[0, :8] = torch.tensor([0.0, -0.0, 1e30, -1e30, 1e-30, torch.inf, torch.nan, -100.0])
    before = x.clone()
    with torch.inference_mode(is_answering):
        got = model[0](x)
    close = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(got, own(x), rtol=close, atol=close, equal_nan=True)
    assert torch.equal(x.nan_to_num(), before.nan_to_num())


def test_a_fused_activation_has_a_gradient() -> None:
    x = torch.randn(400, 40, requires_grad=True)
    FusedGelu()(x).sum().backward()
    other = x.detach().clone().requires_grad_()
    nn.functional.gelu(other, approximate="tanh").sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, other.grad)
