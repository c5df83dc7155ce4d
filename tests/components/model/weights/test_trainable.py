"""Every method on every architecture: initial values, training, and the tensors of an artifact."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import ArtifactError, BaseModelError
from components.model.weights import WeightsConfig, make_trainable_weights, make_weights_from_tensors

Logits = Callable[[Any], Tensor]
Train = Callable[..., list[float]]


def test_initial_weights_are_the_base_exactly_and_do_not_use_the_global_generator(
    model: Any, config: WeightsConfig, logits: Logits
) -> None:
    base = logits(model)
    state = torch.get_rng_state()
    trainable = make_trainable_weights(model, config)
    with trainable.get_weights().apply(model):
        assert torch.equal(logits(model), base)
    assert torch.equal(torch.get_rng_state(), state)
    assert trainable.get_weights() is trainable.get_weights()


def test_training_lowers_the_loss_through_every_parameter(
    model: Any, config: WeightsConfig, batch: dict[str, Tensor]
) -> None:
    trainable = make_trainable_weights(model, config)
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-2)
    gradient_sums = {name: torch.zeros_like(tensor) for name, tensor in trainable.get_weights().tensors.items()}
    losses = []
    for _ in range(4):
        with trainable.get_weights().apply(model):
            loss = model(**batch).loss
            loss.backward()
        losses.append(float(loss.detach()))
        for name, tensor in trainable.get_weights().tensors.items():
            assert tensor.grad is not None
            gradient_sums[name] += tensor.grad.abs()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert [name for name, total in gradient_sums.items() if not total.any()] == []
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_artifacts_tensors_give_the_same_logits(
    model: Any, config: WeightsConfig, logits: Logits, train: Train
) -> None:
    trainable = make_trainable_weights(model, config)
    train(model, trainable)
    collapsed = trainable.collapse()
    with trainable.get_weights().apply(model):
        wanted = logits(model)
    with make_weights_from_tensors(collapsed.tensors, config).apply(model):
        assert torch.equal(logits(model), wanted)
    assert not torch.equal(wanted, logits(model))
    assert (
        collapsed.parameter_count
        == trainable.get_weights().parameter_count
        == sum(p.numel() for p in trainable.parameters())
    )
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in collapsed.tensors.values())
    before = {name: tensor.clone() for name, tensor in collapsed.tensors.items()}
    train(model, trainable, steps=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in collapsed.tensors.items())


def test_transformers_generates_with_the_weights(
    model: Any, config: WeightsConfig, batch: dict[str, Tensor], train: Train
) -> None:
    trainable = make_trainable_weights(model, config)
    train(model, trainable)
    source, pair = batch["input_ids"], model.config.is_encoder_decoder
    with trainable.get_weights().apply(model), torch.no_grad():
        result = model.generate(source, max_new_tokens=3, min_new_tokens=3, do_sample=False)
        ids = torch.full((2, 1), model.config.decoder_start_token_id) if pair else source
        for _ in range(3):
            scores = model(input_ids=source, decoder_input_ids=ids).logits if pair else model(input_ids=ids).logits
            scores[:, -1, model.config.eos_token_id] = -torch.inf
            ids = torch.cat([ids, scores[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(result, ids)


QUIET = {"gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}, "t5": {"dropout_rate": 0.0}}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_gradient_checkpointing_gives_the_same_gradients(
    build_model: Callable[..., Any], kind: str, config: WeightsConfig, batch: dict[str, Tensor]
) -> None:
    model = build_model(kind, **QUIET.get(kind, {}))
    trainable = make_trainable_weights(model, config)
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter += 0.01 * torch.ones_like(parameter)

    def gradients() -> list[Tensor]:
        trainable.zero_grad()
        with trainable.get_weights().apply(model):
            model(**batch).loss.backward()
        return [parameter.grad for parameter in trainable.parameters() if parameter.grad is not None]

    wanted = gradients()
    model.activation_checkpointing_enable()
    model.train()
    result = gradients()
    assert model.is_activation_checkpointing
    assert len(result) == len(wanted) == len(trainable.get_weights().tensors)
    for one, other in zip(result, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_base_in_bfloat16_trains(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    model = build_model("llama").to(torch.bfloat16)
    base = logits(model)
    trainable = make_trainable_weights(model, config)
    with trainable.get_weights().apply(model):
        assert torch.equal(logits(model), base)
    losses = train(model, trainable, steps=4)
    with trainable.get_weights().apply(model):
        assert logits(model).dtype == torch.bfloat16
    assert losses[-1] < losses[0]
    own = torch.bfloat16 if config.kind in ("full", "top-k") else torch.float32
    assert {tensor.dtype for tensor in trainable.collapse().tensors.values()} == {own}


def test_loaded_weights_replace_the_values(
    build_model: Callable[..., Any], config: WeightsConfig, logits: Logits, train: Train
) -> None:
    model = build_model("gpt2")
    first, second = make_trainable_weights(model, config), make_trainable_weights(model, config)
    train(model, first)
    second.load(first.collapse())
    with first.get_weights().apply(model):
        wanted = logits(model)
    with second.get_weights().apply(model):
        assert torch.equal(logits(model), wanted)
    tensors = dict(first.collapse().tensors)
    name = next(iter(tensors))
    with pytest.raises(BaseModelError, match=name):
        second.load(make_weights_from_tensors({**tensors, name: tensors[name][..., :-1]}, config))
    del tensors[name]
    with pytest.raises(BaseModelError, match=name):
        second.load(make_weights_from_tensors(tensors, config))


def test_random_values_depend_on_the_seed(build_model: Callable[..., Any]) -> None:
    model = build_model("llama")
    for kind in ("adapter", "lora"):
        drawn = [
            torch.cat(
                [tensor.flatten() for tensor in make_trainable_weights(model, config).get_weights().tensors.values()]
            )
            for seed in (3, 3, 4)
            for config in [WeightsConfig(kind=kind, adapter_size=2, seed=seed)]  # type: ignore[arg-type]
        ]
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


def test_unknown_names_and_wrong_shapes_are_refused(build_model: Callable[..., Any], config: WeightsConfig) -> None:
    model = build_model("gpt2")
    tensors = dict(make_trainable_weights(model, config).collapse().tensors)
    name = next(reversed(tensors))
    foreign = name.replace(".h.", ".z.") if ".h." in name else name + "er"
    renamed = {key if key != name else foreign: tensor for key, tensor in tensors.items()}
    for wrong, message in (
        ({**tensors, name: torch.zeros(1, 2, 3)}, name),
        ({key: tensor for key, tensor in tensors.items() if key != name}, name),
        (renamed, foreign),
    ):
        with pytest.raises(BaseModelError, match=message), make_weights_from_tensors(wrong, config).apply(model):
            pass
    for nothing in ({}, {"decoder.self.0.key": torch.zeros(1)}):
        with pytest.raises(ArtifactError, match=config.kind):
            make_weights_from_tensors(nothing, config)


def test_weights_of_another_base_are_refused(build_model: Callable[..., Any], config: WeightsConfig) -> None:
    weights = make_trainable_weights(build_model("gpt2"), config).collapse()
    for other in (build_model("gpt2", n_embd=48), build_model("llama")):
        with pytest.raises(BaseModelError), weights.apply(other):
            pass
