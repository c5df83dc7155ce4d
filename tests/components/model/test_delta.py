"""Deltas of every kind: soft prompts against embeddings, mixed rows in one batch, and tensors of an artifact."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base
from components.model.base.shapes import INFIX
from components.model.decoding import Decoding, generate_each
from components.model.delta import Delta, apply_deltas, compute_prompt_prefix, make_delta_from_tensors
from components.model.prefix.module import PromptModule
from components.model.prefix.prefix import Prefix
from components.model.text.demonstrations import Demonstrations
from components.model.weights import Weights, WeightsConfig, make_trainable_weights

CLOSE = {"rtol": 0.0, "atol": 1e-5}
DECODERS = ("gpt2", "llama", "qwen2", "opt", "gpt_neox")
EOS = 0


@pytest.fixture(scope="module", params=DECODERS)
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 5)


def prompt(base: Base, length: int, seed: int = 0) -> Tensor:
    weight = base.model.get_input_embeddings().weight
    return torch.randn(length, weight.shape[1], generator=torch.Generator().manual_seed(seed)) * weight.std()


def tokens(rows: int, count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 67, (rows, count), generator=torch.Generator().manual_seed(seed))


def changed(base: Base, kind: Any, seed: int = 0) -> Weights:
    """Weights that differ from those of the base."""
    trained = make_trainable_weights(base.model, WeightsConfig(kind=kind, adapter_size=4, lora_rank=3, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return trained.collapse()


def logits_after_embeddings(base: Base, prompt_PW: Tensor, ids: Tensor) -> Tensor:
    """Logits of the tokens after a prompt that is passed as embeddings."""
    embeds = torch.cat([prompt_PW[None], base.model.get_input_embeddings()(ids)], dim=1)
    logits: Tensor = base.model(inputs_embeds=embeds, use_cache=False).logits[:, len(prompt_PW) :]
    return logits


@torch.no_grad()
def test_a_soft_prompt_equals_embeddings_before_the_tokens(base: Base) -> None:
    prompt_PW, ids = prompt(base, 4), tokens(1, 7)
    with apply_deltas(base, [Delta(prompt_PW=prompt_PW)]):
        logits = base.model(input_ids=ids).logits
    torch.testing.assert_close(logits, logits_after_embeddings(base, prompt_PW, ids), **CLOSE)
    assert not torch.allclose(logits, base.model(input_ids=ids).logits, atol=1e-2)


@pytest.mark.parametrize("again", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("mlp_hidden", [0, 6])
def test_the_gradient_of_a_soft_prompt_equals_that_of_embeddings(base: Base, again: bool, mlp_hidden: int) -> None:
    ids, start, gradients = tokens(1, 7), prompt(base, 4), []
    for case in ("embeddings", "one row", "several rows"):
        module = PromptModule(start.shape[1], 4, mlp_hidden)
        module.load_values(start)
        with checkpoint_blocks(base.model) if again and case != "embeddings" else nullcontext():
            if case == "embeddings":
                logits_after_embeddings(base, module.make_prompt(), ids).square().mean().backward()
            else:
                own = Delta(prompt_PW=module.make_prompt())
                rows = [own] if case == "one row" else [own, None, own]
                with apply_deltas(base, rows):
                    logits = base.model(input_ids=ids.expand(len(rows), -1), use_cache=False).logits
                    logits[0].square().mean().backward()
        gradients.append([parameter.grad for parameter in module.parameters()])
    for other in gradients[1:]:
        for got, wanted in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert all(gradient.any() for gradient in gradients[0])


@torch.no_grad()
def test_rows_with_prompts_prefixes_and_neither_share_a_batch(base: Base, values_for: Callable[..., Prefix]) -> None:
    rows = [Delta(prompt_PW=prompt(base, 4)), values_for(base.model, 6), None, Delta(prompt_PW=prompt(base, 2, 1))]
    ids = tokens(4, 7)
    with apply_deltas(base, rows):
        logits = base.model(input_ids=ids).logits
    for number, row in enumerate(rows):
        with apply_deltas(base, [row]):
            alone = base.model(input_ids=ids[number : number + 1]).logits[0]
        torch.testing.assert_close(logits[number], alone, **CLOSE)


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_with_a_soft_prompt_equals_transformers_with_embeddings(base: Base, beams: int) -> None:
    prompt_PW, source = prompt(base, 4), [5, 9, 30, EOS]
    embeds = torch.cat([prompt_PW, base.model.get_input_embeddings()(torch.tensor(source))])[None]
    mask = torch.ones(1, 8, dtype=torch.long)
    options = {"max_new_tokens": 8, "num_beams": beams, "do_sample": False, "eos_token_id": EOS, "pad_token_id": 1}
    output_ids = base.model.generate(inputs_embeds=embeds, attention_mask=mask, **options)[0].tolist()
    (output,) = generate_each(base, [Delta(prompt_PW=prompt_PW)], [source], Decoding(beams, 8), 1)
    assert output == (output_ids[: output_ids.index(EOS)] if EOS in output_ids else output_ids)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
@pytest.mark.parametrize("beams", [1, 3])
def test_rows_with_different_weights_do_not_mix(
    build_base: Callable[..., Base], values_for: Callable[..., Prefix], kind: str, beams: int
) -> None:
    base = build_base(kind, 5)
    shared = changed(base, "lora", 3)
    rows = [
        Delta(prefix=values_for(base.model, 3), weights=changed(base, "adapter", 1)),
        None,
        Delta(prefix=values_for(base.model, 5, 1), weights=changed(base, "adapter", 2)),
        Delta(prefix=values_for(base.model, 2, 2), weights=shared),
        values_for(base.model, 4, 3),
        Delta(weights=changed(base, "full", 4)),
        Delta(prefix=values_for(base.model, 4, 5), weights=shared),
    ]
    sources, decoding = [[*tokens(1, 3 + number, number)[0].tolist(), EOS] for number in range(7)], Decoding(beams, 8)
    done: list[int] = []
    outputs = generate_each(base, rows, sources, decoding, 4, done.append)
    alone = [generate_each(base, [row], [ids], decoding, 1)[0] for row, ids in zip(rows, sources, strict=True)]
    assert outputs == alone
    assert done == [1] * 7
    bare = generate_each(base, [None] * 7, sources, decoding, 7)
    assert sum(own != plain for own, plain in zip(outputs, bare, strict=True)) >= 4
    assert outputs[1] == bare[1]
    with pytest.raises(ValueError, match="same weights"), apply_deltas(base, rows[:2]):
        pass


class RecordingWeights:
    """Weights that record their calls."""

    def __init__(self, own: Weights, log: list[str]) -> None:
        self.own, self.log = own, log
        self.tensors, self.parameter_count = own.tensors, own.parameter_count
        self.suspend, self.check_fits = own.suspend, own.check_fits

    def apply(self, model: Any) -> Any:
        self.log.append("applied")
        return self.own.apply(model)

    def to(self, device: torch.device) -> "RecordingWeights":
        self.log.append(f"to {device}")
        return RecordingWeights(self.own.to(device), self.log)


@pytest.mark.parametrize("kind", ["adapter", "lora", "full"])
def test_weights_are_moved_and_applied_once_for_all_batches(base: Base, kind: str) -> None:
    log: list[str] = []
    weights = RecordingWeights(changed(base, kind), log)
    rows = [Delta(weights=weights), Delta(weights=weights), None, Delta(weights=weights)]
    sources = [[*tokens(1, 3 + number, number)[0].tolist(), EOS] for number in range(4)]
    outputs = generate_each(base, rows, sources, Decoding(1, 4), 1)
    assert log == ["to cpu", "applied"]
    own = Delta(weights=weights.own)
    assert outputs == generate_each(base, [own, own, None, own], sources, Decoding(1, 4), 4)


def test_tensors_of_an_artifact_give_the_same_delta(base: Base, values_for: Callable[..., Prefix]) -> None:
    prefix = values_for(base.model, 3)
    demonstrations = Demonstrations((("a", "b"),), 1, "nearest")
    deltas: dict[Any, Delta] = {
        "prefix": Delta(prefix=prefix),
        "infix": Delta(prefix=Prefix.from_site(prefix.stack_decoder_site(), INFIX)),
        "embedding": Delta(prompt_PW=prompt(base, 3)),
        "full": Delta(weights=changed(base, "full")),
        "prefix+adapter": Delta(prefix=prefix, weights=changed(base, "adapter")),
        "prefix+lora": Delta(prefix=prefix, weights=changed(base, "lora")),
        "in-context": Delta(demonstrations=demonstrations),
    }
    for method, delta in deltas.items():
        config = TrainConfig(method=method, adapter_size=4, lora_rank=3)
        read = make_delta_from_tensors(method, delta.tensors, config)
        assert list(read.tensors) == list(delta.tensors)
        assert all(torch.equal(read.tensors[name], tensor) for name, tensor in delta.tensors.items())
        assert (read.parameter_count, read.length) == (delta.parameter_count, delta.length)
        read.check_fits(base)
        for other in deltas:
            if other != method and {method, other} != {"prefix+adapter", "prefix+lora"}:
                with pytest.raises(ArtifactError):
                    make_delta_from_tensors(other, delta.tensors, TrainConfig(method=other))
        with pytest.raises(ArtifactError, match=r"embedding\.unknown"):
            make_delta_from_tensors(method, {**delta.tensors, "embedding.unknown": prompt(base, 1)}, config)


def test_a_delta_that_does_not_fit_is_refused(build_base: Callable[..., Base], base: Base) -> None:
    with pytest.raises(BaseModelError, match="soft prompt"):
        Delta(prompt_PW=torch.zeros(3, 7)).check_fits(base)
    with pytest.raises(BaseModelError, match="BartForConditionalGeneration"):
        Delta(prompt_PW=torch.zeros(3, 32)).check_fits(build_base("bart"))
    with pytest.raises(BaseModelError):
        Delta(weights=changed(build_base("t5"), "lora")).check_fits(base)


def test_a_soft_prompt_of_several_rows_is_computed_once(base: Base) -> None:
    calls: list[int] = []
    shared, other = Delta(prompt_PW=prompt(base, 4)), Delta(prompt_PW=prompt(base, 2))
    handle = base.model.base_model.register_forward_hook(lambda *_: calls.append(1))
    try:
        with apply_deltas(base, [shared, other, None, shared, shared]):
            assert len(calls) == 2
    finally:
        handle.remove()


def test_the_prefix_of_a_prompt_has_its_length_and_the_shape_of_the_base(base: Base) -> None:
    made = compute_prompt_prefix(base, prompt(base, 4))
    assert (made.length, made.shape) == (4, base.shape)
    assert compute_prompt_prefix(base, prompt(base, 1)).length == 1
