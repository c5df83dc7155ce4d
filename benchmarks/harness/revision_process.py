"""Run one part of a comparison of revisions with the code of one checkout: training, decoding or serving.

    PYTHONPATH=CHECKOUT:CHECKOUT/benchmarks python -P revision_process.py PART CHECKOUT SETTINGS_IN_JSON

The part itself is the checkout's own contender. After loading and after each round the process writes a line with the
round's seconds, by the wall clock and of the processor, and waits for a line. Other output goes to stderr. This file
imports nothing but the checkout's code, which it checks.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WaitForTurn = Callable[[], None]


def main() -> None:
    """Run the part that the command line names."""
    name, checkout, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    with os.fdopen(os.dup(1), "w") as turns:
        os.dup2(2, 1)
        import components

        if not Path(components.__file__).is_relative_to(checkout):
            raise SystemExit(f"wanted the code of {checkout}; got {components.__file__}")
        PARTS[name](_make_turns(turns), **{**settings, "folder": Path(settings["folder"])})


def train(wait_for_turn: WaitForTurn, *, folder: Path, rounds: int, work: int) -> None:
    """Train one tenant's prefix in packed rows: `work` steps of 10 examples in each round."""
    from contenders.prefixfleet_training import train_in_rounds

    from components.config import EngineConfig, TrainConfig
    from harness.training_examples import draw_examples

    config = TrainConfig(prefix_length=5, batch_size=10, initialization="random", warmup_steps=0)
    examples = draw_examples(None, work * config.batch_size, numbers=True)
    train_in_rounds(wait_for_turn, folder, "float32", config, EngineConfig(), examples, rounds)


def decode(wait_for_turn: WaitForTurn, *, folder: Path, rounds: int, work: int) -> None:
    """Decode `work` inputs of four tenants with five beams in each round."""
    from contenders.decoding import DecodingTask, make_inputs, run_prefixfleet

    sources, lengths = make_inputs(folder, None, work)
    task = DecodingTask(folder, True, sources, lengths, [row % 4 for row in range(work)], 5, 5)
    run_prefixfleet(wait_for_turn, task, "float32", 64, rounds)


def serve(wait_for_turn: WaitForTurn, *, folder: Path, rounds: int, work: int) -> None:
    """Answer `work` requests of eight tenants in each round, eight at a time."""
    from contenders.serving import LoadLevel, run_prefixfleet

    from components.config import BaseConfig
    from components.model.base.load import load_base
    from harness.request_load import RequestLoad, write_artifacts
    from harness.training_examples import count_tokens, draw_examples
    from harness.workspaces import make_tenant_ids

    examples = draw_examples(None, work, numbers=True)
    limits = [target for _, target in count_tokens(folder, examples)]
    with tempfile.TemporaryDirectory() as store:
        artifacts = write_artifacts(Path(store), load_base(BaseConfig(path=str(folder))), make_tenant_ids(8), 5)
        load = RequestLoad(folder, "float32", Path(store), artifacts, [one.source for one in examples], limits, 32)
        run_prefixfleet(wait_for_turn, load, [LoadLevel(8, 1, work)], rounds, False)


PARTS: dict[str, Callable[..., None]] = {"training": train, "decoding": decode, "serving": serve}


def _make_turns(turns: Any) -> WaitForTurn:
    started: tuple[float, float] | None = None

    def wait_for_turn() -> None:
        nonlocal started
        now = time.perf_counter(), time.process_time()
        seconds = None if started is None else [end - start for end, start in zip(now, started, strict=True)]
        print(json.dumps(seconds), file=turns, flush=True)
        sys.stdin.readline()
        started = time.perf_counter(), time.process_time()

    return wait_for_turn


if __name__ == "__main__":
    main()
