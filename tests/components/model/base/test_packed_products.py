"""Packed products equal torch's own, and are used only where that is safe."""

import copy
import pickle

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from components.model.base import packed_products
from components.model.base.packed_products import count_packed_bytes, pack_products

pytestmark = pytest.mark.skipif(
    not packed_products._is_supported(torch.float32), reason="needs a CPU with oneDNN's packed products (x86-64)"
)


def make_model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), Conv1D(16, 40), nn.Linear(16, 50, bias=False))
    nn.init.normal_(model[2].weight)
    return model.to(dtype).requires_grad_(False).eval()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows of the packed products that are computed."""
    made: list[int] = []
    multiply = torch.ops.mkldnn._linear_pointwise

    class Counted:
        _reorder_linear_weight = torch.ops.mkldnn._reorder_linear_weight
        _is_mkldnn_bf16_supported = torch.ops.mkldnn._is_mkldnn_bf16_supported

        @staticmethod
        def _linear_pointwise(x: torch.Tensor, *rest: object) -> torch.Tensor:
            made.append(x.shape[:-1].numel())
            return multiply(x, *rest)

    monkeypatch.setattr(torch.ops, "mkldnn", Counted)
    return made


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("shape", [(1, 24), (3, 24), (1, 7, 24), (2, 70, 24), (0, 24)])
def test_products_equal_those_of_torch(dtype: torch.dtype, close: float, shape: tuple[int, ...]) -> None:
    model = make_model(dtype)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = model(x)
    pack_products(model)
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(model(x), wanted, rtol=close, atol=close)


def test_all_linear_layers_are_packed_for_several_rows(calls: list[int]) -> None:
    model = make_model()
    size = 4 * (24 * 40 + 40 * 16 + 16 * 50)
    assert count_packed_bytes(model) == 0
    assert pack_products(model) == size == count_packed_bytes(model)
    with torch.inference_mode():
        model(torch.ones(1, 24))
        assert calls == []
        model(torch.ones(2, 3, 24))
    assert calls == [6, 6, 6]


def test_a_gradient_needs_the_plain_product(calls: list[int]) -> None:
    model = make_model()
    pack_products(model)
    x = torch.ones(4, 24, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert calls == []


def test_another_weight_is_used_while_it_is_there(calls: list[int]) -> None:
    model = make_model()
    pack_products(model)
    x, own = torch.ones(4, 24), model[0].weight
    with torch.inference_mode():
        before = model(x)
        model[0].weight = nn.Parameter(torch.zeros_like(own), requires_grad=False)
        replaced = model[0](x)
        model[0].weight = own
        after = model(x)
    assert torch.equal(replaced, model[0].bias.expand(4, 40))
    assert torch.equal(before, after)
    own.data = own.data.clone()
    own.zero_()
    with torch.inference_mode():
        assert torch.equal(model[0](x), model[0].bias.expand(4, 40))


def test_a_copy_of_a_model_computes_with_its_own_weights() -> None:
    model = make_model()
    pack_products(model)
    x = torch.ones(4, 24)
    with torch.inference_mode():
        wanted = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.inference_mode():
            assert torch.equal(other(x), wanted)
        other[0].weight.zero_()
        other[0].bias.zero_()
        with torch.inference_mode():
            assert other[0](x).count_nonzero() == 0
            assert torch.equal(model(x), wanted)


def test_little_free_memory_leaves_the_model_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    bytes_needed = sum(layer.weight.nbytes for layer in (model[0], model[2], model[3]))
    monkeypatch.setattr(
        packed_products, "read_free_bytes", lambda _device: packed_products._FREE_SHARE * bytes_needed - 1
    )
    assert pack_products(model) == 0
    assert "forward" not in vars(model[0])


def test_memory_that_runs_out_leaves_the_plain_product(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = make_model(), torch.ones(4, 24)
    wanted = model(x)
    pack_products(model)

    class Refusing:
        @staticmethod
        def _reorder_linear_weight(*_: object) -> torch.Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.ops, "mkldnn", Refusing)
    with torch.inference_mode():
        assert torch.equal(model(x), wanted)
        assert torch.equal(model(x), wanted)


def test_layers_of_other_kinds_keep_their_own_forward() -> None:
    class OwnLinear(nn.Linear):
        pass

    model = nn.Sequential(OwnLinear(8, 8), nn.Linear(8, 8, dtype=torch.float64), nn.Linear(8, 8, device="meta"))
    assert pack_products(model) == 0
    assert all("forward" not in vars(layer) for layer in model)
