"""PrefixFleet's training, called through its public functions.

The training benchmarks use only `train_tenant`, `train_tenants` and `compute_loss_and_gradient`.

Shapes: L layers, 2 for key and value, H heads, P prefix slots, D head size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.alternating_runs import WaitForTurn, reset_peak_memory
from torch import Tensor

from components.config import BaseConfig, EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.data.schema import Example
from components.errors import PrefixFleetError
from components.model.base.load import Base, load_base
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_together
from components.training.objective import StepDeltas, TrainingExample
from components.training.prepare import fit, prepare_job
from components.training.run import TrainResult

Dtype = Literal["float32", "bfloat16"]


DEFAULT_ENGINE = EngineConfig()


def train_tenant(
    base: Base,
    config: TrainConfig,
    examples: Sequence[Example],
    engine: EngineConfig = DEFAULT_ENGINE,
    *,
    before_step: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train one tenant until `before_step` returns True. Validation uses one example, at the first and last step."""
    return fit(base, config, examples, examples[:1], engine=engine, stop=before_step)


def train_tenants(
    base: Base, config: TrainConfig, tenants: Sequence[Sequence[Example]], engine: EngineConfig = DEFAULT_ENGINE
) -> None:
    """Train all tenants together in the same passes, with the same examples as `train_tenant`."""
    for ended in train_together(
        base, (prepare_job(base, config, examples, examples[:1]) for examples in tenants), engine
    ):
        if isinstance(ended.result, PrefixFleetError):
            raise ended.result


def compute_loss_and_gradient(
    base: Base, module: TrainableDelta, pairs: Sequence[TokenizedPair]
) -> tuple[float, int, Tensor]:
    """Return a batch's mean loss in nats, its number of target tokens, and the prefix's gradient [L, 2, H, P, D]."""
    count = sum(len(pair.target_ids) for pair in pairs)
    deltas = StepDeltas(base, [module.make_delta()])
    sums = deltas.backward([TrainingExample(0, pair, 1 / count) for pair in pairs])
    deltas.propagate_gradients()
    return float(sums.nats_U) / count, int(sums.count_U), read_gradient(next(module.parameters()))


def read_gradient(parameter: Tensor) -> Tensor:
    """Return the gradient of a backward pass; it is an error if there is none."""
    if parameter.grad is None:
        raise RuntimeError("no gradient reached the prefix")
    return parameter.grad


def train_in_rounds(
    wait_for_turn: WaitForTurn,
    folder: Path,
    dtype: Dtype,
    config: TrainConfig,
    engine: EngineConfig,
    examples: Sequence[Example],
    rounds: int,
) -> dict[str, Any]:
    """Train one epoch to warm up and one for each round; `wait_for_turn` after each."""
    base = load_base(BaseConfig(path=str(folder), dtype=dtype))
    loaded_bytes = reset_peak_memory(base.model)
    steps_an_epoch = len(examples) // config.batch_size
    last = steps_an_epoch * (rounds + 1)
    step = 0

    def stop_after_rounds() -> bool:
        nonlocal step
        if step and step % steps_an_epoch == 0:
            wait_for_turn()
        step += 1
        return step > last

    beyond = config.model_copy(update={"max_steps": last + 1, "validate_every": last + 1})
    result = train_tenant(base, beyond, examples, engine, before_step=stop_after_rounds)
    stored = sum(tensor.nbytes for tensor in result.delta.tensors.values())
    return {"loaded_bytes": loaded_bytes, "stored_bytes": stored}


def train_shards(
    wait_for_turn: WaitForTurn,
    folder: Path,
    dtype: Dtype,
    config: TrainConfig,
    engine: EngineConfig,
    shards: Sequence[Sequence[Sequence[Example]]],
) -> dict[str, Any]:
    """Train shards of tenants one after the other on one base; `wait_for_turn` after each."""
    base = load_base(BaseConfig(path=str(folder), dtype=dtype))
    loaded_bytes = reset_peak_memory(base.model)
    train_tenants(base, config.model_copy(update={"max_steps": 2}), [shards[0][0][: 2 * config.batch_size]], engine)
    wait_for_turn()
    for tenants in shards:
        train_tenants(base, config, tenants, engine)
        wait_for_turn()
    return {"loaded_bytes": loaded_bytes}
