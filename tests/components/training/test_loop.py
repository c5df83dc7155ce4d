"""Training alone: it learns, leaves the base unchanged, and gives the golden losses."""

from collections.abc import Callable

import pytest
import torch
from prefix_training import make_config, train_delta

from components.data.pairs import TokenizedPair
from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.base.shapes import PrefixShape
from components.model.prefix.initialization import make_random_prefix
from components.model.trainable_delta import TrainableDelta
from components.training.run import TrainResult

Train = Callable[..., TrainResult]


@pytest.mark.parametrize("mlp_hidden", [0, 16])
def test_learns_and_leaves_the_base_alone(base: Base, run: Train, mlp_hidden: int) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    points: list[tuple[int, dict[str, float]]] = []
    config = make_config(max_steps=60, mlp_hidden=mlp_hidden, learning_rate=0.1)
    result = run(config, log=lambda step, metrics: points.append((step, metrics)))
    assert result.validation_loss < 0.9 * points[0][1]["validation_loss"]
    assert (result.steps, result.resumed_from, result.start_description) == (60, 0, "clean: nothing to resume from")
    assert [step for step, _ in points] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    assert set(points[0][1]) == {"validation_loss"}
    assert set(points[-1][1]) == {"validation_loss", "train_loss", "learning_rate"}
    assert [point.validation_loss for point in result.curve] == [metrics["validation_loss"] for _, metrics in points]
    assert result.validation_loss == min(point.validation_loss for point in result.curve)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_tokens_are_counted_each_time_that_a_step_reads_them(run: Train, train: list[TokenizedPair]) -> None:
    result = run(make_config(batch_size=5, max_steps=12))
    assert result.tokens == 2 * sum(pair.length for pair in train)


def test_zero_length_and_zero_steps_train_nothing(
    base: Base, run: Train, train: list[TokenizedPair], validation: list[TokenizedPair]
) -> None:
    for method, mlp_hidden in (("prefix", 0), ("prefix", 6), ("infix", 6), ("embedding", 0), ("embedding", 6)):
        config = make_config(method=method, prefix_length=0, mlp_hidden=mlp_hidden)
        module = TrainableDelta(base, config, "", None, ())
        empty = train_delta(base, train, validation, config, module=module)
        assert (empty.steps, empty.delta.parameter_count) == (0, 0)
    start = run(make_config(max_steps=0))
    assert torch.equal(
        start.delta.prefix.stack_decoder_site(), make_random_prefix(base.shape, 4, 7).stack_decoder_site()
    )
    assert start.train_loss > 0


def test_a_prefix_of_another_base_is_refused(run: Train) -> None:
    with pytest.raises(BaseModelError, match="2 layers x 4 key/value heads x 8"):
        run(initial=make_random_prefix(PrefixShape(2, 2, 8), 4, 7))


def test_golden_losses(run: Train) -> None:
    result = run()
    losses = [point.validation_loss for point in result.curve]
    assert losses == pytest.approx(GOLDEN, abs=2e-4), losses


GOLDEN = [5.4533, 5.3229, 5.2203, 5.1734, 5.1693]
