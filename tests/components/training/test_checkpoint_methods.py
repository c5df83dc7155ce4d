"""Checkpoints of every method: after a stop or a kill, a run ends in the same bits as an uninterrupted one."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_training import CASES, TRAINED_CASES, are_same, make_config, stop_at, train

from components.model.base.load import Base
from components.training.checkpoint import read_saved_step
from components.training.run import TrainResult

Case = tuple[str, str, int]


@pytest.fixture(scope="module")
def bases(build_base: Callable[..., Base]) -> Callable[[str], Base]:
    """A function of an architecture to its base; training leaves a base unchanged, so tests share it."""
    made: dict[str, Base] = {}
    return lambda kind: made.get(kind) or made.setdefault(kind, build_base(kind))


@pytest.fixture(scope="module")
def uninterrupted(bases: Callable[[str], Base]) -> Callable[[str, str, int], TrainResult]:
    """A function of a case to the result of its uninterrupted run, which is computed once."""
    made: dict[Case, TrainResult] = {}

    def get(kind: str, method: str, mlp: int) -> TrainResult:
        case = kind, method, mlp
        if case not in made:
            made[case] = train(bases(kind), make_config(method, mlp))
        return made[case]

    return get


@pytest.mark.parametrize(("kind", "method", "mlp"), CASES)
def test_every_method_resumes_bit_by_bit_after_two_stops(
    bases: Callable[[str], Base],
    uninterrupted: Callable[..., TrainResult],
    tmp_path: Path,
    kind: str,
    method: str,
    mlp: int,
) -> None:
    base, config = bases(kind), make_config(method, mlp)
    untrained = method == "in-context"
    train(base, config, state=tmp_path, run_key="a", stop=stop_at(1))
    assert read_saved_step(tmp_path, "a") == (0 if untrained else 1)
    train(base, config, state=tmp_path, run_key="a", stop=stop_at(5 - 1))
    reached = 0 if untrained else 5
    assert read_saved_step(tmp_path, "a") == reached
    resumed = train(base, config, state=tmp_path, run_key="a")
    assert (resumed.resumed_from, resumed.start_description) == (reached, f"resumed at step {reached}")
    assert are_same(resumed, uninterrupted(kind, method, mlp))


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
@pytest.mark.parametrize("method", ["full", "top-k"])
def test_a_base_of_16_bits_resumes_and_recomputes_bit_by_bit(
    build_base: Callable[..., Base], tmp_path: Path, kind: str, method: str
) -> None:
    base, config = build_base(kind), make_config(method, learning_rate=1e-3)
    base.model.to(torch.bfloat16)
    whole = train(base, config)
    train(base, config, state=tmp_path, run_key="a", stop=stop_at(5))
    resumed = train(base, config, state=tmp_path, run_key="a")
    assert (resumed.resumed_from, are_same(resumed, whole)) == (5, True)
    assert are_same(train(base, make_config(method, learning_rate=1e-3, gradient_checkpointing=True)), whole)
    assert {tensor.dtype for tensor in whole.delta.tensors.values()} == {torch.bfloat16}
    assert whole.curve[-1].validation_loss < whole.curve[0].validation_loss


KILLS = [("stop", 5, 4), ("update", 8, 6), ("writing", 5, 2), ("renaming", 4, 6)]
"""The call in which a process kills itself, the number of that call, and the step saved by then (every second is)."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "mlp", "call", "count", "reached"),
    [
        pytest.param(*case.values, *KILLS[number % 4], id=f"{case.id}-{KILLS[number % 4][0]}")
        for number, case in enumerate(case for case in TRAINED_CASES if case.values[0] == "gpt2")
    ],
)
def test_a_kill_9_anywhere_resumes_to_the_same_bits(
    bases: Callable[[str], Base],
    uninterrupted: Callable[..., TrainResult],
    tmp_path: Path,
    kind: str,
    method: str,
    mlp: int,
    call: str,
    count: int,
    reached: int,
) -> None:
    base, config, whole = bases(kind), make_config(method, mlp), uninterrupted(kind, method, mlp)
    child = os.fork()
    if not child:
        try:
            train(base, config, state=tmp_path, run_key="a", stop=kill_at(call, count))
        finally:
            os._exit(1)  # it was not killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_saved_step(tmp_path, "a") == reached
    resumed = train(base, config, state=tmp_path, run_key="a")
    assert resumed.resumed_from == reached
    assert are_same(resumed, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["train.safetensors"]


def kill_at(call: str, count: int) -> Callable[[], bool]:
    """Let this process kill itself at the n-th call; return the `stop` to train with."""
    calls: list[int] = []

    def count_call() -> bool:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def run_and_count(function: Any, *arguments: Any) -> Any:
        result = function(*arguments)
        count_call()
        return result

    if call == "stop":
        return count_call
    places = {"update": (torch.optim.AdamW, "step"), "writing": (os, "fsync"), "renaming": (Path, "replace")}
    owner, name = places[call]
    function = getattr(owner, name)
    setattr(owner, name, lambda *arguments: run_and_count(function, *arguments))
    return lambda: False
