"""The output layer at chosen positions, and models whose logits are more than the layer's product."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_paths import turn_off_unless
from torch import Tensor, nn

from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.base.output_head import capture_head_inputs, has_plain_head, keep_logits_at
from components.model.delta import Delta
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import make_random_prefix
from components.training.objective import StepDeltas, TrainingExample

KINDS = ("gpt2", "llama", "qwen2", "opt", "gpt_neox", "bart", "mbart", "marian", "pegasus", "t5", "mt5")
PLAIN = {"gpt2", "llama", "qwen2", "opt", "gpt_neox"}


def inputs_of(model: Any) -> dict[str, Tensor]:
    ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
    both = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **both}


KEPT_BT = torch.tensor([[False, True, True, False], [False, False, False, True]])


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_logits_are_those_of_the_kept_positions(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    everything = model(**inputs_of(model)).logits
    with keep_logits_at(model, KEPT_BT):
        logits = model(**inputs_of(model)).logits
    torch.testing.assert_close(logits, everything[KEPT_BT], rtol=1e-5, atol=1e-5)
    with capture_head_inputs(model, KEPT_BT) as inputs:
        assert len(model(**inputs_of(model)).logits) == 0
    head = model.get_output_embeddings()
    assert len(inputs) == 1
    if has_plain_head(model):
        torch.testing.assert_close(head(inputs[0]), everything[KEPT_BT], rtol=1e-5, atol=1e-5)
    assert not head._forward_pre_hooks
    assert not head._forward_hooks


def test_an_exception_in_a_forward_removes_the_hooks(build_model: Callable[..., Any]) -> None:
    model = build_model("gpt2")
    for within in (capture_head_inputs, keep_logits_at):
        with pytest.raises(KeyboardInterrupt), within(model, KEPT_BT):
            raise KeyboardInterrupt
    assert not model.lm_head._forward_pre_hooks


class Scaled(nn.Linear):
    """A linear layer that scales its product."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden) * 1.01


class Wrapped(nn.Module):
    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.inner, self.weight = head, head.weight

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden).tanh()


def scaled(model: Any) -> Any:
    head = Scaled(32, 67, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    return model


def wrapped(model: Any) -> Any:
    model.lm_head = Wrapped(model.lm_head)
    return model


def hooked(model: Any) -> Any:
    model.lm_head.register_forward_hook(lambda _head, _args, output: 30 * (output / 30).tanh())
    return model


def of_class(name: str, **sizes: Any) -> Callable[[Callable[..., Any]], Any]:
    def make(_build: Callable[..., Any]) -> Any:
        import transformers as hf

        heads = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
        common = {"vocab_size": 67, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, **heads}
        wide = {"intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.2}
        torch.manual_seed(0)
        config = getattr(hf, f"{name}Config")(**{**common, **wide, **sizes})
        return hf.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)

    return make


MORE: dict[str, Callable[[Callable[..., Any]], Any]] = {
    "cohere": of_class("Cohere", logit_scale=0.5),
    "granite": of_class("Granite", logits_scaling=4.0),
    "granite-a-little": of_class("Granite", logits_scaling=1.002),
    "gemma2-capped": of_class(
        "Gemma2",
        head_dim=8,
        final_logit_softcapping=30.0,
        attn_logit_softcapping=None,
        layer_types=["full_attention"] * 2,
    ),
    "a layer that scales": lambda build: scaled(build("gpt2")),
    "a layer around it": lambda build: wrapped(build("gpt2")),
    "a hook that caps": lambda build: hooked(build("gpt2")),
}


@pytest.mark.parametrize("kind", sorted(PLAIN))
def test_a_head_that_is_only_a_product_is_plain(build_model: Callable[..., Any], kind: str) -> None:
    model = build_model(kind)
    assert has_plain_head(model)
    assert has_plain_head(model.to(torch.bfloat16))


@pytest.mark.parametrize("name", MORE)
def test_a_head_that_does_more_is_recognised_and_its_loss_is_right(
    build_model: Callable[..., Any], base_of: Callable[..., Base], name: str
) -> None:
    base = base_of(MORE[name](build_model))
    assert not has_plain_head(base.model)
    pairs = [TokenizedPair((5, 6, 0), (7, 8, 0)), TokenizedPair((9, 0), (7, 0))]
    losses, gradients = [], []
    for fused in (True, False):
        prefix = make_random_prefix(base.shape, 2, 3, 0.5)
        for tensor in prefix.tensors.values():
            tensor.requires_grad_()
        with turn_off_unless(fused_loss=fused, packing=fused):
            deltas = StepDeltas(base, [Delta(prefix=prefix)])
            losses.append(float(deltas.backward([TrainingExample(0, pair) for pair in pairs]).nats_U))
        deltas.propagate_gradients()
        gradients.append(torch.cat([tensor.grad.flatten() for tensor in prefix.tensors.values()]))
    expected = 0.0
    for pair in pairs:
        with attach_prefixes(base.model, [make_random_prefix(base.shape, 2, 3, 0.5)]):
            logits = base.model(input_ids=torch.tensor([pair.source_ids + pair.target_ids])).logits[0]
        for position, token in enumerate(pair.target_ids, len(pair.source_ids) - 1):
            expected -= float(logits[position].log_softmax(-1)[token])
    assert losses == pytest.approx([expected] * 2, rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
