"""Every method through one loop, on a decoder-only and an encoder-decoder base: learning, resuming, artifacts."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_paths import turn_off
from torch.optim.optimizer import register_optimizer_step_pre_hook

from components.config import TrainConfig, load_params
from components.data.batches import order_epoch
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.errors import BaseModelError, ConfigError, DataError
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_text
from components.model.delta import Delta
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import load_artifact, save_artifact
from components.training.checkpoint import read_saved_step
from components.training.objective import StepDeltas, TrainingExample
from components.training.prepare import find_frequent_words, fit
from components.training.run import TrainResult

SLOTS = {"prefix_length": 3, "learning_rate": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "prefix": SLOTS,
    "infix": SLOTS,
    "embedding": SLOTS,
    "full": {"learning_rate": 0.01},
    "top-k": {"learning_rate": 0.01, "top_layers": 1},
    "adapter": {"learning_rate": 0.05, "adapter_size": 4},
    "lora": {"learning_rate": 0.05, "lora_rank": 2},
    "in-context": {"demonstrations": 2},
    "prefix+adapter": {**SLOTS, "adapter_size": 4},
    "prefix+lora": {**SLOTS, "lora_rank": 2},
}
DECODER_ONLY = ("infix", "embedding")
CASES = [
    pytest.param(kind, method, mlp, id=f"{kind}-{method}{f'-mlp{mlp}' if mlp else ''}")
    for kind in ("gpt2", "bart")
    for method in METHODS
    for mlp in ((0, 16) if METHODS[method].get("prefix_length") else (0,))
    if kind == "gpt2" or method not in DECODER_ONLY
]
TRAINED = [case for case in CASES if case.values[1] != "in-context"]


def examples(count: int, seed: int) -> list[Example]:
    """Letters, answered by the same words with the first letter in them; every third has a second reference."""
    shuffler = random.Random(seed)
    made = []
    for number in range(count):
        source = "".join(shuffler.choices("abcdefgh", k=shuffler.randrange(2, 7)))
        answers = [f"it is {source[0]}", f"so {source[0]}"][: 2 if number % 3 == 0 else 1]
        made.append(Example(source, tuple(answers)))
    return made


TRAIN, VALIDATION = examples(16, 1), examples(6, 2)


def config(method: str, mlp_hidden: int = 0, **values: Any) -> TrainConfig:
    steps = {"max_steps": 10, "warmup_steps": 2, "batch_size": 4, "validate_every": 4}
    return TrainConfig(**{"method": method, "mlp_hidden": mlp_hidden, **steps, **METHODS[method], **values})


def run(base: Base, settings: TrainConfig, **values: Any) -> TrainResult:
    return fit(base, settings, TRAIN, VALIDATION, **values)


def same(first: TrainResult, second: TrainResult) -> bool:
    facts = [(one.steps, one.best_step, one.train_loss, one.validation_loss, one.curve) for one in (first, second)]
    ours, theirs = first.delta.tensors, second.delta.tensors
    return facts[0] == facts[1] and ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def stop_at(step: int) -> Callable[[], bool]:
    asked: list[int] = []
    return lambda: asked.append(1) or len(asked) > step  # type: ignore[func-returns-value]


@pytest.mark.parametrize(("kind", "method", "mlp"), CASES)
def test_every_method_learns_and_leaves_the_base_alone(
    build_base: Callable[..., Base], kind: str, method: str, mlp: int
) -> None:
    base = build_base(kind)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    parts = [(name, id(part), part.__dict__.keys()) for name, part in base.model.named_modules()]
    named = [(name, id(parameter)) for name, parameter in base.model.named_parameters()]
    result = run(base, config(method, mlp, max_steps=40))
    if method == "in-context":
        assert (result.steps, result.delta.parameter_count) == (0, 0)
        assert result.delta.demonstrations is not None
        assert result.delta.demonstrations.pool == tuple((one.source, one.references[0]) for one in TRAIN)
    else:
        assert result.steps == 40
        assert result.validation_loss < 0.9 * result.curve[0].validation_loss
        assert result.validation_loss == min(point.validation_loss for point in result.curve)
        assert result.delta.parameter_count > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert [(name, id(part), part.__dict__.keys()) for name, part in base.model.named_modules()] == parts
    assert [(name, id(parameter)) for name, parameter in base.model.named_parameters()] == named
    assert not any(p.requires_grad or p.grad is not None for p in base.model.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in base.model.modules())


@pytest.mark.parametrize(("kind", "method", "mlp"), CASES)
@pytest.mark.parametrize("at", [1, 6])
def test_every_method_resumes_bit_by_bit_after_a_stop(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str, mlp: int, at: int
) -> None:
    base, settings = build_base(kind), config(method, mlp)
    whole = run(base, settings)
    run(base, settings, state=tmp_path, run_key="a", stop=stop_at(at))
    reached = 0 if method == "in-context" else at
    assert read_saved_step(tmp_path, "a") == reached
    resumed = run(base, settings, state=tmp_path, run_key="a")
    assert (resumed.resumed_from, resumed.start_description) == (reached, f"resumed at step {reached}")
    assert same(resumed, whole)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
@pytest.mark.parametrize("method", ["full", "top-k"])
def test_a_base_of_16_bits_resumes_and_recomputes_bit_by_bit(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str
) -> None:
    base, settings = build_base(kind), config(method, learning_rate=1e-3)
    base.model.to(torch.bfloat16)
    whole = run(base, settings)
    run(base, settings, state=tmp_path, run_key="a", stop=stop_at(6))
    resumed = run(base, settings, state=tmp_path, run_key="a")
    assert (resumed.resumed_from, same(resumed, whole)) == (6, True)
    assert same(run(base, config(method, learning_rate=1e-3, gradient_checkpointing=True)), whole)
    assert {tensor.dtype for tensor in whole.delta.tensors.values()} == {torch.bfloat16}
    assert whole.curve[-1].validation_loss < whole.curve[0].validation_loss


@pytest.mark.parametrize(("kind", "method", "mlp"), TRAINED)
def test_gradient_checkpointing_changes_nothing(
    build_base: Callable[..., Base], kind: str, method: str, mlp: int
) -> None:
    base = build_base(kind)
    with turn_off("cut_last_block"):  # checkpointed blocks are never cut
        plain, again = (run(base, config(method, mlp, gradient_checkpointing=on)) for on in (False, True))
    assert same(again, plain)


@pytest.mark.parametrize(("kind", "method", "mlp"), CASES)
def test_an_artifact_of_every_method_says_what_was_trained(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str, mlp: int
) -> None:
    base, settings = build_base(kind), config(method, mlp, max_steps=20)
    result = run(base, settings)
    manifest = save(tmp_path, base, settings, result.delta)
    loaded, read = load_artifact(tmp_path, base)
    assert read == manifest
    assert (manifest.method, manifest.parameters) == (method, result.delta.parameter_count)
    assert manifest.prefix_length == (3 if METHODS[method].get("prefix_length") else 0)
    assert loaded.tensors.keys() == result.delta.tensors.keys()
    assert all(torch.equal(tensor, result.delta.tensors[name]) for name, tensor in loaded.tensors.items())
    sources = [one.source for one in VALIDATION]
    for beams in (1, 2):
        decoding = Decoding(num_beams=beams, max_new_tokens=8)
        texts = generate_text(base, loaded, sources, decoding, 4)
        assert texts == generate_text(base, result.delta, sources, decoding, 4)
        assert texts != generate_text(base, None, sources, decoding, 4)


def save(folder: Path, base: Base, settings: TrainConfig, delta: Delta) -> Any:
    return save_artifact(
        folder,
        delta,
        tenant="acme",
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="d" * 32,
        data_digest="e" * 64,
        train=settings.model_dump(mode="json"),
        fingerprint="f" * 64,
        method=settings.method,
    )


@pytest.mark.parametrize("mlp_hidden", [0, 16])
@pytest.mark.parametrize("method", ["prefix", "embedding", "prefix+lora", "full"])
def test_the_best_delta_is_kept_and_survives_a_resume(
    build_base: Callable[..., Base], tmp_path: Path, method: str, mlp_hidden: int
) -> None:
    """It starts from what answers the validation split, and is led away from there."""
    base, contrary = build_base("gpt2"), [Example(one.source, ("zzz XX 9",)) for one in VALIDATION]
    start = fit(base, config(method, mlp_hidden, max_steps=40), contrary, contrary).delta
    settings = config(method, mlp_hidden)
    values = {"start": start, "origin": "a" * 64}
    fit(base, settings, TRAIN, contrary, state=tmp_path, run_key="a", stop=stop_at(9), **values)
    result = fit(base, settings, TRAIN, contrary, state=tmp_path, run_key="a")
    assert (result.resumed_from, result.best_step < result.steps, result.origin) == (9, True, "a" * 64)
    assert result.validation_loss == min(point.validation_loss for point in result.curve)
    assert result.validation_loss < 0.9 * result.curve[-1].validation_loss
    stopped = fit(base, settings, TRAIN, contrary, stop=stop_at(result.best_step), **values)
    assert all(torch.equal(tensor, stopped.delta.tensors[name]) for name, tensor in result.delta.tensors.items())
    pairs = encode_examples(
        base.text_codec, contrary, context=64, prefix_length=3, max_source_tokens=None, expand_references=False
    )
    sums = StepDeltas(base, [result.delta]).compute_sums([TrainingExample(0, pair) for pair in pairs])
    assert float(sums.nats_U / sums.count_U) == pytest.approx(result.validation_loss, rel=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_the_loss_of_a_batch_is_what_the_config_says(build_base: Callable[..., Base], kind: str) -> None:
    """The gradient of the first update, against the objective's own on the first batch."""
    base, gradients = build_base(kind), {}
    settings = config("prefix", max_steps=1, max_grad_norm=1e9)
    for loss in ("token-mean", "sequence-sum"):
        noted: list[torch.Tensor] = []
        handle = register_optimizer_step_pre_hook(lambda one, _args, _kwargs, noted=noted: note_gradient(one, noted))
        run(base, settings.model_copy(update={"loss": loss}))
        handle.remove()
        (gradients[loss],) = noted
    module = TrainableDelta(base, settings, find_frequent_words(TRAIN), None, ())
    pairs = encode_examples(
        base.text_codec,
        TRAIN,
        context=base.context,
        prefix_length=3,
        max_source_tokens=None,
        expand_references=True,
        separate_contexts=base.is_encoder_decoder,
    )
    order = order_epoch([pair.length for pair in pairs], 4, 0, 0)[0]
    deltas = StepDeltas(base, [module.make_delta()])
    tokens = int(deltas.backward([TrainingExample(0, pairs[index]) for index in order]).count_U)
    deltas.propagate_gradients()
    own = torch.cat([one.grad.flatten() for one in module.parameters()])
    assert tokens == sum(len(pairs[index].target_ids) for index in order)
    torch.testing.assert_close(gradients["token-mean"], own / tokens)
    torch.testing.assert_close(gradients["sequence-sum"], own / len(order))


def note_gradient(optimizer: torch.optim.Optimizer, noted: list[torch.Tensor]) -> None:
    noted.append(torch.cat([one.grad.flatten() for group in optimizer.param_groups for one in group["params"]]))


@pytest.mark.parametrize(
    ("kind", "values", "error", "told"),
    [
        ("bart", {"method": "infix"}, BaseModelError, "a decoder-only base for an infix; got .*BartFor"),
        ("bart", {"method": "embedding"}, BaseModelError, "a decoder-only base for a soft prompt; got .*BartFor"),
        ("gpt2", {"method": "prefix", "prefix_length": 64}, ConfigError, "64"),
        ("bart", {"method": "prefix+lora", "prefix_length": 70}, ConfigError, "70"),
        ("gpt2", {"method": "embedding", "prefix_length": 52}, DataError, "52 of the prefix"),
        ("gpt2", {"method": "top-k", "top_layers": 3}, BaseModelError, "the top 3 layers; got a decoder of 2"),
        ("bart", {"method": "top-k", "top_layers": 9}, BaseModelError, "the top 9 layers; got a decoder of 2"),
        ("gpt2", {"method": "lora", "lora_targets": ["nothing"]}, BaseModelError, "nothing"),
    ],
)
def test_what_a_base_cannot_take_is_refused_before_any_training(
    build_base: Callable[..., Base],
    tmp_path: Path,
    kind: str,
    values: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    base = build_base(kind)
    settings = config(**values)

    def log(*_: Any) -> None:
        pytest.fail("trained")

    with pytest.raises(error, match=told):
        run(base, settings, state=tmp_path / "state", run_key="a", log=log)
    assert not (tmp_path / "state").exists()
    assert run(base, config("prefix", max_steps=1)).steps == 1


@pytest.mark.parametrize(
    ("name", "near"), [("prefx", "prefix"), ("adaptor", "adapter"), ("top_k", "top-k"), ("prefix+lra", "prefix+lora")]
)
def test_an_unknown_method_names_the_nearest(tmp_path: Path, name: str, near: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"base: {{path: base}}\ntrain: {{method: {name}}}\n")
    with pytest.raises(ConfigError, match="'in-context'") as told:
        load_params(path)
    assert f"train.method = '{name}'; did you mean '{near}'?" in str(told.value)


KILLS = [("asking", 5, 4), ("update", 8, 6), ("writing", 5, 2), ("renaming", 4, 6)]
"""Where a process kills itself, at which visit, and the step that it has saved by then (every second is)."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "mlp", "place", "at", "reached"),
    [
        pytest.param(*case.values, *kill, id=f"{case.id}-{kill[0]}")
        for number, case in enumerate(TRAINED)
        for kill in (KILLS[number % 4], KILLS[(number + 1) % 4])
    ],
)
def test_a_kill_9_anywhere_continues_to_the_same_bits(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str, mlp: int, place: str, at: int, reached: int
) -> None:
    base, settings = build_base(kind), config(method, mlp, validate_every=2)
    whole = run(base, settings)
    child = os.fork()
    if not child:
        try:
            stop = kill_at(place, at)
            run(base, settings, state=tmp_path, run_key="a", stop=stop)
        finally:
            os._exit(1)  # it lived
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_saved_step(tmp_path, "a") == reached
    resumed = run(base, settings, state=tmp_path, run_key="a")
    assert resumed.resumed_from == reached
    assert same(resumed, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["train.safetensors"]


def kill_at(place: str, at: int) -> Callable[[], bool]:
    """Let this process kill itself at the n-th visit of a place; returns the `stop` to train with."""
    visits: list[int] = []

    def visited() -> bool:
        visits.append(1)
        if len(visits) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def after(function: Any, *arguments: Any) -> Any:
        result = function(*arguments)
        visited()
        return result

    if place == "asking":
        return visited
    owner, name = {"update": (torch.optim.AdamW, "step"), "writing": (os, "fsync"), "renaming": (Path, "replace")}[
        place
    ]
    real = getattr(owner, name)
    setattr(owner, name, lambda *arguments: after(real, *arguments))
    return lambda: False
