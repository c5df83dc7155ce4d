"""One run: the best delta is kept, the loss is what the config says, and a loss that is not finite ends it."""

from collections.abc import Callable
from pathlib import Path

import method_training
import pytest
import torch
from method_training import TRAIN, VALIDATION, stop_at
from prefix_training import load_module, make_config, train_delta
from torch.optim.optimizer import register_optimizer_step_pre_hook

from components.data.batches import order_epoch
from components.data.pairs import TokenizedPair
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.errors import TrainingError
from components.model.base.load import Base
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.training import run as training_run
from components.training.checkpoint import STATE_FILE
from components.training.objective import StepDeltas, TrainingExample
from components.training.prepare import find_frequent_words, fit
from components.training.run import TrainResult

Train = Callable[..., TrainResult]


def test_the_best_validation_is_kept(base: Base, train: list[TokenizedPair]) -> None:
    contrary = [TokenizedPair(pair.source_ids, (50, 51, 52, 53)) for pair in train[:5]]
    start = make_random_prefix(base.shape, 4, 7)
    config = make_config(learning_rate=0.3)
    result = train_delta(base, train, contrary, config, module=load_module(base, config, start))
    assert result.curve[-1].validation_loss > result.validation_loss == result.curve[0].validation_loss
    assert (result.steps, result.best_step) == (20, 0)
    assert torch.equal(result.delta.prefix.stack_decoder_site(), start.stack_decoder_site())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(base: Base, run: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"finite validation loss; got nan at step 0 .*; lower train.learning_rate"):
        run(initial=Prefix.from_site(torch.full((2, 2, 4, 4, 8), float("nan"))), state=tmp_path)
    assert not list(tmp_path.iterdir())
    run(make_config(max_steps=6), state=tmp_path)
    with torch.no_grad():
        base.model.transformer.wte.weight[40] = float("nan")
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(TrainingError, match="finite loss and gradient; got nan"):
        run(state=tmp_path)
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_validation_takes_an_even_sample_of_a_large_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "VALIDATION_EXAMPLES", 8)
    assert list(training_run.sample_evenly(range(30))) == [0, 4, 8, 12, 16, 20, 24, 28]
    assert list(training_run.sample_evenly(range(8))) == list(range(8))


@pytest.mark.parametrize(
    ("method", "mlp_hidden"), [("prefix", 0), ("prefix", 16), ("embedding", 16), ("prefix+lora", 0), ("full", 0)]
)
def test_the_best_delta_is_kept_and_survives_a_resume(
    build_base: Callable[..., Base], tmp_path: Path, method: str, mlp_hidden: int
) -> None:
    """Training starts from a delta that answers the validation split, and leads away from it."""
    base, contrary = build_base("gpt2"), [Example(one.source, ("zzz XX 9",)) for one in VALIDATION]
    start = fit(base, method_training.make_config(method, mlp_hidden, max_steps=40), contrary, contrary).delta
    config = method_training.make_config(method, mlp_hidden, max_steps=10, validate_every=4)
    values = {"start": start, "origin": "a" * 64}
    fit(base, config, TRAIN, contrary, state=tmp_path, run_key="a", stop=stop_at(9), **values)
    result = fit(base, config, TRAIN, contrary, state=tmp_path, run_key="a")
    assert (result.resumed_from, result.best_step < result.steps, result.origin) == (9, True, "a" * 64)
    assert result.validation_loss == min(point.validation_loss for point in result.curve)
    assert result.validation_loss < 0.9 * result.curve[-1].validation_loss
    stopped = fit(base, config, TRAIN, contrary, stop=stop_at(result.best_step), **values)
    assert all(torch.equal(tensor, stopped.delta.tensors[name]) for name, tensor in result.delta.tensors.items())
    pairs = encode_examples(
        base.text_codec, contrary, context=64, prefix_length=3, max_source_tokens=None, expand_references=False
    )
    sums = StepDeltas(base, [result.delta]).compute_sums([TrainingExample(0, pair) for pair in pairs])
    assert float(sums.nats_U / sums.count_U) == pytest.approx(result.validation_loss, rel=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_the_loss_of_a_batch_is_what_the_config_says(build_base: Callable[..., Base], kind: str) -> None:
    """The gradient of the first update equals the objective's own gradient on the first batch."""
    base, gradients = build_base(kind), {}
    config = method_training.make_config("prefix", max_steps=1, max_grad_norm=1e9)
    for loss in ("token-mean", "sequence-sum"):
        recorded: list[torch.Tensor] = []
        handle = register_optimizer_step_pre_hook(
            lambda one, _args, _kwargs, recorded=recorded: record_gradient(one, recorded)
        )
        method_training.train(base, config.model_copy(update={"loss": loss}))
        handle.remove()
        (gradients[loss],) = recorded
    module = TrainableDelta(base, config, find_frequent_words(TRAIN), None, ())
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


def record_gradient(optimizer: torch.optim.Optimizer, recorded: list[torch.Tensor]) -> None:
    recorded.append(torch.cat([one.grad.flatten() for group in optimizer.param_groups for one in group["params"]]))
