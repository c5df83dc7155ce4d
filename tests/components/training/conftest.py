"""A tiny random base that copies nothing and knows nothing, and pairs to train it on."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from prefix_training import load_module, make_config, train_delta

from components.config import TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.training.run import TrainingJob, TrainResult


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(build_model: Callable[..., Any], base_of: Callable[[Any], Base]) -> Base:
    return base_of(build_model("gpt2"))


def make_pairs(count: int, seed: int) -> list[TokenizedPair]:
    """Random sources, each answered by the same short sentence with one token of the source in it."""
    shuffler = random.Random(seed)
    pairs = []
    for _ in range(count):
        source = [shuffler.randrange(2, 67) for _ in range(shuffler.randrange(3, 9))]
        pairs.append(TokenizedPair((*source, 0), (11, 12, source[0], 13, 14, 0)))
    return pairs


@pytest.fixture
def train() -> list[TokenizedPair]:
    return make_pairs(30, 1)


@pytest.fixture
def validation() -> list[TokenizedPair]:
    return make_pairs(10, 2)


@pytest.fixture(scope="session")
def pairs_of() -> Callable[..., list[TokenizedPair]]:
    """A function of a count, a seed and a longest length to random pairs whose lengths differ."""

    def make(count: int, seed: int, longest: int = 12) -> list[TokenizedPair]:
        shuffler = random.Random(seed)

        def ids() -> tuple[int, ...]:
            return (*(shuffler.randrange(2, 67) for _ in range(shuffler.randrange(longest))), 0)

        return [TokenizedPair(ids(), ids()) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def job_of(pairs_of: Callable[..., list[TokenizedPair]]) -> Callable[..., TrainingJob]:
    """A function of a base, a tenant's name and its train section to a job that is the same whenever it is made."""

    def make(base: Base, tenant: str, *, count: int = 11, longest: int = 12, **values: Any) -> TrainingJob:
        kept = {name: values.pop(name) for name in ("state", "run_key", "log", "stop") if name in values}
        short = {"prefix_length": 2, "max_steps": 4, "warmup_steps": 1, "batch_size": 4, "validate_every": 2}
        config = TrainConfig(**{**short, "initialization": "random", "learning_rate": 0.05} | values)
        seed = sum(map(ord, tenant))
        shared = make_random_prefix(base.shape, 3, 9, 0.5) if config.shared else None
        module = TrainableDelta(base, config, "", shared, [("ab", "c"), ("b", "d")])
        trained = pairs_of(count, seed, longest)
        # Half of it is validated on too, so that the best step is a late one.
        sets = trained, trained[: count // 2] + pairs_of(2, -seed, longest)
        return TrainingJob(config, module, *sets, tenant=tenant, **kept)

    return make


@pytest.fixture
def run(base: Base, train: list[TokenizedPair], validation: list[TokenizedPair]) -> Callable[..., TrainResult]:
    """A function that trains a prefix from the same random start with a config and further values of the job."""

    def call(config: TrainConfig | None = None, *, initial: Prefix | None = None, **values: Any) -> TrainResult:
        config = config or make_config()
        module = load_module(base, config, initial or make_random_prefix(base.shape, config.prefix_length, 7))
        return train_delta(base, train, validation, config, module=module, **values)

    return call


def apart(one: Delta, other: Delta) -> float:
    """The norm of the difference of two deltas, as a share of the norm of the first."""
    assert one.tensors.keys() == other.tensors.keys()
    pairs = [(one.tensors[name].double(), other.tensors[name].double()) for name in one.tensors]
    norm = sum(float(first.square().sum()) for first, _ in pairs) ** 0.5
    return sum(float((first - second).square().sum()) for first, second in pairs) ** 0.5 / max(norm, 1e-30)


@pytest.fixture(scope="session")
def check_same() -> Callable[..., None]:
    """A function that holds two results of one tenant to be the same but for rounding."""

    def check(one: TrainResult, other: TrainResult, close: float = 1e-4) -> None:
        assert (one.steps, one.best_step) == (other.steps, other.best_step)
        assert [point.step for point in one.curve] == [point.step for point in other.curve]
        assert apart(one.delta, other.delta) <= close
        for name in ("train_loss", "validation_loss"):
            curves = [[getattr(point, name) or 0.0 for point in result.curve] for result in (one, other)]
            assert curves[0] == pytest.approx(curves[1], rel=close), name
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=close)

    return check
