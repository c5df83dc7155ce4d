"""Training on quantised bases: gradients of every slot, in every layout, and the same loss in all of them."""

from typing import Any

import pytest
import torch
from plain_paths import turn_off
from quantized_bases import CPU_QUANTIZERS, load, save_full

from components.config import TrainConfig
from components.data.pairs import TokenizedPair
from components.errors import BaseModelError
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_alone
from components.training.objective import StepDeltas, TrainingExample
from components.training.run import TrainingJob

PAIRS = [TokenizedPair((5, 6, 7), (8, 9, 0)), TokenizedPair((10, 11), (12, 0)), TokenizedPair((13,), (14, 15, 16, 0))]


@pytest.fixture(scope="module", params=CPU_QUANTIZERS)
def base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save_full(tmp_path_factory.mktemp("full")), request.param)


def compute_gradients(base: Base) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of three rows under one prefix, and the gradient of each of its tensors."""
    prefix = make_random_prefix(base.shape, 4, 0, scale=0.5)
    for tensor in prefix.tensors.values():
        tensor.requires_grad_()
    deltas = StepDeltas(base, [Delta(prefix=prefix)])
    sums = deltas.backward([TrainingExample(0, pair) for pair in PAIRS])
    deltas.propagate_gradients()
    return float(sums.nats_U), {name: tensor.grad for name, tensor in prefix.tensors.items()}


def test_every_slot_gets_the_same_gradient_packed_padded_and_checkpointed(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats, gradients = compute_gradients(base)
    assert all((gradient.abs().amax(dim=(0, 2)) > 0).all() for gradient in gradients.values())
    with checkpoint_blocks(base.model):
        checkpointed = compute_gradients(base)
    turn_off(monkeypatch, "packing")
    padded = compute_gradients(base)
    # bitsandbytes rounds the inputs of its 8-bit layers as well, which turns rounding into larger differences.
    tolerance = 0.05 if base.quantization == "bitsandbytes-int8" else 1e-4
    for other_nats, others in (checkpointed, padded):
        assert other_nats == pytest.approx(nats, rel=tolerance / 10)
        for name, gradient in gradients.items():
            assert (others[name] - gradient).norm() <= tolerance * gradient.norm()


def test_training_lowers_the_loss(base: Base) -> None:
    config = TrainConfig(prefix_length=4, initialization="random", max_steps=12, warmup_steps=2, batch_size=3)
    result = train_alone(base, TrainingJob(config, train=PAIRS, validation=PAIRS, module=make_module(base, config)))
    assert result.curve[-1].validation_loss < result.curve[0].validation_loss


@pytest.mark.parametrize("method", ["full", "top-k"])
def test_methods_that_train_the_base_s_own_weights_are_refused(base: Base, method: Any) -> None:
    with pytest.raises(BaseModelError, match=f"can be trained, for {method}; got a quantised base"):
        make_module(base, TrainConfig(method=method, top_layers=1))


def make_module(base: Base, config: TrainConfig) -> Any:
    return TrainableDelta(base, config, "", None, ())
