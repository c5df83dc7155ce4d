"""Training: it learns, keeps the best, resumes bit by bit, and refuses what it cannot train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.config import TrainConfig
from components.data.pairs import TokenizedPair
from components.errors import BaseModelError, TrainingError, WorkspaceError
from components.model.base.load import Base
from components.model.base.shapes import PrefixShape
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.training import run as training_run
from components.training.checkpoint import STATE_FILE, read_saved_step
from components.training.loop import train_alone
from components.training.run import TrainingJob, TrainResult

Train = Callable[..., TrainResult]


def config(**values: Any) -> TrainConfig:
    return TrainConfig(
        **{"prefix_length": 4, "initialization": "random", "max_steps": 20, "warmup_steps": 3, "batch_size": 4}
        | {"validate_every": 6}
        | values
    )


def train_delta(
    base: Base, train: list[TokenizedPair], validation: list[TokenizedPair], settings: TrainConfig, **values: Any
) -> TrainResult:
    return train_alone(base, TrainingJob(settings, train=train, validation=validation, **values))


def module_from(base: Base, settings: TrainConfig, start: Prefix) -> TrainableDelta:
    module = TrainableDelta(base, settings, "", None, ())
    module.load(Delta(prefix=start))
    return module


@pytest.fixture
def run(base: Base, train: list[TokenizedPair], validation: list[TokenizedPair]) -> Train:
    """A function that trains from the same random start with what it is given."""

    def call(settings: TrainConfig | None = None, *, initial: Prefix | None = None, **values: Any) -> TrainResult:
        settings = settings or config()
        module = module_from(base, settings, initial or make_random_prefix(base.shape, settings.prefix_length, 7))
        return train_delta(base, train, validation, settings, module=module, **values)

    return call


def same(first: TrainResult, second: TrainResult) -> bool:
    facts = [
        (result.steps, result.best_step, result.train_loss, result.validation_loss, result.curve)
        for result in (first, second)
    ]
    return facts[0] == facts[1] and torch.equal(
        first.delta.prefix.stack_decoder_site(), second.delta.prefix.stack_decoder_site()
    )


@pytest.mark.parametrize("mlp_hidden", [0, 16])
def test_learns_and_leaves_the_base_alone(base: Base, run: Train, mlp_hidden: int) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    points: list[tuple[int, dict[str, float]]] = []
    settings = config(max_steps=60, mlp_hidden=mlp_hidden, learning_rate=0.1)
    result = run(settings, log=lambda step, metrics: points.append((step, metrics)))
    assert result.validation_loss < 0.9 * points[0][1]["validation_loss"]
    assert (result.steps, result.resumed_from, result.start_description) == (60, 0, "clean: nothing to resume from")
    assert [step for step, _ in points] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    assert set(points[0][1]) == {"validation_loss"}
    assert set(points[-1][1]) == {"validation_loss", "train_loss", "learning_rate"}
    assert [point.validation_loss for point in result.curve] == [metrics["validation_loss"] for _, metrics in points]
    assert result.validation_loss == min(point.validation_loss for point in result.curve)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_the_best_validation_is_kept(base: Base, train: list[TokenizedPair]) -> None:
    contrary = [TokenizedPair(pair.source_ids, (50, 51, 52, 53)) for pair in train[:5]]
    start = make_random_prefix(base.shape, 4, 7)
    settings = config(learning_rate=0.3)
    result = train_delta(base, train, contrary, settings, module=module_from(base, settings, start))
    assert result.curve[-1].validation_loss > result.validation_loss == result.curve[0].validation_loss
    assert (result.steps, result.best_step) == (20, 0)
    assert torch.equal(result.delta.prefix.stack_decoder_site(), start.stack_decoder_site())


@pytest.mark.parametrize("mlp_hidden", [0, 16])
@pytest.mark.parametrize("at", [1, 6, 9, 20])
def test_resumes_bit_by_bit_after_stop(run: Train, tmp_path: Path, at: int, mlp_hidden: int) -> None:
    settings = config(mlp_hidden=mlp_hidden)
    whole = run(settings)
    asked: list[int] = []
    stopped = run(settings, state=tmp_path, run_key="a", stop=lambda: asked.append(1) or len(asked) > at)
    assert (read_saved_step(tmp_path, "a"), read_saved_step(tmp_path, "b")) == (at, 0)
    resumed = run(settings, state=tmp_path, run_key="a")
    assert (stopped.steps, resumed.resumed_from, resumed.start_description) == (at, at, f"resumed at step {at}")
    assert same(resumed, whole)
    assert resumed.seconds >= stopped.seconds


class Interrupter:
    """Counts calls of a hook on the base and presses Ctrl-C at the n-th."""

    def __init__(self, base: Base, at: int) -> None:
        self.left = at
        self.handle = base.model.lm_head.register_forward_hook(self)

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            self.handle.remove()
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 2, 3, 8, 9, 10, 11, 24])
def test_resumes_bit_by_bit_after_ctrl_c_anywhere(base: Base, run: Train, tmp_path: Path, at: int) -> None:
    whole = run()
    Interrupter(base, at)
    with pytest.raises(KeyboardInterrupt):
        run(state=tmp_path, run_key="a")
    assert same(run(state=tmp_path, run_key="a"), whole)


def test_ctrl_c_within_an_update_falls_back_to_the_last_whole_state(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, step, calls = run(), torch.optim.AdamW.step, []

    def interrupted(optimizer: torch.optim.AdamW) -> None:
        step(optimizer)
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(state=tmp_path, run_key="a")
    resumed = run(state=tmp_path, run_key="a")
    assert resumed.resumed_from == 6
    assert same(resumed, whole)


def test_a_kill_between_validations_resumes_from_the_last(run: Train, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    asked: list[int] = []

    def killed() -> bool:
        asked.append(1)
        if len(asked) == 11:
            raise Killed
        return False

    with pytest.raises(Killed):
        run(state=tmp_path, run_key="a", stop=killed)
    resumed = run(state=tmp_path, run_key="a")
    assert resumed.resumed_from == 6
    assert same(resumed, run())


def test_a_finished_run_is_not_trained_again(run: Train, tmp_path: Path) -> None:
    first = run(state=tmp_path, run_key="a")
    again = run(state=tmp_path, run_key="a", log=lambda step, metrics: pytest.fail("trained"))
    assert again.resumed_from == 20
    assert same(first, again)


@pytest.mark.parametrize("case", ["key", "noise", "truncated", "empty", "shape"])
def test_a_state_that_cannot_be_continued_is_ignored(run: Train, tmp_path: Path, case: str) -> None:
    run(config(prefix_length=3) if case == "shape" else None, state=tmp_path, run_key="a")
    file = tmp_path / STATE_FILE
    content = file.read_bytes()
    if case in ("noise", "truncated", "empty"):
        file.write_bytes({"noise": b"\x80" * 90, "truncated": content[:-9], "empty": b""}[case])
    key = "b" if case == "key" else "a"
    assert read_saved_step(tmp_path, key) == (20 if case == "shape" else 0)
    result = run(state=tmp_path, run_key=key)
    assert result.resumed_from == 0
    reasons = {"key": "is of another run", "shape": "has other shapes"}
    assert result.start_description == f"clean: the earlier state {reasons.get(case, 'cannot be read')}"
    assert same(result, run())


def test_the_state_is_one_file_without_pickles(run: Train, tmp_path: Path) -> None:
    run(state=tmp_path / "state", run_key="a")
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["train.safetensors"]


def test_a_disk_error_leaves_the_old_state(run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config(max_steps=6), state=tmp_path, run_key="a")
    before = (tmp_path / STATE_FILE).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        run(state=tmp_path, run_key="b")
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_zero_length_and_zero_steps_train_nothing(
    base: Base, run: Train, train: list[TokenizedPair], validation: list[TokenizedPair]
) -> None:
    for method, mlp_hidden in (("prefix", 0), ("prefix", 6), ("infix", 6), ("embedding", 0), ("embedding", 6)):
        settings = config(method=method, prefix_length=0, mlp_hidden=mlp_hidden)
        module = TrainableDelta(base, settings, "", None, ())
        empty = train_delta(base, train, validation, settings, module=module)
        assert (empty.steps, empty.delta.parameter_count) == (0, 0)
    start = run(config(max_steps=0))
    assert torch.equal(
        start.delta.prefix.stack_decoder_site(), make_random_prefix(base.shape, 4, 7).stack_decoder_site()
    )
    assert start.train_loss > 0


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(base: Base, run: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"finite validation loss; got nan at step 0 .*; lower train.learning_rate"):
        run(initial=Prefix.from_site(torch.full((2, 2, 4, 4, 8), float("nan"))), state=tmp_path)
    assert not list(tmp_path.iterdir())
    run(config(max_steps=6), state=tmp_path)
    with torch.no_grad():
        base.model.transformer.wte.weight[40] = float("nan")
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(TrainingError, match="finite loss and gradient; got nan"):
        run(state=tmp_path)
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_empty_splits_are_named(base: Base, train: list[TokenizedPair]) -> None:
    module = TrainableDelta(base, config(), "", None, ())
    with pytest.raises(TrainingError, match="validation split; got none"):
        train_delta(base, train, [], config(), module=module)
    with pytest.raises(TrainingError, match="train split; got none"):
        train_delta(base, [], train, config(), module=module)


def test_a_prefix_without_room_is_refused(
    run: Train, train: list[TokenizedPair], validation: list[TokenizedPair]
) -> None:
    with pytest.raises(TrainingError, match="context of 64 tokens; got a prefix of 60"):
        run(config(prefix_length=60))
    longest = max(pair.length for pair in train + validation)
    assert run(config(prefix_length=64 - longest, max_steps=1)).steps == 1


def test_a_prefix_of_another_base_is_refused(run: Train) -> None:
    with pytest.raises(BaseModelError, match="2 layers x 4 key/value heads x 8"):
        run(initial=make_random_prefix(PrefixShape(2, 2, 8), 4, 7))


def test_validation_takes_an_even_sample_of_a_large_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "VALIDATION_EXAMPLES", 8)
    assert list(training_run.sample_evenly(range(30))) == [0, 4, 8, 12, 16, 20, 24, 28]
    assert list(training_run.sample_evenly(range(8))) == list(range(8))


def test_golden_losses(run: Train) -> None:
    result = run()
    losses = [point.validation_loss for point in result.curve]
    assert losses == pytest.approx(GOLDEN, abs=2e-4), losses


GOLDEN = [5.4533, 5.3229, 5.2203, 5.1734, 5.1693]
