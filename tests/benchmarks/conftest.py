"""Make the benchmarks' packages `contenders` and `harness` importable, as they are for the scripts beside them."""

import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base by shape, whose tokenizer reads numbers."""
    from harness.random_bases import SHAPES, write_base

    folder = tmp_path_factory.mktemp("shaped") / "gpt2-tiny"
    write_base(folder, SHAPES["tiny"], None)
    return folder


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without published data; what a script sets in the environment is removed afterwards."""
    before = dict(os.environ)
    monkeypatch.delenv("PREFIXFLEET_TEST_DATA", raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run_script(
    clean_environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """A function that runs `main` of a script with `--quick` in this process and returns what it prints.

    The contenders run in this process too, one after the other: starting a process for each takes most of a quick run,
    and the alternation has its own test.
    """

    def run(name: str, *options: str) -> str:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", *options])
        if hasattr(script, "run_alternately"):
            monkeypatch.setattr(script, "run_alternately", run_in_this_process)
        if hasattr(script, "_run_in_process"):
            monkeypatch.setattr(script, "_run_in_process", lambda work, *arguments: work(*arguments))
        script.main()
        return capsys.readouterr().out

    return run


def run_in_this_process(contenders: Mapping[str, Any]) -> dict[str, Any]:
    """Stands for `harness.alternating_runs.run_alternately`; checks that each contender has the stated parts."""
    from harness.alternating_runs import ContenderResult, read_status_bytes

    outcomes = {}
    for name, contender in contenders.items():
        moments: list[float] = []
        facts = contender.function(lambda: moments.append(time.perf_counter()), *contender.arguments)  # noqa: B023
        assert len(moments) == 1 + contender.part_count, name
        seconds = tuple(end - start for start, end in pairwise(moments))
        outcomes[name] = ContenderResult(seconds, read_status_bytes("VmHWM"), facts)
    return outcomes


@pytest.fixture
def check_results(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that returns options with a file for results or, given these, checks them: the contenders' names."""

    def check(options: list[str] | None = None) -> list[str]:
        if options is None:
            return ["--results", str(tmp_path / "results.jsonl")]
        from harness.results import read_results

        results = read_results(Path(options[1]))
        assert all(result.operations_per_s > result.tokens_per_s > 0 for result in results)
        assert all(result.bytes_per_s > 0 and result.peak_bytes > 0 for result in results)
        peers = [result.peer_ratio for result in results if result.contender.startswith("peft")]
        assert peers
        assert all(ratio is not None and 0 < ratio <= 1 for ratio in peers)
        return [result.contender for result in results]

    return check


@pytest.fixture
def read_figure() -> Callable[[str, str], float]:
    """A function that returns the first figure of the printed line that starts with these words."""

    def read(printed: str, line_start: str) -> float:
        match = re.search(rf"^ *{line_start} +([\d,]+(?:\.\d+)?)", printed, re.MULTILINE)
        assert match, printed
        return float(match[1].replace(",", ""))

    return read
