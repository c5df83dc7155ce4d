"""Checkpoints of a prefix: a stopped, interrupted or killed run resumes bit by bit; an unusable state is ignored."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prefix_training import are_same, make_config
from safetensors import safe_open
from safetensors.torch import load_file, save

from components.errors import WorkspaceError
from components.model.base.load import Base
from components.training import shard
from components.training.checkpoint import STATE_FILE, read_saved_step
from components.training.run import TrainResult

Train = Callable[..., TrainResult]


@pytest.fixture(scope="module")
def finished() -> dict[str, tuple[TrainResult, bytes]]:
    """The uninterrupted run and its state, put here by the first test that needs them."""
    return {}


@pytest.fixture
def make_finished(
    run: Train, tmp_path: Path, finished: dict[str, tuple[TrainResult, bytes]]
) -> Callable[[], TrainResult]:
    """A function that writes the state of an uninterrupted run into `tmp_path`, and returns that run's result."""

    def make() -> TrainResult:
        if not finished:
            result = run(state=tmp_path, run_key="a")
            finished["run"] = result, (tmp_path / STATE_FILE).read_bytes()
        result, state = finished["run"]
        (tmp_path / STATE_FILE).write_bytes(state)
        return result

    return make


@pytest.fixture
def whole(make_finished: Callable[[], TrainResult], tmp_path: Path) -> TrainResult:
    """The result of the uninterrupted run; leaves no state."""
    result = make_finished()
    (tmp_path / STATE_FILE).unlink()
    return result


@pytest.mark.parametrize(("at", "mlp_hidden"), [(1, 16), (6, 0), (9, 16), (20, 0)])
def test_resumes_bit_by_bit_after_stop(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, mlp_hidden: int
) -> None:
    # A clock by which every step takes one second.
    monkeypatch.setattr(shard, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    config = make_config(mlp_hidden=mlp_hidden)
    whole = run(config)
    calls: list[int] = []
    stopped = run(config, state=tmp_path, run_key="a", stop=lambda: calls.append(1) or len(calls) > at)
    assert (read_saved_step(tmp_path, "a"), read_saved_step(tmp_path, "b")) == (at, 0)
    resumed = run(config, state=tmp_path, run_key="a")
    assert (stopped.steps, resumed.resumed_from, resumed.start_description) == (at, at, f"resumed at step {at}")
    assert are_same(resumed, whole)
    assert (stopped.seconds, resumed.seconds) == (pytest.approx(at), pytest.approx(20))
    assert (stopped.tokens < whole.tokens, resumed.tokens) == (at < 20, whole.tokens)


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
def test_resumes_bit_by_bit_after_ctrl_c_anywhere(
    base: Base, run: Train, whole: TrainResult, tmp_path: Path, at: int
) -> None:
    Interrupter(base, at)
    with pytest.raises(KeyboardInterrupt):
        run(state=tmp_path, run_key="a")
    assert are_same(run(state=tmp_path, run_key="a"), whole)


def test_ctrl_c_within_an_update_falls_back_to_the_last_whole_state(
    run: Train, whole: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = torch.optim.AdamW.step, []

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
    assert are_same(resumed, whole)


def test_a_kill_between_validations_resumes_from_the_last(run: Train, whole: TrainResult, tmp_path: Path) -> None:
    class KilledError(Exception):
        """Like SIGKILL, it saves nothing."""

    calls: list[int] = []

    def killed() -> bool:
        calls.append(1)
        if len(calls) == 11:
            raise KilledError
        return False

    with pytest.raises(KilledError):
        run(state=tmp_path, run_key="a", stop=killed)
    resumed = run(state=tmp_path, run_key="a")
    assert resumed.resumed_from == 6
    assert are_same(resumed, whole)


def test_a_finished_run_is_not_trained_again(
    run: Train, make_finished: Callable[[], TrainResult], tmp_path: Path
) -> None:
    first = make_finished()
    again = run(state=tmp_path, run_key="a", log=lambda step, metrics: pytest.fail("trained"))
    assert again.resumed_from == 20
    assert are_same(first, again)


@pytest.mark.parametrize("case", ["key", "noise", "truncated", "empty", "shape"])
def test_a_state_that_cannot_be_continued_is_ignored(
    run: Train, make_finished: Callable[[], TrainResult], tmp_path: Path, case: str
) -> None:
    whole = make_finished()
    if case == "shape":
        run(make_config(prefix_length=3), state=tmp_path, run_key="a")
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
    assert are_same(result, whole)


NESTED = '{"a":' * 950 + "1" + "}" * 950


@pytest.mark.parametrize("header", [NESTED, "9" * 5000, "[" * 10**5, "[]", '{"schema": 2, "run_key": "a"}', "{}"])
def test_a_header_that_cannot_be_read_starts_clean(
    run: Train, make_finished: Callable[[], TrainResult], tmp_path: Path, header: str
) -> None:
    make_finished()
    file = tmp_path / STATE_FILE
    file.write_bytes(save(load_file(file), {"prefixfleet": header}))
    assert read_saved_step(tmp_path, "a") == 0
    result = run(make_config(max_steps=1), state=tmp_path, run_key="a")
    assert result.start_description == "clean: the earlier state cannot be read"


@pytest.mark.parametrize("part", ["module.", "best.", "optimizer."])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_state_without_some_tensors_starts_clean(
    run: Train, make_finished: Callable[[], TrainResult], tmp_path: Path, part: str, renamed: bool
) -> None:
    whole = make_finished()
    file = tmp_path / STATE_FILE
    tensors = load_file(file)
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata()
    name = next(one for one in sorted(tensors) if one.startswith(part))
    lost = tensors.pop(name)
    if renamed:
        tensors[f"{part}_orig_mod.{name.removeprefix(part)}"] = lost
    file.write_bytes(save(tensors, metadata))
    result = run(state=tmp_path, run_key="a")
    assert result.start_description == "clean: the earlier state cannot be read"
    assert are_same(result, whole)


@pytest.mark.parametrize("part", ["module.", "best.", "optimizer."])
def test_a_state_with_values_that_are_not_finite_starts_clean(
    run: Train, make_finished: Callable[[], TrainResult], tmp_path: Path, part: str
) -> None:
    whole = make_finished()
    file = tmp_path / STATE_FILE
    tensors = load_file(file)
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata()
    name = next(one for one in sorted(tensors) if one.startswith(part) and tensors[one].numel())
    tensors[name].view(-1)[0] = float("nan")
    file.write_bytes(save(tensors, metadata))
    result = run(state=tmp_path, run_key="a")
    assert result.start_description == "clean: the earlier state has values that are not finite"
    assert are_same(result, whole)


def test_the_state_is_one_file_without_pickles(run: Train, tmp_path: Path) -> None:
    run(make_config(max_steps=1), state=tmp_path / "state", run_key="a")
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["train.safetensors"]


def test_a_disk_error_leaves_the_old_state(run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(make_config(max_steps=6), state=tmp_path, run_key="a")
    before = (tmp_path / STATE_FILE).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        run(state=tmp_path, run_key="b")
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
